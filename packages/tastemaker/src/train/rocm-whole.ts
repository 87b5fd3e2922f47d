import { type HostTensor, type Program, type Tensor, concat, gradients, input, program, reshape, simplify, sliceAxis, UsageError } from "@tastemaker/tensor";

import { rocmLoss, rocmTrajectory } from "../objectives/rocm.ts";
import { transitionCount } from "../objectives/sampler-step.ts";
import { type RocmLeaves, checkLength, feedsOf, fixedFeeds, rocmLeaves, scoreSample } from "./rocm-leaves.ts";
import type { Numbers, RocmStep, RocmStepInputs, RocmStepOptions, RocmStepResult } from "./rocm-step-types.ts";

/** Row `index` along `axis`, without the axis. */
function pick(x: Tensor, axis: number, index: number): Tensor {
  return reshape(sliceAxis(x, axis, index, index + 1), x.shape.toSpliced(axis, 1));
}

/** `[T, B]` from its rows; undefined without any. */
export function stackRows(rows: readonly Tensor[]): Tensor | undefined {
  return rows.length === 0 ? undefined : concat(rows.map((row) => reshape(row, [1, ...row.shape])), 0);
}

/** Loss, everything reported and all gradients of one step, as one program. */
export function wholeProgram(options: RocmStepOptions, leaves: RocmLeaves): Program {
  const { settings, model, rewards } = options;
  const { schedule, divergence: divergenceSettings } = settings;
  const transitions = transitionCount(schedule);
  const { latentShape } = leaves;
  const noise = transitions === 0 ? undefined : input("noise", [transitions, ...latentShape]);
  const isSampled = divergenceSettings.kind === "js-sampled" && transitions > 0;
  const draws = isSampled ? input("divergenceNoise", [divergenceSettings.samples, transitions, ...latentShape]) : undefined;
  const perStep = (all: Tensor | undefined, axis: number): Tensor[] => (all === undefined ? [] : Array.from({ length: transitions }, (_, i) => pick(all, axis, i)));
  const run = rocmTrajectory(
    leaves.tuned,
    schedule,
    divergenceSettings,
    settings.backpropSteps ?? schedule.length,
    { latents: input("latents", latentShape), noise: perStep(noise, 0), divergenceNoise: draws && perStep(draws, 1) },
    leaves.conditioning,
  );
  const scored = scoreSample(leaves, model, run.sample);
  const { loss, divergenceTotal } = rocmLoss(scored.rewards, stackRows(run.divergence), leaves.beta, divergenceSettings.stepReduction, options.batchSize);
  const listed = (name: string, values: readonly Tensor[]): [string, Tensor][] => values.map((value, i) => [`${name}.${i}`, value]);
  const forward = program(
    Object.fromEntries([
      ["loss", loss],
      ["divergenceTotal", divergenceTotal],
      ["image", scored.image],
      ...rewards.map(({ name }, i): [string, Tensor] => [`reward.${name}`, scored.rewards[i]!.value]),
      ...listed("x", run.x),
      ...listed("denoised", run.denoised),
      ...listed("reference", run.reference),
      ...listed("s", run.s),
      ...listed("divergence", run.divergence),
    ]),
  );
  // What all steps share (projections of the context) is merged before the gradient, so that the gradient walks it once.
  const merged = Object.fromEntries(simplify(forward, { keepsStops: true }).outputs.map(({ name, tensor }) => [name, tensor]));
  const slopes = gradients(merged["loss"]!, [...leaves.adapter.values()]);
  return program({ ...merged, ...Object.fromEntries([...leaves.adapter.keys()].map((name, i) => [`grad.${name}`, slopes[i]!])) });
}

/** The numbers of an output, which programs of this kind return as float32 or float64. */
export const numbersOf = ({ data }: HostTensor): Numbers => data as Numbers;

/** A step that runs as one program: fastest, keeps every intermediate value. */
export async function compileWholeStep(options: RocmStepOptions): Promise<RocmStep> {
  const leaves = rocmLeaves(options);
  const traced = wholeProgram(options, leaves);
  const executable = await options.backend.compile(traced);
  const { schedule, divergence } = options.settings;
  const transitions = transitionCount(schedule);
  const run = async (inputs: RocmStepInputs): Promise<RocmStepResult> => {
    const { latents, noise, divergenceNoise, plan } = inputs;
    if (plan !== undefined) throw new UsageError("rocm-settings", "plan: expected none with checkpointing none, got one", "use checkpointing step, whose programs are the same for all ways");
    checkLength("noise", noise, [transitions, ...leaves.latentShape]);
    const results = await executable.run(feedsOf(traced, { ...fixedFeeds(leaves, inputs), latents, noise, ...(divergenceNoise === undefined ? {} : { divergenceNoise }) }));
    const get = (name: string): HostTensor => results[name]!;
    const list = (name: string, count: number): HostTensor[] => Array.from({ length: count }, (_, i) => get(`${name}.${i}`));
    const compared = divergence.kind === "none" ? 0 : transitions;
    const zeros = Array.from({ length: transitions - compared }, () => new Float64Array(options.batchSize));
    return {
      loss: get("loss").data[0]!,
      rewards: Object.fromEntries(options.rewards.map(({ name }) => [name, numbersOf(get(`reward.${name}`))])),
      divergence: [...list("divergence", compared).map(numbersOf), ...zeros],
      divergenceTotal: numbersOf(get("divergenceTotal")),
      s: [...list("s", compared).map(numbersOf), ...zeros],
      gradients: new Map([...leaves.adapter.keys()].map((name) => [name, Float32Array.from(get(`grad.${name}`).data)])),
      images: get("image"),
      x: list("x", schedule.length),
      denoised: list("denoised", schedule.length),
      reference: list("reference", compared),
    };
  };
  return { adapterShapes: new Map([...leaves.adapter].map(([name, { shape }]) => [name, shape])), peakBytes: executable.memory?.peakBytes, run, dispose: () => executable.dispose() };
}
