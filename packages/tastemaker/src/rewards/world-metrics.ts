import { existsSync } from "node:fs";
import { join } from "node:path";
import { planarOf } from "@tastemaker/diffusion";
import type { Backend } from "@tastemaker/tensor";
import { worldPart } from "../models/emoji-world.ts";
import { type JudgeNetwork, matchProbability, openJudge } from "../worlds/emoji/judge-network.ts";
import { type Scene, parseCaption } from "../worlds/emoji/scene.ts";
import type { Metric } from "./reward.ts";

/** Names of the world's metrics beside its rewards. */
export const worldMetricNames: readonly string[] = ["judge"];

/** The scenes of captions; undefined as soon as one is not of the world's grammar. */
function scenesOf(prompts: readonly string[]): Scene[] | undefined {
  try {
    return prompts.map(parseCaption);
  } catch {
    return undefined;
  }
}

/** How sure the judge is that a picture shows what its prompt says; no training ever uses it. */
function judgeMetric(judge: JudgeNetwork): Metric {
  return {
    name: "judge",
    unit: "probability that the picture shows what the prompt says, by a network that no training uses",
    preprocessing: "the picture as it is, 64×64 pixels",
    files: ["config.json", "model.safetensors"].map((name) => join(worldPart("judge"), name)),
    score: async (pictures, prompts) => {
      const scenes = prompts.map(parseCaption);
      const verdicts = await judge.look(pictures.map(planarOf), scenes);
      return verdicts.map((verdict, row) => matchProbability(verdict, scenes[row]!));
    },
    dispose: () => judge.dispose(),
  };
}

/**
 * Metrics of the embedded world beside its rewards: shown in every evaluation, never trained on. The judge reads the prompts' grammar, so it
 * is left out when a prompt is not of it. To add a metric, push it here.
 */
export async function openWorldMetrics(prompts: readonly string[], backend: Backend): Promise<Metric[]> {
  const metrics: Metric[] = [];
  if (existsSync(worldPart("judge")) && scenesOf(prompts) !== undefined) metrics.push(judgeMetric(await openJudge(worldPart("judge"), backend)));
  return metrics;
}
