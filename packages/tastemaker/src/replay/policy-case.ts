import { ddimSteps, lcmSteps } from "@tastemaker/diffusion";
import { type Backend, type HostData, type Shape, type Tensor, gradients, input, program, sub } from "@tastemaker/tensor";
import { z } from "zod";

import { d3poLoss } from "../objectives/d3po.ts";
import { DPOK_KL_FORMS, DPOK_POLICY_TERMS, dpokKl, dpokLoss } from "../objectives/dpok.ts";
import { ppoLoss } from "../objectives/ppo.ts";
import type { TunedDenoiser } from "../objectives/rocm.ts";
import {
  type GaussianStep,
  type PolicyConditioning,
  type StepPoint,
  type StepPrediction,
  ddimPolicySteps,
  fedStepPoint,
  firstLogRatio,
  lcmPolicySteps,
  predictStep,
  stepFeeds,
  stepLogProb,
  stepLogRatio,
} from "../objectives/step-policy.ts";
import { type CaseFile, type CaseTensor, type ReplayedTensor, caseError, feed, fieldsOf, inputOf, tokenIdsOf } from "./case-file.ts";
import { type CaseNetworks, contextOf, guidanceRows, openCaseNetworks } from "./case-model.ts";
import { adapterSchema, openCaseAdapter } from "./lora-case.ts";
import { leafOf, runOnce } from "./run-once.ts";
import { timestepsSchema } from "./sample-case.ts";

const clipRangeSchema = z.number().min(0).lt(1);

const processFields = {
  process: z.enum(["lcm", "ddim"]),
  lora: adapterSchema,
  config: z.string().optional(),
  steps: z.number(),
  timesteps: timestepsSchema.default("linspace"),
  lastStepNoise: z.boolean().default(false),
  eta: z.number().default(1),
  guidanceScale: z.number(),
  logProbReduction: z.enum(["mean", "sum"]).default("mean"),
  clipRange: clipRangeSchema,
};

const policyFields = { ...processFields, oldLogProb: z.enum(["given", "current"]).default("given") };
const ppoSchema = z.object({ ...policyFields, objective: z.literal("ppo") });
const dpokSchema = z.object({
  ...policyFields,
  objective: z.literal("dpok"),
  rewardWeight: z.number(),
  klWeight: z.number(),
  policyTerm: z.enum(DPOK_POLICY_TERMS),
  klForm: z.enum(DPOK_KL_FORMS),
  reduction: z.enum(["mean", "sum"]).default("mean"),
});
const objectiveSchema = z.looseObject({ objective: z.enum(["ppo", "dpok"]) });
const d3poSchema = z.object({ ...processFields, beta: z.number().min(0) });

type ProcessFields = z.infer<z.ZodObject<typeof processFields>>;

/** The transitions of a case. @throws UsageError `case-invalid` when none has a density */
function stepsOf(kase: CaseFile, { scheduler }: CaseNetworks["model"], { process, steps, timesteps, lastStepNoise, eta }: ProcessFields): GaussianStep[] {
  const found = process === "lcm" ? lcmPolicySteps(scheduler, lcmSteps(scheduler, steps, timesteps), lastStepNoise) : ddimPolicySteps(scheduler, ddimSteps(scheduler, steps, eta));
  if (found.length === 0) throw caseError(kase, "at least one step that adds noise", `none in ${steps}`);
  return found;
}

const ADAPTER = "adapter.";

/** What the program of one transition is traced from. */
interface StepLeaves {
  readonly tuned: TunedDenoiser;
  readonly point: StepPoint;
  readonly conditioning: PolicyConditioning;
}

/** The values that a transition's program is fed with besides the model's own: those of every step, and those cut along their first axis, the transitions. */
interface CaseFeeds {
  readonly fixed: readonly string[];
  readonly perStep: readonly string[];
}

/**
 * Runs the transitions one after another through one program, as a trainer does. Scalars are averaged over them, other results stacked along a new first axis; the gradient is that of
 * the mean of `loss`.
 *
 * @param trace The results of one transition; `loss` among them.
 */
