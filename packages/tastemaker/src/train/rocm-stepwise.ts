import { sinusoidOfStep } from "@tastemaker/diffusion";
import { type Backend, type Executable, type HostData, type HostTensor, type Program, type Tensor, gradients, input, program, vjp } from "@tastemaker/tensor";

import { nextState, policyAndReference, policyDenoised, rocmLoss, transitionDivergence } from "../objectives/rocm.ts";
import { type SamplerStep, transitionCount } from "../objectives/sampler-step.ts";
import { type RocmLeaves, checkLength, fedPoint, feedsOf, fixedFeeds, rocmLeaves, rowOf, scoreSample } from "./rocm-leaves.ts";
import type { Numbers, RocmStep, RocmStepInputs, RocmStepOptions, RocmStepResult, StepPlan } from "./rocm-step-types.ts";
import { numbersOf } from "./rocm-whole.ts";

/** One step of the trajectory, forwards and backwards. All steps of a kind share them: what depends on the timestep is fed. */
interface StepPrograms {
  /** x_i → `next` x_(i+1), `denoised` f_θ(x_i) and, for a pair, `reference` f_ref(x_i), `s`, `divergence` D_i. */
  readonly forward: Program;
  /** Gradients of the loss by x_(i+1) and by D_i → gradients by x_i and by the adapter. The step is computed again. */
  readonly backward: Program;
}

/**
 * @param isPair Whether the step is compared with the reference. A last step without noise never is, and none without a divergence. Such a last step
 *   is run with a = 1, σ = 0: its `next` is the sample.
 *
 * A detached reference is not computed again: it is an input of the backward program.
 */
function stepPrograms({ settings }: RocmStepOptions, leaves: RocmLeaves, isPair: boolean): StepPrograms {
  const { divergence: divergenceSettings } = settings;
  const { tuned, conditioning, latentShape } = leaves;
  const { point, next } = fedPoint(tuned.base.config.down[0]!.channels);
  const x = input("x", latentShape);
  const noise = input("noise", latentShape);
  const byNext = input("cotangent.next", latentShape);
  const backward = (outputs: readonly Tensor[], cotangents: readonly Tensor[]): Program => {
    const slopes = vjp(outputs, cotangents, [x, ...leaves.adapter.values()]);
    return program({ x: slopes[0]!, ...Object.fromEntries([...leaves.adapter.keys()].map((name, i) => [`grad.${name}`, slopes[i + 1]!])) });
  };
  if (!isPair) {
    const denoised = policyDenoised(tuned, x, point, conditioning);
    const state = nextState(denoised, noise, next);
    return { forward: program({ next: state, denoised }), backward: backward([state], [byNext]) };
  }
  const draws = divergenceSettings.kind === "js-sampled" ? input("draws", [divergenceSettings.samples, ...latentShape]) : undefined;
  const pair = policyAndReference(tuned, x, point, conditioning, divergenceSettings.detachReference);
  const state = nextState(pair.denoised, noise, next);
  const compared = transitionDivergence(divergenceSettings, pair, next, draws);
  const recalled = divergenceSettings.detachReference
    ? transitionDivergence(divergenceSettings, { denoised: pair.denoised, reference: input("reference", latentShape) }, next, draws)
    : compared;
  return {
    forward: program({ next: state, ...pair, ...compared }),
    backward: backward([state, recalled.divergence], [byNext, input("cotangent.divergence", [latentShape[0]!])]),
  };
}

/** Decoder, rewards and loss, with the gradients of the loss by the sample and by every D_i. */
function tailProgram(options: RocmStepOptions, leaves: RocmLeaves, compared: number): Program {
  const { settings, rewards, batchSize } = options;
  const sample = input("sample", leaves.latentShape);
  const divergence = compared === 0 ? undefined : input("divergence", [compared, batchSize]);
  const scored = scoreSample(leaves, options.model, sample);
  const { loss, divergenceTotal } = rocmLoss(scored.rewards, divergence, leaves.beta, settings.divergence.stepReduction, batchSize);
  const [bySample, byDivergence] = gradients(loss, divergence === undefined ? [sample] : [sample, divergence]);
  return program({
    loss,
    divergenceTotal,
    image: scored.image,
    "grad.sample": bySample!,
    ...(byDivergence === undefined ? {} : { "grad.divergence": byDivergence }),
    ...Object.fromEntries(rewards.map(({ name }, i) => [`reward.${name}`, scored.rewards[i]!.value])),
  });
}

