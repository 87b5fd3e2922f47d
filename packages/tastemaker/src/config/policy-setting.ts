import { UsageError } from "@tastemaker/tensor";
import { z } from "zod";
import { diffusionGuidanceScale, diffusionSteps } from "../models/default-guidance.ts";
import { worldName, worldTeacherName } from "../models/emoji-world.ts";
import { DPOK_KL_FORMS, DPOK_POLICY_TERMS } from "../objectives/dpok.ts";

/** Ways to train; `rocm` goes through the reward's gradient, the others need its numbers only. */
export const objectiveNames = ["rocm", "rlcm", "ddpo", "dpok", "d3po", "rebel"] as const;
export type ObjectiveName = (typeof objectiveNames)[number];
export type PolicyObjectiveName = Exclude<ObjectiveName, "rocm">;

/** Whether a configuration tunes diffusion models only, with DDIM; rocm tunes both kinds. */
export function needsDiffusion({ objective, policy }: { readonly objective: ObjectiveName; readonly policy?: GivenPolicy | undefined }): boolean {
  if (objective === "rebel") return policy?.sampling === "ddim";
  return objective === "ddpo" || objective === "dpok" || objective === "d3po";
}

/** Pictures of a prompt that are computed together: d3po and rebel compare two of each. */
export function rowsPerPrompt(objective: ObjectiveName): 1 | 2 {
  return objective === "d3po" || objective === "rebel" ? 2 : 1;
}

/** Settings of the objectives other than rocm; the meaning of each is in `policySchema`. */
export interface PolicySetting {
  readonly samplesPerIteration: number;
  readonly picturesPerPrompt: number;
  readonly updatesPerIteration: number;
  readonly innerEpochs: number;
  readonly clipRange: number;
  readonly logProbReduction: "mean" | "sum";
  readonly advantageClip: number;
  readonly statisticsBuffer: number;
  readonly statisticsMinimum: number;
  readonly lastStepNoise: boolean;
  readonly eta: number;
  readonly rewardWeight: number;
  readonly klWeight: number;
  readonly klForm: (typeof DPOK_KL_FORMS)[number];
  readonly policyTerm: (typeof DPOK_POLICY_TERMS)[number];
  readonly valueBaseline: boolean;
  readonly valueLearningRate: number;
  readonly valueUpdates: number;
  readonly preferenceScale: number;
  readonly logRatioPerReward: number;
  readonly sampling: "consistency" | "ddim";
}

type GivenPolicy = { readonly [Key in keyof PolicySetting]?: PolicySetting[Key] | undefined };

const count = z.int().min(1).max(100_000).optional();

