import type { Preprocessing } from "@tastemaker/diffusion";
import { type Backend, type Executable, type HostData, input, type InputSpec, program, type Tensor } from "@tastemaker/tensor";
import type { Reward } from "./reward.ts";

/** A network that scores prepared pictures, with or without a text. */
export interface ScoreModel {
  readonly preprocessing: Preprocessing;
  /** What `score` needs of the prompts, with the batch size in the shapes. */
  textInputs(batchSize: number): Readonly<Record<string, InputSpec>>;
  /** Values of `textInputs`, one row per prompt. */
  textsOf(prompts: readonly string[]): Promise<Readonly<Record<string, HostData>>>;
  /** @param pixelValues `[B, 3, S, S]`, normalised. @returns `[B]` */
  score(pixelValues: Tensor, texts: Readonly<Record<string, Tensor>>): Tensor;
  dispose(): Promise<void>;
}

/** What a reward says of itself. */
export type RewardDescription = Pick<Reward, "name" | "unit" | "typicalRange" | "source" | "licence" | "needsText" | "describe" | "files" | "clip">;

/**
 * A reward over a network. Numbers come by the library path, one picture at a time, so that they are the reference implementation's and do not depend on company; the
 * gradient comes by the differentiable path through the same network.
 */
export function modelReward(about: RewardDescription, model: ScoreModel, backend: Backend): Reward {
  let executable: Promise<Executable> | undefined;
  const { preprocessing } = model;
  const compile = (): Promise<Executable> => {
    const { size } = preprocessing;
    const texts = Object.fromEntries(Object.entries(model.textInputs(1)).map(([name, { shape, dtype }]) => [name, input(name, shape, dtype)]));
    return backend.compile(program({ score: model.score(input("pixel_values", [1, 3, size, size]), texts) }));
  };
  return {
    ...about,
    preprocessing: preprocessing.describe,
    score: async (pictures, prompts) => {
      executable ??= compile();
      const scores: number[] = [];
      for (const [row, picture] of pictures.entries()) {
        const { score } = await (await executable).run({ ...(await model.textsOf([prompts[row]!])), pixel_values: preprocessing.pixelValues(picture) });
        scores.push(score!.data[0]!);
      }
      return scores;
    },
    gradient: {
      term: (weight, batchSize) => ({
        name: about.name,
        weight,
        inputs: model.textInputs(batchSize),
        score: (image, texts) => model.score(preprocessing.trace(image), texts),
      }),
      inputsFor: (prompts) => model.textsOf(prompts),
    },
    dispose: async () => {
      const compiled = executable;
      executable = undefined;
      await (await compiled)?.dispose();
      await model.dispose();
    },
  };
}