async function replaySteps(kase: CaseFile, backend: Backend, fields: ProcessFields, networks: CaseNetworks, steps: readonly GaussianStep[], batch: number, feeds: CaseFeeds, trace: (leaves: StepLeaves) => Readonly<Record<string, Tensor>>): Promise<Map<string, ReplayedTensor>> {
  const vocabulary = networks.text.config.vocabulary;
  const ids = tokenIdsOf(kase, "input_ids", [batch, "L"], vocabulary);
  const isGuided = fields.process === "ddim";
  const texts = { context: contextOf(networks, leafOf("input_ids", ids)), ...(isGuided ? { uncondContext: contextOf(networks, leafOf("uncond_ids", tokenIdsOf(kase, "uncond_ids", ids.shape, vocabulary))) } : {}) };
  const contexts = await runOnce(texts, kase.inputs, backend);
  const cond = isGuided ? undefined : guidanceRows(networks, fields.guidanceScale, batch);
  const textLeaf = (name: string): Tensor => input(name, contexts.get(name)!.shape);
  const conditioning: PolicyConditioning = isGuided
    ? { scale: fields.guidanceScale, context: textLeaf("context"), uncondContext: textLeaf("uncondContext") }
    : { context: textLeaf("context"), cond: cond && input("cond", cond.shape) };

  const { weights, factor } = await openCaseAdapter(kase, fields.lora, networks.unet.config);
  const modules = [...weights.modules];
  const matrices = modules.flatMap(([module, { down, up, rank, in: inner, out }]): [string, HostData, Shape][] => [
    [`${module}.lora_A.weight`, down, [rank, inner]],
    [`${module}.lora_B.weight`, up, [out, rank]],
  ]);
  const adapter = new Map(matrices.map(([name, , shape]) => [name, input(ADAPTER + name, shape)]));
  const tuned: TunedDenoiser = {
    base: networks.unet,
    adapter: new Map(modules.map(([module]) => [module, { down: adapter.get(`${module}.lora_A.weight`)!, up: adapter.get(`${module}.lora_B.weight`)! }])),
    factor,
  };

  const results = trace({ tuned, point: fedStepPoint(networks.unet.config), conditioning });
  const slopes = gradients(results["loss"]!, [...adapter.values()]);
  const names = [...adapter.keys()];
  const traced = program({ ...results, ...Object.fromEntries(names.map((name, i) => [`grad.unet.${name}`, slopes[i]!])) });
  const constants: Record<string, HostData> = {
    ...Object.fromEntries([...contexts].map(([name, { data }]) => [name, data])),
    ...(cond === undefined ? {} : { cond: cond.data }),
    ...Object.fromEntries(matrices.map(([name, data]) => [ADAPTER + name, data])),
    ...Object.fromEntries(feeds.fixed.map((name) => [name, feed(kase.inputs.get(name)!).data])),
  };
  const rowOf = ({ data }: CaseTensor, step: number): Float64Array => data.subarray((step * data.length) / steps.length, ((step + 1) * data.length) / steps.length);
  const found = new Map<string, { readonly shape: Shape; readonly data: Float64Array }>();
  const executable = await backend.compile(traced);
  try {
    for (const [step, numbers] of steps.entries()) {
      const own = Object.fromEntries(feeds.perStep.map((name) => [name, rowOf(kase.inputs.get(name)!, step)]));
      const all: Record<string, HostData> = { ...constants, ...own, ...stepFeeds(networks.unet.config, numbers) };
      const taken = Object.fromEntries(traced.inputs.map(({ name }) => [name, all[name]!]));
      for (const [name, { shape, data }] of Object.entries(await executable.run(taken))) {
        const isAveraged = shape.length === 0 || name.startsWith("grad.");
        const total = found.get(name) ?? { shape: isAveraged ? shape : [steps.length, ...shape], data: new Float64Array(isAveraged ? data.length : steps.length * data.length) };
        found.set(name, total);
        for (let i = 0; i < data.length; i++) {
          if (isAveraged) total.data[i]! += Number(data[i]) / steps.length;
          else total.data[step * data.length + i] = Number(data[i]);
        }
      }
    }
  } finally {
    await executable.dispose();
  }
  const squares = names.flatMap((name) => Array.from(found.get(`grad.unet.${name}`)!.data, (value) => value * value));
  return new Map<string, ReplayedTensor>([...found, ["grad_norm", { shape: [], data: Float64Array.of(Math.sqrt(squares.reduce((total, value) => total + value, 0))) }]]);
}

/** Shape of the stored states, `[T, B, C, H, W]`, after checking both of a trajectory. */
function statesOf(kase: CaseFile, { unet }: CaseNetworks, transitions: number, prefix: string, batch: number | "B" = "B"): Shape {
  const { shape } = inputOf(kase, `${prefix}x`, [transitions, batch, unet.config.inChannels, "H", "W"]);
  return inputOf(kase, `${prefix}x_next`, shape).shape;
}

