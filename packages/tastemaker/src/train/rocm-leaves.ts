import type { LcmPoint } from "@tastemaker/diffusion";
import { latentToImage } from "@tastemaker/diffusion";
import { type HostData, type InputSpec, type Program, type Shape, type Tensor, UsageError, gradients, input, sum, unknownNameError } from "@tastemaker/tensor";

import type { AdapterPairs, NextPoint, TunedConditioning, TunedDenoiser, WeightedReward } from "../objectives/rocm.ts";
import type { RewardTerm, RocmStepInputs, RocmStepOptions } from "./rocm-step-types.ts";

/** The values that the programs of a step are fed with, as leaves. All programs of one step share them. */
export interface RocmLeaves {
  readonly tuned: TunedDenoiser;
  /** By the adapter's names, in order. */
  readonly adapter: ReadonlyMap<string, Tensor>;
  readonly conditioning: TunedConditioning;
  /** Scalar β. */
  readonly beta: Tensor;
  /** Shape of a latent batch, `[B, C, H, W]`. */
  readonly latentShape: Shape;
  /** Per reward its inputs, by the reward's own names. */
  readonly rewards: readonly { readonly term: RewardTerm; readonly inputs: Readonly<Record<string, Tensor>> }[];
}

const ADAPTER = "adapter.";
const rewardInput = (reward: string, name: string): string => `reward.${reward}.${name}`;

/** @throws UsageError for settings that contradict each other. */
function checkOptions({ rewards, settings, batchSize }: RocmStepOptions): void {
  const fail = (what: string, expected: string, got: string | number, hint?: string): never => {
    throw new UsageError("rocm-settings", `${what}: expected ${expected}, got ${got}`, hint);
  };
  const { schedule, lora, backpropSteps = schedule.length, divergence } = settings;
  const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 1;
  if (!isCount(batchSize)) fail("batchSize", "a whole number of at least 1", batchSize);
  if (schedule.length === 0) fail("steps", "at least 1", 0);
  if (!isCount(backpropSteps) || backpropSteps > schedule.length) fail("backpropSteps", `a whole number from 1 to the ${schedule.length} steps`, backpropSteps);
  if (divergence.kind !== "none" && schedule.some(({ next }) => next?.sigma === 0)) fail("divergence", "none for steps without noise (eta 0)", divergence.kind, "deterministic steps have no densities to compare; raise eta, or use --divergence none");
  if (divergence.kind === "js-sampled" && !isCount(divergence.samples)) fail("divergence.samples", "a whole number of at least 1", divergence.samples);
  if (lora.targets.length === 0) fail("lora.targets", "at least one layer", 0, "check the names against the model's layers");
  if (rewards.length === 0) fail("rewards", "at least one", 0);
  const names = rewards.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) fail("rewards", "unique names", `"${twice}" twice`, "sum their weights into one term");
}

/** Makes the leaves of a step. @throws UsageError for settings that contradict each other. */
export function rocmLeaves(options: RocmStepOptions): RocmLeaves {
  checkOptions(options);
  const { model, settings, batchSize, rewards } = options;
  const { unet } = model;
  const { targets, rank, alpha } = settings.lora;
  const adapter = new Map<string, Tensor>();
  const pairs = new Map<string, { down: Tensor; up: Tensor }>();
  for (const { module, in: inner, out } of targets) {
    const [a, b] = [`${module}.lora_A.weight`, `${module}.lora_B.weight`];
    const down = input(ADAPTER + a, [rank, inner]);
    const up = input(ADAPTER + b, [out, rank]);
    adapter.set(a, down).set(b, up);
    pairs.set(module, { down, up });
  }
  const { crossAttentionDim, timeCondProjDim, inChannels } = unet.config;
  const contextShape = [batchSize, settings.contextLength, crossAttentionDim];
  const guidance = settings.guidanceScale === undefined ? undefined : { scale: settings.guidanceScale, uncondContext: input("emptyContext", contextShape) };
  const cond = timeCondProjDim === undefined ? undefined : input("cond", [batchSize, timeCondProjDim]);
  return {
    tuned: { base: unet, adapter: pairs satisfies AdapterPairs, factor: alpha / rank },
    adapter,
    conditioning: { context: input("context", contextShape), cond, guidance },
    beta: input("beta", []),
    latentShape: [batchSize, inChannels, ...settings.latentSize],
    rewards: rewards.map((term) => ({
      term,
      inputs: Object.fromEntries(Object.entries(term.inputs).map(([name, { shape, dtype }]: [string, InputSpec]) => [name, input(rewardInput(term.name, name), shape, dtype)])),
    })),
  };
}

