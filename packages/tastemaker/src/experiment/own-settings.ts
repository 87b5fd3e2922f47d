import { UsageError } from "@tastemaker/tensor";
import { samplingFlags } from "./run-command.ts";

/** Settings that every run gets from the plan: what it is of (specification), and how it is measured. */
const planned = ["objective", "model", "prompts", "rewards", "learningRate", "seed", "iterations", "beta", "divergence.kind", "evaluation.prompts", "evaluation.count", "evaluation.every", "evaluation.metrics", "checkpoint.every", "watch.action", "threads", "out"] as const;
/** Settings by which methods differ; `world.settings` would be overridden. */
const byMethod = ["batchSize", "policy.samplesPerIteration"] as const;
/** Settings of sampling that evaluations of an experiment do not take (they take `samplingFlags`). */
const unsupported = ["eta", "imageSize", "modelConfig"] as const;

/** Whether setting one of two paths changes the other. */
const touches = (a: string, b: string): boolean => a === b || a.startsWith(`${b}.`) || b.startsWith(`${a}.`);

/**
 * Refuses settings of a budget that its runs could not have: they would be overridden, or would make a run something else than its specification says.
 * @throws UsageError `budget-settings`
 */
export function checkOwnSettings(settings: Readonly<Record<string, unknown>>, where: string, kind: "world" | "extras"): void {
  const reasons: readonly (readonly [readonly string[], string])[] = [
    [planned, "leave it out; the experiment sets it"],
    [unsupported, "leave it out; all models of an experiment are sampled alike"],
    kind === "world" ? [byMethod, "set it for single methods, in `extras`"] : [Object.keys(samplingFlags), "set it in `world.settings`, for all models"],
  ];
  for (const path of Object.keys(settings)) {
    for (const [names, cure] of reasons) {
      if (names.some((name) => touches(path, name))) throw new UsageError("budget-settings", `budget: expected settings that the experiment does not make itself, got "${path}" (at ${where})`, cure);
    }
  }
}