/** Every setting is optional here: defaults depend on the objective, `resolvePolicy` fills them in. */
export const policySchema: z.ZodType<GivenPolicy | undefined, GivenPolicy | undefined> = z
  .strictObject({
    samplesPerIteration: count.describe("Pictures sampled and scored per iteration; a multiple of batchSize x updatesPerIteration (d3po, rebel: two per prompt). Raising it steadies the gradient and costs time in proportion. Default: 32 (d3po: 20)."),
    picturesPerPrompt: count.describe("rlcm, ddpo, dpok: pictures of each prompt in an iteration, with noise of their own; samplesPerIteration is a multiple of it. From 2 on, pictures of one prompt are compared with each other also when there are many prompts, which steadies the gradient; raising it leaves fewer prompts to an iteration. Default: 1."),
    updatesPerIteration: count.describe("Updates that an iteration's pictures are divided among. Default: 1."),
    innerEpochs: count.describe("Passes over an iteration's pictures. Raising it uses them more than once, and the clip range then holds the adapter back. Default: 1."),
    clipRange: z.number().gt(0).lt(1).optional().describe("Ratios of new to old probability beyond 1 +- this no longer count. Default: 1e-4, for log-probabilities that are means over a latent (d3po: 0.1). Not of rebel."),
    logProbReduction: z.enum(["mean", "sum"]).optional().describe("Over the numbers of a latent: `mean` as every published code, `sum` is the true log-probability and needs a far larger clipRange. Default: mean."),
    advantageClip: z.number().gt(0).optional().describe("rlcm, ddpo, dpok, rebel: advantages, in standard deviations of a prompt's rewards, are limited to +- this. Default: 10 (ddpo: 5)."),
    statisticsBuffer: count.describe("rlcm, ddpo, dpok, rebel: last rewards per prompt whose mean and deviation make the advantage. Default: 32 (ddpo: 16)."),
    statisticsMinimum: count.describe("rlcm, ddpo, dpok, rebel: below so many rewards of a prompt, mean and deviation are those of the iteration's pictures. Default: 16, or picturesPerPrompt where that is from 2 to 15."),
    lastStepNoise: z.boolean().optional().describe("rlcm, rebel: true scores the last step as if it added noise, as RLCM's code does; the paper's last step is deterministic. Default: false."),
    eta: z.number().gt(0).max(1).optional().describe("ddpo, dpok, d3po, rebel with DDIM: share of DDIM's noise; 1 is ancestral sampling. Default: 1."),
    rewardWeight: z.number().min(0).optional().describe("dpok: weight of the policy gradient. Default: 10."),
    klWeight: z.number().min(0).optional().describe("dpok: weight of the divergence from the base model. Raising it keeps pictures nearer to it. Default: 0.01."),
    klForm: z.enum(DPOK_KL_FORMS).optional().describe("dpok: `gaussian` is the KL of each step in closed form, `epsilonMse` the squared difference of the predicted noises, as DPOK's code. Default: gaussian."),
    policyTerm: z.enum(DPOK_POLICY_TERMS).optional().describe("dpok: what carries the advantage: `clampedRatio`, as DPOK's code, or `logProb`, as its paper. Default: clampedRatio."),
    valueBaseline: z.boolean().optional().describe("dpok: true takes advantages from a small network that learns what reward to expect of a latent, step and prompt, as DPOK's code, instead of from the statistics of the prompts. Default: false."),
    valueLearningRate: z.number().gt(0).optional().describe("dpok with valueBaseline: learning rate of that network. Default: 1e-4."),
    valueUpdates: count.describe("dpok with valueBaseline: its updates per iteration, each on all pictures and steps of the iteration. Default: 5."),
    preferenceScale: z.number().gt(0).optional().describe("d3po: beta of the preference loss. Raising it makes each preference count more. Default: 0.1."),
    logRatioPerReward: z.number().gt(0).optional().describe("rebel: eta of the regression: the log-ratio, summed over the steps, that a picture better by one standard deviation is to gain on the other of its prompt. Raising it moves the model farther from the one that sampled. Default: 1e-3, for log-probabilities that are means over a latent."),
    sampling: z.enum(["consistency", "ddim"]).optional().describe("rebel: the kind of model: `consistency`, or `ddim` for a diffusion model. Default: consistency."),
  })
  .optional()
  .describe("Settings of the objectives rlcm, ddpo, dpok, d3po and rebel; defaults are those of each one's published code.");

const unclipped = { samplesPerIteration: 32, updatesPerIteration: 1, innerEpochs: 1, logProbReduction: "mean" } as const;
const common = { ...unclipped, clipRange: 1e-4 } as const;
const grouped = { picturesPerPrompt: 1 } as const;
const advantages = { advantageClip: 10, statisticsBuffer: 32, statisticsMinimum: 16 } as const;

/** The settings that an objective has, with its defaults (`docs/baselines.md` says whose). */
const policyDefaults: Readonly<Record<PolicyObjectiveName, Partial<PolicySetting>>> = {
  rlcm: { ...common, ...grouped, ...advantages, lastStepNoise: false },
  ddpo: { ...common, ...grouped, ...advantages, advantageClip: 5, statisticsBuffer: 16, eta: 1 },
  dpok: { ...common, ...grouped, ...advantages, eta: 1, rewardWeight: 10, klWeight: 0.01, klForm: "gaussian", policyTerm: "clampedRatio", valueBaseline: false, valueLearningRate: 1e-4, valueUpdates: 5 },
  d3po: { ...common, samplesPerIteration: 20, clipRange: 0.1, eta: 1, preferenceScale: 0.1 },
  rebel: { ...unclipped, ...advantages, lastStepNoise: false, eta: 1, logRatioPerReward: 1e-3, sampling: "consistency" },
};

