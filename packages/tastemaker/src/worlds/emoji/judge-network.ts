import { asJsonObject, loadCheckpoint, scopeOf } from "@tastemaker/diffusion";
import { type Backend, input, program, softmax, UsageError, weight } from "@tastemaker/tensor";
import { openNodeFolder } from "../../platform/node-files.ts";
import { judge, judgeHeads, type JudgeHead } from "./judge.ts";
import { judgeTargets } from "./judge-stage.ts";
import { labelsOf } from "./emoji-images.ts";
import type { Scene } from "./scene.ts";

/** Probabilities that the judge gives to what the prompt says, per picture; undefined where the prompt says nothing. */
export interface Verdict {
  /** Probability of the right answer of each head. */
  readonly probability: Readonly<Record<JudgeHead, number>>;
  /** Whether the right answer is the likeliest. */
  readonly isRight: Readonly<Record<JudgeHead, boolean>>;
  /** Probabilities of the styles, in the vocabulary's order. */
  readonly styles: readonly number[];
}

/** The judge, ready to look at pictures. */
export interface JudgeNetwork {
  /** @param pictures `[3, 64, 64]` in [0, 1] each. */
  look(pictures: readonly Float32Array[], scenes: readonly Scene[]): Promise<Verdict[]>;
  dispose(): Promise<void>;
}

/** Evaluations show sixteen pictures at a time. */
const batch = 16;
const heads = Object.keys(judgeHeads) as JudgeHead[];

/** Opens the judge's folder. Throws `UsageError`. */
export async function openJudge(path: string, backend: Backend): Promise<JudgeNetwork> {
  const folder = await openNodeFolder(path);
  const { width } = asJsonObject(await folder.readJson("config.json"), `${folder.path}/config.json`);
  if (typeof width !== "number") throw new UsageError("judge-config", `judge: expected a width, got ${JSON.stringify(width)} (at ${folder.path}/config.json)`);
  const weights = await loadCheckpoint([await folder.open("model.safetensors")]);
  const logits = judge(scopeOf((key, shape) => weight(weights.take(key, shape))), input("image", [batch, 3, 64, 64]), width);
  const executable = await backend.compile(program(Object.fromEntries(heads.map((head) => [head, softmax(logits[head], 1)]))));
  return {
    look: async (pictures, scenes) => {
      const verdicts: Verdict[] = [];
      for (let start = 0; start < pictures.length; start += batch) {
        const image = new Float32Array(batch * 3 * 64 * 64);
        const rows = Math.min(batch, pictures.length - start);
        for (let row = 0; row < rows; row++) image.set(pictures[start + row]!, row * 3 * 64 * 64);
        const outputs = await executable.run({ image });
        for (let row = 0; row < rows; row++) {
          const targets = judgeTargets(labelsOf(scenes[start + row]!));
          const probability = {} as Record<JudgeHead, number>;
          const isRight = {} as Record<JudgeHead, boolean>;
          for (const head of heads) {
            const classes = judgeHeads[head];
            const values = outputs[head]!.data.subarray(row * classes, (row + 1) * classes);
            probability[head] = values[targets[head]]!;
            isRight[head] = values.every((value) => value <= probability[head]);
          }
          const width = judgeHeads.style;
          verdicts.push({ probability, isRight, styles: [...outputs["style"]!.data.subarray(row * width, (row + 1) * width)].map(Number) });
        }
      }
      return verdicts;
    },
    dispose: () => executable.dispose(),
  };
}

/** Probability that a picture shows what the prompt says: the product over objects and background (and style, where said). */
export function matchProbability({ probability }: Verdict, scene: Scene): number {
  const background = scene.said.background ? probability.top * probability.bottom : 1;
  return probability.left * probability.right * background * (scene.said.style ? probability.style : 1);
}
