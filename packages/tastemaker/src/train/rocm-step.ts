import type { RocmStep, RocmStepOptions } from "./rocm-step-types.ts";
import { compileStepwise } from "./rocm-stepwise.ts";
import { compileWholeStep } from "./rocm-whole.ts";

export type { AdapterValues, Numbers, RewardTerm, RocmModel, RocmSettings, RocmStep, RocmStepInputs, RocmStepOptions, RocmStepResult } from "./rocm-step-types.ts";

/**
 * Writes and compiles the programs of one gradient step of ROCM (`objectives/rocm.ts`).
 *
 * @throws UsageError for settings that contradict each other, a reward of the wrong shape or without a gradient, or a model that does not fit.
 */
export async function compileRocmStep(options: RocmStepOptions): Promise<RocmStep> {
  return options.checkpointing === "step" ? compileStepwise(options) : compileWholeStep(options);
}