/** What stands in for settings that an objective does not have; nothing reads them. */
const unused: PolicySetting = { ...common, ...grouped, ...advantages, lastStepNoise: false, eta: 1, rewardWeight: 1, klWeight: 0, klForm: "gaussian", policyTerm: "clampedRatio", valueBaseline: false, valueLearningRate: 1e-4, valueUpdates: 1, preferenceScale: 1, logRatioPerReward: 1, sampling: "consistency" };

/** All settings of a resolved configuration's objective. */
export function policyOf({ objective, policy }: { readonly objective: ObjectiveName; readonly policy?: GivenPolicy | undefined }): PolicySetting {
  return { ...unused, ...(objective === "rocm" ? {} : policyDefaults[objective]), ...(policy as Partial<PolicySetting> | undefined) };
}

/** Defaults of settings outside `policy` that depend on the objective: those of each one's published code. */
const outerDefaults: Readonly<Record<PolicyObjectiveName, Readonly<Record<string, unknown>>>> = {
  rlcm: { learningRate: 1e-4, weightDecay: 0, maxGradNorm: 5 },
  ddpo: { learningRate: 3e-4, maxGradNorm: 1 },
  dpok: { learningRate: 1e-5, maxGradNorm: 0.1 },
  d3po: { learningRate: 3e-5, maxGradNorm: 1 },
  // RLCM's, the norm for a gradient that carries 2/η.
  rebel: { learningRate: 1e-4, weightDecay: 0, maxGradNorm: 1e4 },
};
/** How the embedded diffusion model is sampled under rocm. */
const diffusionSampling = { steps: diffusionSteps, guidanceScale: diffusionGuidanceScale };
const diffusionDefaults = { model: worldTeacherName, ...diffusionSampling };
/** Rank of the adapter in the code of ddpo, dpok and d3po, with alpha = rank. */
const diffusionLora = { rank: 4, alpha: 4 };

const rocmSettings = ["divergence", "beta", "backpropSteps", "accumulation", "eta"] as const;

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);

/**
 * Fills the defaults that depend on the objective into an unparsed configuration.
 * @param source where a setting was given, for messages
 * @throws UsageError `config-invalid` for settings that the objective does not have, or a model of the other kind
 */