/** Picture and rewards of a sample. @throws UsageError when a reward is not `[B]` or does not depend differentiably on the picture. */
export function scoreSample({ rewards, latentShape }: RocmLeaves, { vae }: RocmStepOptions["model"], sample: Tensor): { readonly image: Tensor; readonly rewards: readonly WeightedReward[] } {
  const batch = latentShape[0]!;
  const { image } = latentToImage(vae.scope, vae.config, sample, vae.options);
  const scored = rewards.map(({ term, inputs }) => {
    const value = term.score(image, inputs);
    if (value.shape.length !== 1 || value.shape[0] !== batch) {
      throw new UsageError("reward-shape", `reward ${term.name}: expected a score of shape [${batch}], got [${value.shape.join(", ")}]`);
    }
    if (gradients(sum(value), [image])[0]!.node.operator.name === "constant") {
      throw new UsageError("reward-gradient", `reward ${term.name}: expected a score that depends differentiably on the picture, got a gradient of zero`, "use a policy-gradient objective for such a reward");
    }
    return { weight: term.weight, normalization: term.normalization, value };
  });
  return { image, rewards: scored };
}

/** The coefficients of a step that is fed at run time, so that steps share a program. */
export function fedPoint(width: number): { readonly point: LcmPoint; readonly next: NextPoint } {
  return {
    point: { sinusoid: input("sinusoid", [1, width]), fromSample: input("fromSample", []), fromOutput: input("fromOutput", []) },
    next: { a: input("nextA", []), sigma: input("nextSigma", []) },
  };
}

/** The inputs that do not change from step to step, by the names of the leaves. @throws UsageError for names that nothing uses. */
export function fixedFeeds(leaves: RocmLeaves, inputs: RocmStepInputs): Record<string, HostData> {
  const { adapter, context, cond, emptyContext, rewardInputs, beta } = inputs;
  const feeds: Record<string, HostData> = { context, beta: Float64Array.of(beta) };
  if (cond !== undefined) {
    if (leaves.conditioning.cond === undefined) throw new UsageError("unknown-input", "cond: expected none (the network takes no guidance embedding), got one");
    feeds["cond"] = cond;
  }
  if (emptyContext !== undefined) {
    if (leaves.conditioning.guidance === undefined) throw new UsageError("unknown-input", "emptyContext: expected none (there is no classifier-free guidance), got one");
    feeds["emptyContext"] = emptyContext;
  }
  for (const [name, values] of adapter) {
    if (!leaves.adapter.has(name)) throw unknownNameError("adapter", name, [...leaves.adapter.keys()]);
    feeds[ADAPTER + name] = values;
  }
  const known = new Map(leaves.rewards.map(({ term, inputs: ports }) => [term.name, Object.keys(ports)]));
  for (const [reward, values] of Object.entries(rewardInputs)) {
    const ports = known.get(reward);
    if (ports === undefined) throw unknownNameError("rewardInputs", reward, [...known.keys()]);
    for (const [name, data] of Object.entries(values)) {
      if (!ports.includes(name)) throw unknownNameError(`inputs of reward ${reward}`, name, ports);
      feeds[rewardInput(reward, name)] = data;
    }
  }
  return feeds;
}

/** The part of the feeds that a program takes; what it takes and is not there is reported by the backend. */
export function feedsOf(traced: Pick<Program, "inputs">, feeds: Readonly<Record<string, HostData>>): Record<string, HostData> {
  return Object.fromEntries(traced.inputs.flatMap(({ name }) => (feeds[name] === undefined ? [] : [[name, feeds[name]]])));
}

/** Rows `index` of a flat array of `count` equal rows. */
export function rowOf<Data extends HostData>(data: Data, index: number, count: number): Data {
  const size = data.length / count;
  return data.subarray(index * size, (index + 1) * size) as Data;
}

/** Checks the length of the arrays that the host cuts into steps. @throws UsageError */
export function checkLength(what: string, data: HostData | undefined, shape: Shape): void {
  const expected = shape.reduce((product, size) => product * size, 1);
  if ((data?.length ?? 0) !== expected) {
    throw new UsageError("shape-mismatch", `${what}: expected ${expected} numbers for [${shape.join(", ")}], got ${data?.length ?? "none"}`);
  }
}
