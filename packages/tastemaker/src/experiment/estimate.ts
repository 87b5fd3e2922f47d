import { formatDuration } from "../cli/progress.ts";
import type { Budget } from "./budget.ts";
import type { Calibration } from "./calibration.ts";
import { type Part, parts, type RunSpec } from "./run-record.ts";

/** Seconds of one thread that a run takes: start, training, evaluations, final comparison. */
export function secondsOf(spec: RunSpec, { finalPrompts }: Pick<Budget, "finalPrompts">, { secondsPerIteration, startSeconds, pictureSeconds }: Calibration): number {
  const { method, iterations, settings, isScored } = spec;
  const start = startSeconds[method] ?? 0;
  const picture = pictureSeconds[method] ?? 0;
  const looks = 1 + Math.ceil(iterations / Number(settings["evaluation.every"]));
  const curve = looks * Number(settings["evaluation.count"]) * picture;
  // A comparison opens model and metrics once more, which is most of a start.
  const final = isScored ? finalPrompts * picture + start / 2 : 0;
  return start + iterations * secondsPerIteration[method]! + curve + final;
}

export function totalSeconds(specs: readonly RunSpec[], budget: Pick<Budget, "finalPrompts">, calibration: Calibration): number {
  return specs.reduce((sum, spec) => sum + secondsOf(spec, budget, calibration), 0);
}

/** Lines that say what a plan costs, part by part. */
export function describeCost(specs: readonly RunSpec[], budget: Budget, calibration: Calibration, jobs: number): string[] {
  const of = (some: readonly RunSpec[]): string => formatDuration((1000 * totalSeconds(some, budget, calibration)) / jobs);
  const training = specs.reduce((sum, { method, iterations }) => sum + iterations * calibration.secondsPerIteration[method]!, 0);
  const share = specs.length === 0 ? 0 : training / totalSeconds(specs, budget, calibration);
  const rows = parts.flatMap((part: Part) => {
    const own = specs.filter((spec) => spec.part === part);
    return own.length === 0 ? [] : [`  ${part.padEnd(8)} ${String(own.length).padStart(4)} runs  ${of(own)}`];
  });
  return [`${specs.length} runs, about ${of(specs)} with ${jobs} at once (${Math.round(100 * share)} % of it training, the rest evaluations and starts):`, ...rows];
}