export function applyObjective(input: Record<string, unknown>, source: (path: string) => string): void {
  const fail = (message: string, hint: string): never => {
    throw new UsageError("config-invalid", `configuration: ${message}`, hint);
  };
  const named = input["objective"];
  const objective = objectiveNames.find((name) => name === (named ?? "rocm"));
  // Said by the schema.
  if (objective === undefined) return;
  if (objective === "rocm") {
    if (input["policy"] !== undefined) fail(`expected no policy settings with the objective rocm (at ${source("policy")})`, "they belong to rlcm, ddpo, dpok, d3po and rebel: say --objective, or leave them out");
    if (input["model"] === worldTeacherName) for (const [key, value] of Object.entries(diffusionSampling)) input[key] ??= value;
    return;
  }
  for (const setting of rocmSettings) {
    if (input[setting] === undefined) continue;
    const cures = { divergence: "dpok holds the model back by policy.klWeight", beta: "dpok holds the model back by policy.klWeight", backpropSteps: "every step has its own gradient here", accumulation: "policy.samplesPerIteration says how many pictures an update sees", eta: "ddpo, dpok and d3po have policy.eta" };
    fail(`expected no ${setting} with the objective ${objective} (at ${source(setting)})`, `it belongs to rocm; ${cures[setting]}`);
  }
  const given = input["policy"] ?? {};
  const isDiffusion = needsDiffusion({ objective, policy: isObject(given) ? given : {} });
  if (isDiffusion && input["timesteps"] !== undefined) fail(`expected no timesteps with the objective ${objective} (at ${source("timesteps")})`, "DDIM spaces its steps evenly; set steps");
  if (isDiffusion && input["model"] === worldName) fail(`expected a diffusion model for the objective ${objective}, got ${worldName}, a consistency model (at ${source("model")})`, `use ${worldTeacherName}, the diffusion model it was distilled from, or the objective rocm, rlcm or rebel`);
  if (!isDiffusion && input["model"] === worldTeacherName) fail(`expected a consistency model for the objective ${objective}, got ${worldTeacherName} (at ${source("model")})`, `use ${worldName}, or the objective ddpo, dpok or d3po${objective === "rebel" ? ", or policy.sampling=ddim" : ""}`);
  if (!isObject(given)) return;
  const own = policyDefaults[objective];
  const foreign = Object.keys(given).find((key) => Object.hasOwn(unused, key) && !Object.hasOwn(own, key));
  const idle = given["valueBaseline"] === true ? ["statisticsBuffer", "statisticsMinimum"].find((key) => given[key] !== undefined) : undefined;
  if (idle !== undefined) fail(`expected no ${idle} with valueBaseline (at ${source(`policy.${idle}`)})`, "the learned baseline stands in the place of the statistics: leave one of the two out");
  if (foreign !== undefined) fail(`expected settings of the objective ${objective}, got ${foreign} (at ${source(`policy.${foreign}`)})`, `${objective} has ${Object.keys(own).join(", ")}`);
  const group = given["picturesPerPrompt"];
  // Else what a group is for, comparing its pictures with each other, would begin only when a prompt comes again.
  const minimum = typeof group === "number" && group > 1 && own.statisticsMinimum !== undefined ? { statisticsMinimum: Math.min(own.statisticsMinimum, group) } : {};
  input["policy"] = { ...own, ...minimum, ...given };
  for (const [key, value] of Object.entries({ ...outerDefaults[objective], ...(isDiffusion && diffusionDefaults) })) input[key] ??= value;
  if (isDiffusion && (input["lora"] === undefined || isObject(input["lora"]))) input["lora"] = { ...diffusionLora, ...input["lora"] };
}

/** Checks that need the parsed numbers. @throws UsageError `config-invalid` */
export function checkPolicy(config: { readonly objective: ObjectiveName; readonly policy?: GivenPolicy | undefined; readonly batchSize: number; readonly steps: number }, source: (path: string) => string): void {
  const { objective, batchSize, steps } = config;
  if (objective === "rocm") return;
  const fail = (message: string, hint: string): never => {
    throw new UsageError("config-invalid", `configuration: ${message}`, hint);
  };
  const { samplesPerIteration: samples, picturesPerPrompt: group, updatesPerIteration: updates, statisticsBuffer, statisticsMinimum, lastStepNoise } = policyOf(config);
  const perPrompt = rowsPerPrompt(objective);
  const unit = batchSize * updates * perPrompt;
  let enough = Math.ceil(samples / unit) * unit;
  while (enough % group !== 0) enough += unit;
  if (samples % unit !== 0) fail(`expected a multiple of ${unit} samples per iteration (batchSize ${batchSize} × updatesPerIteration ${updates}${perPrompt === 2 ? " × 2 pictures per prompt" : ""}), got ${samples} (at ${source("policy.samplesPerIteration")})`, `for example ${enough}`);
  if (samples % group !== 0) fail(`expected a multiple of picturesPerPrompt ${group} as samples per iteration, got ${samples} (at ${source("policy.samplesPerIteration")})`, `for example ${enough}`);
  if (samples < 2) fail(`expected at least 2 samples per iteration, got ${samples} (at ${source("policy.samplesPerIteration")})`, "an advantage compares pictures with each other");
  if (statisticsMinimum > statisticsBuffer) fail(`expected statisticsMinimum of at most statisticsBuffer ${statisticsBuffer}, got ${statisticsMinimum} (at ${source("policy.statisticsMinimum")})`, "a buffer can never hold more");
  if ((objective === "rlcm" || objective === "rebel") && !needsDiffusion(config) && steps === 1 && !lastStepNoise) fail(`expected at least 2 steps with the objective ${objective}, got 1 (at ${source("steps")})`, "the last step is deterministic and cannot be learnt from; or set policy.lastStepNoise");
}
