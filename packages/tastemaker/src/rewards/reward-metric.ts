import { type Backend, type Executable, input, program } from "@tastemaker/tensor";
import type { Metric, Reward } from "./reward.ts";

/** A reward as a metric: the same traced function without gradient, one picture at a time, so that numbers do not depend on company. */
export function rewardMetric(reward: Reward, imageSize: number, backend: Backend): Metric {
  let executable: Executable | undefined;
  const compile = async (): Promise<Executable> => {
    const term = reward.term(1, 1);
    const leaves = Object.fromEntries(Object.entries(term.inputs).map(([name, { shape, dtype }]) => [name, input(name, shape, dtype)]));
    return backend.compile(program({ score: term.score(input("image", [1, 3, imageSize, imageSize]), leaves) }));
  };
  return {
    name: reward.name,
    unit: reward.unit,
    score: async (images, prompts) => {
      executable ??= await compile();
      const scores: number[] = [];
      for (const [row, image] of images.entries()) {
        const { score } = await executable.run({ ...(await reward.inputsFor([prompts[row]!])), image });
        scores.push(score!.data[0]!);
      }
      return scores;
    },
    dispose: async () => {
      await executable?.dispose();
      executable = undefined;
    },
  };
}
