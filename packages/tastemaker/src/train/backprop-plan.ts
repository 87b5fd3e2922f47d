import { uniform } from "@tastemaker/tensor";
import type { BackpropSetting } from "../config/train-config.ts";
import type { SamplerStep } from "../objectives/sampler-step.ts";
import type { StepPlan } from "./rocm-step.ts";

/** A whole number from 0 to `count` − 1, a function of seed and iteration alone. */
function draw(seed: number, iteration: number, count: number): number {
  return Math.min(count - 1, Math.floor(uniform({ seed, stream: "backprop-steps", indices: [iteration] }, 1)[0]! * count));
}

/** The earliest step at which `predicted` may end: the last quarter of the steps, as ReFL's 30 … 39 of 40. */
export function earliestPrediction(steps: number): number {
  return Math.floor((3 * steps) / 4);
}

/**
 * Which steps an iteration (counted from 0) runs and which carry gradient; undefined where that is the same in all iterations, as the compiled step has it.
 *
 * - `random` (AlignProp's code): the first step with gradient is uniform on 0 … N−1, so the last 1 … N steps carry it.
 * - `predicted` (ReFL): sampling ends at a step that is uniform on the last quarter, whose predicted picture x̂₀ is scored; that step alone carries gradient.
 */
export function backpropPlan(setting: BackpropSetting | undefined, schedule: readonly SamplerStep[], { seed, iteration }: { readonly seed: number; readonly iteration: number }): StepPlan | undefined {
  if (setting === "random") return { schedule, backpropSteps: schedule.length - draw(seed, iteration, schedule.length) };
  if (setting !== "predicted") return undefined;
  const first = earliestPrediction(schedule.length);
  const end = first + draw(seed, iteration, schedule.length - first);
  const last = schedule[end]!;
  return { schedule: [...schedule.slice(0, end), { ...last, ...last.predicted, next: undefined }], backpropSteps: 1 };
}