type Run = (feeds: Readonly<Record<string, HostData>>) => Promise<Record<string, HostTensor>>;

/** Programs that together need less than this keep their memory between runs; those that need more take turns. */
const KEPT_BYTES = 2 ** 30;

/** Programs that run one at a time. Large ones give their memory back when another's turn comes, so that their peaks do not add up. */
class Programs {
  readonly #backend: Backend;
  readonly #executables: Executable[] = [];
  #last: Executable | undefined;

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  async compile(traced: Program): Promise<Run> {
    const executable = await this.#backend.compile(traced);
    this.#executables.push(executable);
    const ports = { inputs: traced.inputs };
    return async (feeds) => {
      if (this.#last !== executable) await this.rest();
      this.#last = executable;
      return executable.run(feedsOf(ports, feeds));
    };
  }

  /** Need in bytes: of the largest where they take turns, else of all together. */
  get peakBytes(): number | undefined {
    const peaks = this.#executables.map(({ memory }) => memory?.peakBytes);
    if (!peaks.every((peak) => peak !== undefined)) return undefined;
    return this.#takesTurns ? Math.max(...peaks) : this.#total;
  }

  /** Ends the turn of the program that ran last. */
  async rest(): Promise<void> {
    const last = this.#last;
    this.#last = undefined;
    if (this.#takesTurns) await last?.rest();
  }

  async dispose(): Promise<void> {
    for (const executable of this.#executables.splice(0)) await executable.dispose();
  }

  get #total(): number {
    return this.#executables.reduce((total, { memory }) => total + (memory?.peakBytes ?? 0), 0);
  }

  get #takesTurns(): boolean {
    return this.#total > KEPT_BYTES;
  }
}

interface CompiledStep {
  readonly forward: Run;
  readonly backward: Run;
}

/** What a step depends on besides x: the coefficients as the programs take them. */
function coefficientFeeds(leaves: RocmLeaves, step: SamplerStep): Record<string, HostData> {
  return {
    sinusoid: sinusoidOfStep(leaves.tuned.base.config, step.timestep),
    fromSample: Float64Array.of(step.fromSample),
    fromOutput: Float64Array.of(step.fromOutput),
    nextA: Float64Array.of(step.next?.a ?? 1),
    nextSigma: Float64Array.of(step.next?.sigma ?? 0),
  };
}

/** The numbers of transition i out of `[M, T, …]`: `[M, …]`. */
function drawsOf(all: HostData | undefined, samples: number, transitions: number, i: number): HostData | undefined {
  if (all === undefined) return undefined;
  const parts = Array.from({ length: samples }, (_, draw) => rowOf(all, draw * transitions + i, samples * transitions));
  const result = new Float64Array(samples * (parts[0]?.length ?? 0));
  for (const [draw, part] of parts.entries()) result.set(part, draw * part.length);
  return result;
}

/** A step that runs as a chain of small programs: only x_i is kept between them, and compile time does not grow with N. */
export async function compileStepwise(options: RocmStepOptions): Promise<RocmStep> {
  const leaves = rocmLeaves(options);
  const { settings, batchSize, rewards } = options;
  const { divergence: divergenceSettings } = settings;
  const usual: StepPlan = { schedule: settings.schedule, backpropSteps: settings.backpropSteps ?? settings.schedule.length };
  const transitions = transitionCount(usual.schedule);
  const compared = divergenceSettings.kind === "none" ? 0 : transitions;
  const isSampled = divergenceSettings.kind === "js-sampled" && transitions > 0;
  const programs = new Programs(options.backend);
  const compileStep = async (isPair: boolean, hasBackward: boolean): Promise<CompiledStep> => {
    const { forward, backward } = stepPrograms(options, leaves, isPair);
    const missing: Run = () => Promise.reject(new Error("this step carries no gradient"));
    return { forward: await programs.compile(forward), backward: hasBackward ? await programs.compile(backward) : missing };
  };
  const pair = compared > 0 ? await compileStep(true, usual.schedule.length - usual.backpropSteps < compared) : undefined;
  const solo = pair === undefined || compared < usual.schedule.length ? await compileStep(false, true) : pair;
  const programsOf = (i: number): CompiledStep => (pair !== undefined && i < compared ? pair : solo);
  const tail = await programs.compile(tailProgram(options, leaves, compared));

  const run = async (inputs: RocmStepInputs): Promise<RocmStepResult> => {
    const { latents, noise, divergenceNoise, plan: { schedule, backpropSteps } = usual } = inputs;
    checkLength("noise", noise, [transitions, ...leaves.latentShape]);
    if (isSampled) checkLength("divergenceNoise", divergenceNoise, [divergenceSettings.samples, transitions, ...leaves.latentShape]);
    const fixed = fixedFeeds(leaves, inputs);
    const silence = new Float64Array(latents.length);
    const feedsAt = (i: number, x: HostData): Record<string, HostData> => {
      const draws = isSampled ? drawsOf(divergenceNoise, divergenceSettings.samples, transitions, i) : undefined;
      return { ...fixed, ...coefficientFeeds(leaves, schedule[i]!), x, noise: schedule[i]!.next !== undefined ? rowOf(noise, i, transitions) : silence, ...(draws === undefined ? {} : { draws }) };
    };

    const x: HostTensor[] = [{ shape: leaves.latentShape, dtype: "float32", data: latents }];
    const steps: Record<string, HostTensor>[] = [];
    for (let i = 0; i < schedule.length; i++) {
      const step = await programsOf(i).forward(feedsAt(i, x[i]!.data));
      steps.push(step);
      x.push(step["next"]!);
    }
    const sample = x.pop()!;
    const list = (name: string): HostTensor[] => steps.slice(0, compared).map((step) => step[name]!);

    const divergence = list("divergence").map(numbersOf);
    const stacked = new Float64Array(compared * batchSize);
    for (const [i, row] of divergence.entries()) stacked.set(row, i * batchSize);
    const end = await tail({ ...fixed, sample: sample.data, ...(compared === 0 ? {} : { divergence: stacked }) });

    const slopes = new Map([...leaves.adapter].map(([name, { shape }]) => [name, new Float64Array(shape.reduce((product, size) => product * size, 1))]));
    let byNext = end["grad.sample"]!.data;
    for (let i = schedule.length - 1; i >= schedule.length - backpropSteps; i--) {
      const isPair = i < compared;
      const results = await programsOf(i).backward({
        ...feedsAt(i, x[i]!.data),
        "cotangent.next": byNext,
        ...(isPair ? { reference: steps[i]!["reference"]!.data, "cotangent.divergence": rowOf(end["grad.divergence"]!.data, i, compared) } : {}),
      });
      byNext = results["x"]!.data;
      for (const [name, total] of slopes) for (const [k, value] of results[`grad.${name}`]!.data.entries()) total[k]! += value;
    }

    await programs.rest();

    const zeros: Numbers[] = Array.from({ length: transitions - compared }, () => new Float64Array(batchSize));
    return {
      loss: end["loss"]!.data[0]!,
      rewards: Object.fromEntries(rewards.map(({ name }) => [name, numbersOf(end[`reward.${name}`]!)])),
      divergence: [...divergence, ...zeros],
      divergenceTotal: numbersOf(end["divergenceTotal"]!),
      s: [...list("s").map(numbersOf), ...zeros],
      gradients: new Map([...slopes].map(([name, total]) => [name, Float32Array.from(total)])),
      images: end["image"]!,
      x,
      denoised: steps.map((step) => step["denoised"]!),
      reference: list("reference"),
    };
  };
  return { adapterShapes: new Map([...leaves.adapter].map(([name, { shape }]) => [name, shape])), peakBytes: programs.peakBytes, run, dispose: () => programs.dispose() };
}
