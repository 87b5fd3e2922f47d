import type { RocmStep, RocmStepOptions } from "./rocm-step-types.ts";
import { compileStepwise } from "./rocm-stepwise.ts";
import { compileWholeStep } from "./rocm-whole.ts";

export type { AdapterValues, Checkpointing, Numbers, RewardTerm, RocmModel, RocmSettings, RocmStep, RocmStepInputs, RocmStepOptions, RocmStepResult, StepPlan } from "./rocm-step-types.ts";

/**
 * Writes and compiles the programs of one gradient step of ROCM (`objectives/rocm.ts`).
 *
 * @throws UsageError for settings that contradict each other, a reward of the wrong shape or without a gradient, or a model that does not fit.
 */
export async function compileRocmStep(options: RocmStepOptions): Promise<RocmStep> {
  const { checkpointing, model } = options;
  if (checkpointing === "none") return compileWholeStep(options);
  const { unet, vae } = model;
  return compileStepwise({ ...options, model: { unet: { ...unet, options: { recompute: checkpointing === "block" } }, vae: { ...vae, options: { recompute: true } } } });
}
