import { type Picture, planarOf } from "@tastemaker/diffusion";
import { type Backend, gradients, input, program, reshape } from "@tastemaker/tensor";
import { requireGradient, type Reward } from "../rewards/reward.ts";

/** A score by the differentiable path and its slope. */
export interface ScoreGradient {
  readonly score: number;
  /** By the picture in [0, 1], `[3, H, W]`. */
  readonly gradient: Float32Array;
}

/**
 * How a score changes with every pixel of a picture of any size.
 * @throws UsageError `reward-not-differentiable`
 */
export async function scoreGradient(reward: Reward, picture: Picture, prompt: string, backend: Backend): Promise<ScoreGradient> {
  const { height, width } = picture;
  const differentiable = requireGradient(reward, "score --gradient");
  const term = differentiable.term(1, 1);
  const image = input("image", [1, 3, height, width]);
  const texts = Object.fromEntries(Object.entries(term.inputs).map(([name, { shape, dtype }]) => [name, input(name, shape, dtype)]));
  const score = reshape(term.score(image, texts), []);
  const executable = await backend.compile(program({ score, gradient: reshape(gradients(score, [image])[0]!, [3, height, width]) }));
  try {
    const results = await executable.run({ ...(await differentiable.inputsFor([prompt])), image: planarOf(picture) });
    return { score: results["score"]!.data[0]!, gradient: results["gradient"]!.data as Float32Array };
  } finally {
    await executable.dispose();
  }
}
