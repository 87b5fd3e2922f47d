import type { UNetConfig } from "@tastemaker/diffusion";
import { add, type Backend, type Executable, gradients, type HostData, input, type Program, program, sliceAxis, type Tensor } from "@tastemaker/tensor";
import type { PolicyObjectiveName, PolicySetting } from "../config/policy-setting.ts";
import { d3poLoss, type Pair } from "../objectives/d3po.ts";
import { dpokKl, dpokLoss } from "../objectives/dpok.ts";
import { ppoLoss } from "../objectives/ppo.ts";
import { rebelLoss } from "../objectives/rebel.ts";
import { fedStepPoint, type GaussianStep, predictionOf, ratioDiagnostics, stepFeeds, stepLogProb, stepLogRatio, type StepPoint, type StepPrediction } from "../objectives/step-policy.ts";
import { feedsOf } from "./rocm-leaves.ts";

/** What an objective's loss needs besides the policy's output. */
export interface LossNeeds {
  /** The base model's output at the same states. */
  readonly reference: boolean;
  /** The output at the time of sampling. */
  readonly old: boolean;
  /** The log-ratios of all other steps of the same trajectories: the loss is one of whole trajectories. */
  readonly others: boolean;
}

/** Ratios are taken against the policy that sampled, with d3po against the base model. */
export function lossNeeds(objective: PolicyObjectiveName): LossNeeds {
  return { old: objective !== "d3po", reference: objective === "dpok" || objective === "d3po", others: objective === "rebel" };
}

/** One step of a batch. Arrays are `[B, C, H, W]`; with d3po and rebel the first half of the rows are the first pictures of the pairs, the second half the second ones. */
export interface StepTransition {
  readonly step: GaussianStep;
  readonly x: HostData;
  readonly next: HostData;
  readonly output: HostData;
  readonly old: HostData | undefined;
  readonly reference: HostData | undefined;
  /** Advantages, or with d3po preferences ±1 and 0, `[B]`. */
  readonly targets: HostData;
  /** Σ log ρ of the other steps, `[B]`. */
  readonly others?: HostData | undefined;
}

export interface StepLoss {
  /** Mean over the batch. */
  readonly loss: number;
  /** Gradient of the loss by the output. */
  readonly cotangent: Float32Array;
  /** ρ and log ρ of this step, `[B]`. */
  readonly ratio: Float32Array;
  readonly logRatio: Float32Array;
  readonly clipFraction: number;
  readonly approxKl: number;
  /** `[B]`; undefined where the objective has none. */
  readonly kl: Float32Array | undefined;
}

/** The traced loss of an objective, a scalar, and the KL to the base model `[B]` where it has one. */
function traceLoss(
  objective: PolicyObjectiveName,
  settings: PolicySetting,
  point: StepPoint,
  traced: { readonly next: Tensor; readonly policy: StepPrediction; readonly reference: StepPrediction | undefined; readonly logRatio: Tensor; readonly others: Tensor | undefined; readonly targets: Tensor },
): { readonly loss: Tensor; readonly kl?: Tensor } {
  const { clipRange, logProbReduction: reduction, klForm, policyTerm, rewardWeight, klWeight, preferenceScale, logRatioPerReward } = settings;
  const { next, policy, reference, logRatio, others, targets } = traced;
  const rows = logRatio.shape[0]!;
  const pair = (value: Tensor): Pair => ({ a: sliceAxis(value, 0, 0, rows / 2), b: sliceAxis(value, 0, rows / 2, rows) });
  if (objective === "d3po") return { loss: d3poLoss({ beta: preferenceScale, clipRange }, pair(logRatio), pair(targets)).loss };
  if (objective === "rebel") return { loss: rebelLoss({ eta: logRatioPerReward }, pair(add(logRatio, others!)), pair(targets)).loss };
  if (objective !== "dpok") return { loss: ppoLoss(logRatio, targets, { clipRange }).loss };
  const dpok = { policyTerm, klForm, reduction, rewardWeight, klWeight, clipRange };
  const kl = dpokKl(dpok, policy, reference!, point);
  return { loss: dpokLoss(dpok, { logProb: stepLogProb(next, policy, point, reduction), logRatio, advantages: targets, kl }).loss, kl };
}

/**
 * The loss of an objective on one step as a function of the network's output, with its gradient by the output: a small program, apart from the network, so that what is compared
 * comes out of one and the same network program and agrees to the bit while the adapter has not changed. All steps share it.
 */
export class PolicyLoss {
  readonly #config: UNetConfig;
  readonly #program: Program;
  readonly #executable: Executable;

  private constructor(config: UNetConfig, traced: Program, executable: Executable) {
    this.#config = config;
    this.#program = traced;
    this.#executable = executable;
  }

  /** @param shape `[B, C, H, W]` */
  static async open(objective: PolicyObjectiveName, settings: PolicySetting, network: { readonly config: UNetConfig; readonly shape: readonly number[] }, backend: Backend): Promise<PolicyLoss> {
    const { config, shape } = network;
    const needs = lossNeeds(objective);
    const point = fedStepPoint(config);
    const leaf = (name: string): Tensor => input(name, shape);
    const [x, next, output, targets] = [leaf("x"), leaf("next"), leaf("output"), input("targets", [shape[0]!])];
    const policy = predictionOf(output, x, point);
    const reference = needs.reference ? predictionOf(leaf("reference"), x, point) : undefined;
    const compared = needs.old ? predictionOf(leaf("old"), x, point) : reference!;
    const logRatio = stepLogRatio(next, policy, compared, point, settings.logProbReduction);
    const others = needs.others ? input("others", [shape[0]!]) : undefined;
    const { loss, kl } = traceLoss(objective, settings, point, { next, policy, reference, logRatio, others, targets });
    const traced = program({ loss, logRatio, cotangent: gradients(loss, [output])[0]!, ...ratioDiagnostics(logRatio, settings.clipRange), ...(kl && { kl }) });
    return new PolicyLoss(config, traced, await backend.compile(traced));
  }

  async run({ step, ...arrays }: StepTransition): Promise<StepLoss> {
    const feeds = Object.entries({ ...arrays, ...stepFeeds(this.#config, step) }).filter((entry): entry is [string, HostData] => entry[1] !== undefined);
    const results = await this.#executable.run(feedsOf(this.#program, Object.fromEntries(feeds)));
    const numbers = (name: string): Float32Array => results[name]!.data as Float32Array;
    return {
      loss: numbers("loss")[0]!,
      cotangent: numbers("cotangent"),
      ratio: numbers("ratio"),
      logRatio: numbers("logRatio"),
      clipFraction: numbers("clipFraction")[0]!,
      approxKl: numbers("approxKl")[0]!,
      kl: results["kl"]?.data as Float32Array | undefined,
    };
  }

  dispose(): Promise<void> {
    return this.#executable.dispose();
  }
}
