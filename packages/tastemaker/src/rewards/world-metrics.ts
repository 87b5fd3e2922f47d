import { existsSync } from "node:fs";
import { join } from "node:path";
import { planarOf } from "@tastemaker/diffusion";
import type { Backend } from "@tastemaker/tensor";
import { worldPart } from "../models/emoji-world.ts";
import { goldOpinion } from "../worlds/emoji/gold-annotator.ts";
import { type JudgeNetwork, matchProbability, openJudge, type Verdict } from "../worlds/emoji/judge-network.ts";
import { type Scene, parseCaption } from "../worlds/emoji/scene.ts";
import type { Metric } from "./reward.ts";

/** How an opened judge and a picture make a number. */
interface WorldMetric {
  readonly unit: string;
  /** @param pixels `[3, 64, 64]`, planar in [0, 1] */
  readonly value: (verdict: Verdict, scene: Scene, pixels: Float32Array) => number;
  /** Whether evaluations show it without being asked. */
  readonly isUsual: boolean;
}

/** Metrics of the embedded world beside its rewards; no training ever uses them. To add one, add a row. */
const table: Readonly<Record<string, WorldMetric>> = {
  judge: { unit: "probability that the picture shows what the prompt says, by a network that no training uses", value: matchProbability, isUsual: true },
  gold: { unit: "preference of the world's people: appeal, less up to 6 for other objects or colours than the prompt says and up to 2 for another style", value: (verdict, scene, pixels) => goldOpinion(pixels, verdict, scene).preference, isUsual: false },
  "gold-appeal": { unit: "visual taste of the world's people, whatever the prompt", value: (verdict, scene, pixels) => goldOpinion(pixels, verdict, scene).appeal, isUsual: false },
};

/** Names of the world's metrics beside its rewards. */
export const worldMetricNames: readonly string[] = Object.keys(table);

/** The scenes of captions; undefined as soon as one is not of the world's grammar. */
function scenesOf(prompts: readonly string[]): Scene[] | undefined {
  try {
    return prompts.map(parseCaption);
  } catch {
    return undefined;
  }
}

function metricOf(name: string, { unit, value }: WorldMetric, judge: JudgeNetwork): Metric {
  return {
    name,
    unit,
    preprocessing: "the picture as it is, 64×64 pixels",
    files: ["config.json", "model.safetensors"].map((file) => join(worldPart("judge"), file)),
    score: async (pictures, prompts) => {
      const scenes = prompts.map(parseCaption);
      const pixels = pictures.map(planarOf);
      const verdicts = await judge.look(pixels, scenes);
      return verdicts.map((verdict, row) => value(verdict, scenes[row]!, pixels[row]!));
    },
    dispose: () => judge.dispose(),
  };
}

/** A metric of the world by name; undefined where the world has no judge or a prompt is not of its grammar, which the judge reads. */
export async function openWorldMetric(name: string, prompts: readonly string[], backend: Backend): Promise<Metric | undefined> {
  const metric = table[name];
  if (metric === undefined || !existsSync(worldPart("judge")) || scenesOf(prompts) === undefined) return undefined;
  return metricOf(name, metric, await openJudge(worldPart("judge"), backend));
}

/** The world's metrics that every evaluation shows (`judge`); none where a prompt is not of its grammar. */
export async function openWorldMetrics(prompts: readonly string[], backend: Backend): Promise<Metric[]> {
  const opened: Metric[] = [];
  for (const [name, { isUsual }] of Object.entries(table)) {
    const metric = isUsual ? await openWorldMetric(name, prompts, backend) : undefined;
    if (metric !== undefined) opened.push(metric);
  }
  return opened;
}
