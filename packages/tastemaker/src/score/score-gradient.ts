import { type Picture, planarOf } from "@tastemaker/diffusion";
import { type Backend, type Executable, gradients, input, program, reshape } from "@tastemaker/tensor";
import { requireGradient, type Reward } from "../rewards/reward.ts";

/** A score by the differentiable path and its slope. */
export interface ScoreGradient {
  readonly score: number;
  /** By the picture in [0, 1], `[3, H, W]`. */
  readonly gradient: Float32Array;
}

/** How a reward's score changes with every pixel of a picture of any size. */
export interface GradientScorer {
  of(picture: Picture, prompt: string): Promise<ScoreGradient>;
  dispose(): Promise<void>;
}

/**
 * The slope of a reward. Its program is compiled for a size of picture and used again as long as that stays the same.
 * @throws UsageError `reward-not-differentiable`
 */
export function gradientScorer(reward: Reward, backend: Backend): GradientScorer {
  const differentiable = requireGradient(reward, "score --gradient");
  let compiled: { readonly size: string; readonly executable: Executable } | undefined;
  const dispose = async (): Promise<void> => {
    const old = compiled;
    compiled = undefined;
    await old?.executable.dispose();
  };
  const compile = ({ height, width }: Picture): Promise<Executable> => {
    const term = differentiable.term(1, 1);
    const image = input("image", [1, 3, height, width]);
    const texts = Object.fromEntries(Object.entries(term.inputs).map(([name, { shape, dtype }]) => [name, input(name, shape, dtype)]));
    const score = reshape(term.score(image, texts), []);
    return backend.compile(program({ score, gradient: reshape(gradients(score, [image])[0]!, [3, height, width]) }));
  };
  return {
    of: async (picture, prompt) => {
      const size = `${picture.height}×${picture.width}`;
      if (compiled?.size !== size) {
        await dispose();
        compiled = { size, executable: await compile(picture) };
      }
      const results = await compiled.executable.run({ ...(await differentiable.inputsFor([prompt])), image: planarOf(picture) });
      return { score: results["score"]!.data[0]!, gradient: results["gradient"]!.data as Float32Array };
    },
    dispose,
  };
}
