import { InternalError, UsageError } from "@tastemaker/tensor";
import type { ParameterSet } from "./adamw.ts";
import type { FreeMemory } from "../platform/free-memory.ts";
import type { Checkpointing, RocmStep, RocmStepResult } from "./rocm-step.ts";

function findBad(values: ArrayLike<number>): number | undefined {
  for (let i = 0; i < values.length; i++) if (!Number.isFinite(values[i]!)) return i;
  return undefined;
}

/**
 * Looks through a step's results from the pictures to the gradients.
 * @throws UsageError `not-finite` naming the first tensor that holds NaN or an infinity, and the prompt where it is known
 */
export function checkStep(result: RocmStepResult, iteration: number, prompts: readonly string[]): void {
  const rows: [name: string, values: ArrayLike<number>][] = [
    ...result.x.map(({ data }, step): [string, ArrayLike<number>] => [`latent x_${step}`, data]),
    ["picture", result.images.data],
    ...Object.entries(result.rewards).map(([name, values]): [string, ArrayLike<number>] => [`reward ${name}`, values]),
    ["divergence", result.divergenceTotal],
    ["loss", [result.loss]],
    ...[...result.gradients].map(([name, values]): [string, ArrayLike<number>] => [`gradient ${name}`, values]),
  ];
  for (const [name, values] of rows) {
    const bad = findBad(values);
    if (bad === undefined) continue;
    const hasRows = !name.startsWith("gradient") && name !== "loss";
    const prompt = hasRows ? `, prompt "${prompts[Math.floor((bad * prompts.length) / values.length)]}"` : "";
    throw new UsageError(
      "not-finite",
      `training: expected finite numbers, got ${values[bad]} in ${name} (at iteration ${iteration + 1}${prompt})`,
      "start again with a lower --learning-rate or a larger --beta",
    );
  }
}

/** @param promptOf of an element, where it has one @throws UsageError `not-finite` naming `what` and the prompt of the first element that is NaN or an infinity */
export function checkFinite(values: ArrayLike<number>, what: string, iteration: number, promptOf?: (index: number) => string): void {
  const bad = findBad(values);
  if (bad === undefined) return;
  const prompt = promptOf === undefined ? "" : `, prompt "${promptOf(bad)}"`;
  throw new UsageError("not-finite", `training: expected finite numbers, got ${values[bad]} in ${what} (at iteration ${iteration + 1}${prompt})`, "start again with a lower --learning-rate");
}

/** @throws UsageError `not-finite` naming the first gradient that holds NaN or an infinity */
export function checkGradients(gradients: ParameterSet, iteration: number): void {
  for (const [name, values] of gradients) checkFinite(values, `gradient ${name}`, iteration);
}

/** Iterations in a row without any gradient after which a run is stopped. */
const patience = 5;

/**
 * Counts iterations whose gradient is exactly zero.
 * @throws UsageError `zero-gradient` at the first iteration, or after five in a row
 */
export function checkGradient(norm: number, before: number, iteration: number, cure: string): number {
  if (norm > 0) return 0;
  if (iteration > 0 && before + 1 < patience) return before + 1;
  throw new UsageError(
    "zero-gradient",
    `training: expected a gradient, got exactly zero for every adapter matrix (at iteration ${iteration + 1})`,
    cure,
  );
}

/**
 * Before the first update the tuned model is the base model, so every divergence is 0 up to rounding.
 * @param typical Divergence of a visibly changed model, the yardstick.
 * @throws InternalError otherwise
 */
export function checkDivergenceIsZero(divergence: number, typical: number): void {
  if (Math.abs(divergence) <= 1e-4 * typical) return;
  throw new InternalError(`training: expected divergence 0 before the first update, got ${divergence}`);
}

/** @throws InternalError unless every value is exactly the expected one */
function checkExactly(what: string, expected: number, values: ArrayLike<number>, where: string): void {
  for (let i = 0; i < values.length; i++) {
    if (values[i] === expected) continue;
    const many = values.length === 1 ? "" : `, element ${i} of ${values.length}`;
    throw new InternalError(`training: expected ${what} to be exactly ${expected} before the first update, got ${values[i]} (at ${where}${many})`);
  }
}

/**
 * Before the first update on new samples the policy is the one that made them, so every ratio is exactly 1: the old log-probabilities come from the program that trains.
 * @param where What the ratios belong to, e.g. `step 3 of iteration 1`.
 * @throws InternalError otherwise: old and new policy do not mean the same numbers
 */
export function checkFirstRatio(ratios: ArrayLike<number>, where: string): void {
  checkExactly("the ratio of new to old policy", 1, ratios, where);
}

/**
 * Before the very first update the tuned model is the base model, so every KL between them is exactly 0.
 * @param where What the values belong to, e.g. `step 3 of iteration 1`.
 * @throws InternalError otherwise: the adapter does not start at zero, or the reference is another model
 */
export function checkFirstKl(values: ArrayLike<number>, where: string): void {
  checkExactly("the KL of tuned to base model", 0, values, where);
}

/** What each way of keeping values can be lowered to. */
const lessMemory: Readonly<Record<Checkpointing, string>> = {
  none: "use --checkpointing step",
  step: "use --checkpointing block, a lower --batch-size or a smaller --size",
  block: "use a lower --batch-size or a smaller --size",
};

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`;

/**
 * Compares what a step is expected to need with the machine, before minutes are spent: an error beyond all of its memory, a warning beyond what is free.
 * Mapped weights are not counted, since they can be read again.
 * @throws UsageError `memory-too-small`
 */
export function checkMemory({ peakBytes }: Pick<RocmStep, "peakBytes">, { totalBytes, availableBytes }: FreeMemory, checkpointing: Checkpointing, warn: (text: string) => void): void {
  if (peakBytes === undefined || peakBytes <= availableBytes) return;
  const need = `a training step needs about ${gigabytes(peakBytes)} besides the weights`;
  if (peakBytes > totalBytes) throw new UsageError("memory-too-small", `memory: expected at least ${gigabytes(peakBytes)} (${need}), got ${gigabytes(totalBytes)} in all`, lessMemory[checkpointing]);
  warn(`${need}, and ${gigabytes(availableBytes)} are free: close other programs, or ${lessMemory[checkpointing]}`);
}
