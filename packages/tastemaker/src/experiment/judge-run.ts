import type { WatchSetting } from "../config/train-config.ts";
import { chooseBest } from "../train/best-checkpoint.ts";
import { diversityName } from "../train/diversity.ts";
import type { EvaluationHistory } from "../train/evaluation-history.ts";
import { judgeLooks } from "../train/over-optimisation.ts";
import { goldMetrics, type RunSpec } from "./run-record.ts";

/** What a run's evaluations say of it. */
export interface RunVerdict {
  readonly watchFiredAt: number | null;
  readonly bestIteration: number | null;
}

/**
 * The best checkpoint and the watch's first alarm by the rules of training, but without what stands for people: a run measures those beside the other metrics, and its own verdicts
 * count them in. Early stopping is judged by the gold preference, so it must not have been chosen by it.
 */
export function judgeRun({ reward, iterations, settings }: RunSpec, { base, looks }: EvaluationHistory, watch: WatchSetting): RunVerdict {
  const names = Object.keys(base ?? looks[0]?.scores ?? {}).filter((name) => name !== reward && !(goldMetrics as readonly string[]).includes(name));
  const watched = names.map((name) => ({ name }));
  const heldOut = watched.filter(({ name }) => name !== diversityName);
  const trained = [{ name: reward, weight: 1 }];
  const plannedLooks = Math.ceil(iterations / Number(settings["evaluation.every"]));
  let watchFiredAt: number | null = null;
  let best: number | undefined;
  for (const [index, { iteration }] of looks.entries()) {
    const seen: EvaluationHistory = { base, looks: looks.slice(0, index + 1), best };
    const verdict = watch.action === "off" ? ({ state: "quiet", findings: [] } as const) : judgeLooks(seen, { trained, watched, plannedLooks, settings: watch });
    if (verdict.state === "fired") watchFiredAt ??= iteration;
    best = chooseBest(seen, verdict, { trained, heldOut, known: [], by: "held-out" });
  }
  return { watchFiredAt, bestIteration: best ?? null };
}