/** Runs a case of kind `policy`: the loss of PPO or DPOK on stored trajectories and its gradient by the adapter. */
export async function replayPolicy(kase: CaseFile, backend: Backend): Promise<Map<string, ReplayedTensor>> {
  const fields = fieldsOf(kase, objectiveSchema).objective === "dpok" ? fieldsOf(kase, dpokSchema) : fieldsOf(kase, ppoSchema);
  const networks = await openCaseNetworks(kase, fields.config);
  const steps = stepsOf(kase, networks.model, fields);
  const [, batch, ...latent] = statesOf(kase, networks, steps.length, "");
  inputOf(kase, "advantages", [batch!]);
  const isGiven = fields.oldLogProb === "given";
  if (isGiven) inputOf(kase, "old_log_prob", [steps.length, batch!]);
  const feeds = { fixed: ["advantages"], perStep: ["x", "x_next", ...(isGiven ? ["old_log_prob"] : [])] };
  return replaySteps(kase, backend, fields, networks, steps, batch!, feeds, ({ tuned, point, conditioning }) => {
    const x = input("x", [batch!, ...latent]);
    const xNext = input("x_next", x.shape);
    const advantages = input("advantages", [batch!]);
    const policy = predictStep(tuned, "policy", x, point, conditioning);
    const logProb = stepLogProb(xNext, policy, point, fields.logProbReduction);
    const logRatio = isGiven ? sub(logProb, input("old_log_prob", [batch!])) : firstLogRatio(logProb);
    const results = (loss: ReturnType<typeof ppoLoss>): Record<string, Tensor> => ({ log_prob: logProb, ratio: loss.ratio, mean: policy.mean, loss: loss.loss, approx_kl: loss.approxKl, clip_fraction: loss.clipFraction });
    if (fields.objective === "ppo") return results(ppoLoss(logRatio, advantages, fields));
    const kl = dpokKl(fields, policy, predictStep(tuned, "reference", x, point, conditioning), point);
    const dpok = dpokLoss(fields, { logProb, logRatio, advantages, kl });
    return { ...results(dpok), kl, policy_term: dpok.policyTerm };
  });
}

/** Runs a case of kind `d3po`: the preference loss on pairs of stored trajectories and its gradient by the adapter. */
export async function replayD3po(kase: CaseFile, backend: Backend): Promise<Map<string, ReplayedTensor>> {
  const fields = fieldsOf(kase, d3poSchema);
  const networks = await openCaseNetworks(kase, fields.config);
  const steps = stepsOf(kase, networks.model, fields);
  const [, batch, ...latent] = statesOf(kase, networks, steps.length, "a.");
  statesOf(kase, networks, steps.length, "b.", batch!);
  const preference = inputOf(kase, "preference", [batch!, 2]);
  const column = (index: number): CaseTensor => ({ ...preference, shape: [batch!], data: preference.data.filter((_, i) => i % 2 === index) });
  const withColumns: CaseFile = { ...kase, inputs: new Map([...kase.inputs, ["a.preference", column(0)], ["b.preference", column(1)]]) };
  const feeds = { fixed: ["a.preference", "b.preference"], perStep: ["a.x", "a.x_next", "b.x", "b.x_next"] };
  return replaySteps(withColumns, backend, fields, networks, steps, batch!, feeds, ({ tuned, point, conditioning }) => {
    const judged = (side: "a" | "b"): { readonly logRatio: Tensor; readonly preference: Tensor; readonly logProbs: Record<string, Tensor> } => {
      const x = input(`${side}.x`, [batch!, ...latent]);
      const xNext = input(`${side}.x_next`, x.shape);
      const policy = predictStep(tuned, "policy", x, point, conditioning);
      const reference = predictStep(tuned, "reference", x, point, conditioning);
      const logProb = (prediction: StepPrediction): Tensor => stepLogProb(xNext, prediction, point, fields.logProbReduction);
      return {
        logRatio: stepLogRatio(xNext, policy, reference, point, fields.logProbReduction),
        preference: input(`${side}.preference`, [batch!]),
        logProbs: { [`log_prob_${side}`]: logProb(policy), [`reference_log_prob_${side}`]: logProb(reference) },
      };
    };
    const [a, b] = [judged("a"), judged("b")];
    const found = d3poLoss(fields, { a: a.logRatio, b: b.logRatio }, { a: a.preference, b: b.preference });
    return { ...a.logProbs, ...b.logProbs, ratio_a: found.a.ratio, ratio_b: found.b.ratio, loss_per_step: found.lossPerPair, loss: found.loss };
  });
}
