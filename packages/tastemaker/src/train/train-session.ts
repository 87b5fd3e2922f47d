import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { type Backend, unknownNameError, UsageError } from "@tastemaker/tensor";
import { plannedLooks } from "../config/load-config.ts";
import { needsDiffusion } from "../config/policy-setting.ts";
import type { MetricSetting, RewardSetting, TrainConfig } from "../config/train-config.ts";
import { type PromptList, resolvePrompts } from "../data/prompt-lists.ts";
import { isRemoteName, type LocateOptions, pinWeights } from "../hub/locate-weights.ts";
import { adapterLayout, initialAdapter } from "../models/adapter.ts";
import { isWorldModel, worldName, worldPart } from "../models/emoji-world.ts";
import { isFullSize, openModel, type OpenedModel, requireConsistencyModel, requireDiffusionModel, samplerKind } from "../models/open-model.ts";
import { TextContexts } from "../models/text-contexts.ts";
import { collectGarbage } from "../platform/collect-garbage.ts";
import { openNodeBackend } from "../platform/runtime.ts";
import { isAddress } from "../rewards/custom-reward.ts";
import { openClipNetwork } from "../rewards/clip-network.ts";
import { metricSettings, openHeldOutMetrics } from "../rewards/held-out-metrics.ts";
import { openReward, rewardPlaces } from "../rewards/open-reward.ts";
import { openPictureEmbedder, type PictureEmbedder } from "../rewards/picture-embedder.ts";
import { type Metric, requireGradient, type Reward } from "../rewards/reward.ts";
import type { RunRecord } from "../storage/run-directory.ts";
import { typicalDivergence } from "./beta-controller.ts";
import { diversityName } from "./diversity.ts";
import { Evaluator } from "./evaluation.ts";
import type { WeightedMetric } from "./evaluation-history.ts";
import type { EvaluationRules } from "./held-out-look.ts";
import { blindWatch } from "./over-optimisation.ts";
import { type MeasuredRewards, measureRewards, normalizationOf } from "./reward-normalization.ts";
import { hashInputs } from "./run-inputs.ts";
import type { Objective, TrainedReward } from "./objective.ts";
import { openObjective } from "./open-objective.ts";
import { samplerSource } from "./sampler-source.ts";
import type { TrainParts } from "./train-loop.ts";

/** Everything a training run reads, opened and checked; the training step itself is compiled by `compile`. */
export interface TrainSession {
  readonly model: OpenedModel;
  readonly inputs: RunRecord["inputs"];
  readonly heldOut: PromptList;
  readonly evaluator: Evaluator;
  readonly layout: TrainParts["layout"];
  readonly typicalDivergence: number;
  /** Measures the rewards that are normalised by the base model; empty when none is. */
  measureRewards(): Promise<MeasuredRewards>;
  /** Compiles the gradient programs; needed for training, not for evaluation. */
  compile(measured: MeasuredRewards): Promise<TrainParts>;
  /** Gives the gradient programs' memory back; what evaluates goes on working. */
  releaseStep(): Promise<void>;
  dispose(): Promise<void>;
}

/** The places that are given, made absolute; names of the hub and addresses are so already. */
function resolved(places: Readonly<Record<string, string | undefined>>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(places).flatMap(([name, place]) => (place === undefined ? [] : [[name, place === worldName || isAddress(place) || isRemoteName(place) ? place : resolve(place)]])));
}

function absoluteReward<T extends MetricSetting>({ path, vocabulary, clip, ...rest }: T): Omit<T, "path" | "vocabulary" | "clip"> {
  return { ...rest, ...resolved({ path, vocabulary, clip }) };
}

/**
 * The configuration with paths that do not depend on the working directory, so that a run can be continued from anywhere.
 * @throws UsageError as `parseWeightsName`
 */
export function absolutePaths(config: TrainConfig): TrainConfig {
  const prompts = (setting: TrainConfig["prompts"]): TrainConfig["prompts"] => (typeof setting === "string" && !setting.startsWith("world:") ? resolve(setting) : setting);
  return {
    ...config,
    ...resolved({ model: isWorldModel(config.model) ? undefined : config.model, modelConfig: config.modelConfig }),
    prompts: prompts(config.prompts),
    rewards: config.rewards.map(absoluteReward),
    evaluation: {
      ...config.evaluation,
      prompts: prompts(config.evaluation.prompts),
      ...(config.evaluation.metrics === undefined ? {} : { metrics: metricSettings(config).map(absoluteReward) }),
    },
  };
}

/** A reward as it is opened, before the base model is measured. */
type OpenedReward = Omit<TrainedReward, "normalization"> & { readonly setting: RewardSetting };

/**
 * The configuration with the commit of every repository in its name, so that a continued run has the weights it was begun with, whatever a branch means by then.
 * @throws UsageError as `pinWeights`
 */
export async function pinnedWeights(config: TrainConfig, fetching: LocateOptions): Promise<TrainConfig> {
  const pinned = async (places: object): Promise<object> => {
    const names: [string, string][] = [];
    for (const [place, name] of Object.entries(places)) if (typeof name === "string" && isRemoteName(name)) names.push([place, await pinWeights(name, fetching)]);
    return Object.fromEntries(names);
  };
  const rewards: TrainConfig["rewards"][number][] = [];
  for (const reward of config.rewards) rewards.push({ ...reward, ...(await pinned(rewardPlaces(reward, config.model) ?? {})) });
  const metrics: MetricSetting[] = [];
  for (const metric of metricSettings(config)) metrics.push({ ...metric, ...(await pinned(rewardPlaces(metric, config.model) ?? {})) });
  const evaluation = config.evaluation.metrics === undefined ? config.evaluation : { ...config.evaluation, metrics };
  return { ...config, ...(await pinned({ model: config.model, modelConfig: config.modelConfig })), rewards, evaluation };
}

/** Pictures of an evaluation that one waits for without a graphics card, at about a minute each. */
const patientPictures = 32;

/** A warning where evaluations without a graphics card would take hours that nobody asked for; undefined where they do not. */
export function slowEvaluation({ provider, evaluation: { seeds } }: Pick<TrainConfig, "provider" | "evaluation">, model: Pick<OpenedModel, "latentShape" | "imageSize">, prompts: number): string | undefined {
  const pictures = 2 * prompts * seeds;
  if (provider !== "cpu" || !isFullSize(model) || pictures <= patientPictures) return undefined;
  return `comparing base and tuned model makes ${pictures} pictures of ${model.imageSize} pixels, about a minute each without a graphics card: --set evaluation.count=4 compares fewer prompts, --set evaluation.every=0 only at the end`;
}

/** Opens the rewards of a configuration. @throws UsageError `reward-twice`, `reward-not-differentiable` */
async function openRewards(config: TrainConfig, backend: Backend, fetching: LocateOptions): Promise<OpenedReward[]> {
  const opened: OpenedReward[] = [];
  for (const setting of config.rewards) {
    if (opened.some(({ reward }) => reward.name === setting.name)) {
      throw new UsageError("reward-twice", `rewards: expected each name once, got "${setting.name}" twice`, "give one entry the sum of the weights");
    }
    const reward = await openReward(setting, backend, config.model, fetching);
    if (config.objective === "rocm") requireGradient(reward, config.objective);
    opened.push({ reward, weight: setting.weight, setting });
  }
  return opened;
}

/**
 * The space in which diversity is measured: the embedded world's CLIP, else that of a metric that is not trained on, else that of a trained reward (which
 * training can deceive). Undefined when nothing here has a CLIP.
 */
async function openDiversitySpace(config: TrainConfig, heldOut: readonly Metric[], trained: readonly OpenedReward[], backend: Backend): Promise<PictureEmbedder | undefined> {
  const clips = [...heldOut, ...trained.map(({ reward }) => reward)].map((metric) => (metric as Partial<Reward>).clip);
  const isWorld = isWorldModel(config.model) && existsSync(worldPart("clip"));
  const clip = isWorld ? await openClipNetwork(worldPart("clip")) : clips.find((found) => found !== undefined);
  return clip && openPictureEmbedder(clip, backend);
}

/**
 * What the loop needs to judge evaluations.
 * @param trained with the weights that raw scores have in the sum, so divided by the standard deviation of a normalised reward
 * @throws UsageError `unknown-name` for a `checkpoint.best` that nothing measures
 */
function evaluationRules(config: TrainConfig, trained: readonly WeightedMetric[], heldOut: readonly Metric[], hasDiversity: boolean): EvaluationRules {
  const watched = [...heldOut, ...(hasDiversity ? [{ name: diversityName }] : [])];
  const known = [...trained.map(({ name, weight: factor }) => ({ name, higherIsBetter: factor >= 0 })), ...watched];
  const { best } = config.checkpoint;
  const names = ["held-out", "reward", ...known.map(({ name }) => name)];
  if (!names.includes(best)) throw unknownNameError("checkpoint.best", best, names);
  return {
    watch: config.watch.action === "off" ? undefined : { trained, watched, plannedLooks: plannedLooks(config), settings: config.watch },
    best: { trained, heldOut, known, by: best },
  };
}

/** A model of the kind that an objective tunes. @throws UsageError `model-kind`, `sampler-option` for settings of the other kind of sampler */
function requireModelOf(config: TrainConfig, model: OpenedModel): OpenedModel {
  const { objective, eta, timesteps } = config;
  if (objective === "rocm") {
    const kind = samplerKind(model);
    if (kind === "consistency" && eta !== undefined) throw new UsageError("sampler-option", `eta: expected a diffusion model, got ${model.name}, a consistency model (at setting eta)`, "eta is a setting of DDIM; leave it out, or use a model such as emoji-teacher");
    if (kind === "ddim" && timesteps !== "linspace") throw new UsageError("sampler-option", `timesteps: expected a consistency model, got ${model.name}, which DDIM samples (at setting timesteps)`, "DDIM spaces its steps evenly; set steps");
    return model;
  }
  if (needsDiffusion(config)) return requireDiffusionModel(model, objective);
  return requireConsistencyModel(model, "use emoji or a model such as SimianLuo/LCM_Dreamshaper_v7, distil it first with `tastemaker distill`, or train a diffusion model with the objective ddpo, dpok or d3po");
}

/**
 * Opens model, rewards and prompts of a configuration.
 * @throws UsageError for anything that is missing, misshapen or does not fit together
 */
export async function openSession(config: TrainConfig, warn: (text: string) => void, fetching: LocateOptions = {}): Promise<TrainSession> {
  const backend = await openNodeBackend({ threads: config.threads, provider: config.provider });
  const model = requireModelOf(config, await openModel(config.model, { imageSize: config.imageSize, fetching, ...(config.modelConfig === undefined ? {} : { configs: config.modelConfig }) }));
  const prompts = await resolvePrompts(config.prompts);
  const heldOut = await resolvePrompts(config.evaluation.prompts, config.evaluation.count);
  const shared = prompts.prompts.filter((prompt) => heldOut.prompts.includes(prompt));
  if (shared.length > 0) warn(`${shared.length} of the ${heldOut.prompts.length} evaluation prompts are also trained on, so the evaluation is not held out`);
  const slow = slowEvaluation(config, model, heldOut.prompts.length);
  if (slow !== undefined) warn(slow);
  const layout = adapterLayout(model, config.lora);
  const rewards = await openRewards(config, backend, fetching);
  const others = await openHeldOutMetrics(config.evaluation.metrics && metricSettings(config), { model: config.model, trained: config.rewards, prompts: heldOut.prompts }, backend, fetching);
  const embedder = await openDiversitySpace(config, others, rewards, backend);
  const { seeds } = config.evaluation;
  const rulesFor = (trained: readonly WeightedMetric[]): EvaluationRules => evaluationRules(config, trained, others, embedder !== undefined && (seeds > 1 || heldOut.prompts.length > 2));
  // A name that nothing measures is refused before anything long begins.
  const { watch } = rulesFor(config.rewards);
  const contexts = new TextContexts(model, backend, warn);
  const source = samplerSource(config, { model, layout, contexts, backend });
  const metrics: Metric[] = [...rewards.map(({ reward }) => reward), ...others];
  const twice = metrics.find(({ name }, index) => metrics.findIndex((metric) => metric.name === name) !== index);
  if (twice !== undefined) throw new UsageError("reward-twice", `rewards: expected names that no metric of the evaluation has, got "${twice.name}"`, "choose another name for the reward");
  const blind = watch && blindWatch(watch, heldOut.prompts.length);
  if (blind !== undefined) warn(blind);
  const evaluator = new Evaluator({
    model,
    source,
    prompts: heldOut.prompts,
    promptsSha256: heldOut.sha256,
    seed: config.seed,
    seeds,
    metrics,
    trained: rewards.map(({ reward }) => reward.name),
    embedder,
    contexts,
  });
  const typical = typicalDivergence(config, model.latentShape.reduce((product, size) => product * size, 1));
  const scorers: Record<string, Partial<Reward>> = { ...Object.fromEntries(metrics.map((metric) => [`reward ${metric.name}`, metric])), ...(embedder && { diversity: embedder }) };
  const inputs = await hashInputs(model, scorers, { prompts, "held-out prompts": heldOut });
  let compiled: Objective | undefined;
  const releaseStep = async (): Promise<void> => {
    const step = compiled;
    compiled = undefined;
    await step?.dispose();
  };
  return {
    model,
    inputs,
    heldOut,
    evaluator,
    layout,
    typicalDivergence: typical,
    measureRewards: () => measureRewards(rewards, { model, source, adapter: initialAdapter(layout, config.seed), prompts: prompts.prompts, seed: config.seed, contexts }),
    compile: async (measured) => {
      const trained = rewards.map(({ reward, weight: factor, setting }): TrainedReward => ({ reward, weight: factor, normalization: normalizationOf(setting, measured) }));
      const objective = await openObjective({ config, model, layout, rewards: trained, prompts: prompts.prompts, contexts, typicalDivergence: typical, backend, warn });
      compiled = objective;
      collectGarbage();
      const rules = rulesFor(trained.map(({ reward, weight: factor, normalization }) => ({ name: reward.name, weight: factor / (normalization?.std ?? 1) })));
      return { config, objective, layout, evaluator, rules, typicalDivergence: typical };
    },
    releaseStep,
    dispose: async () => {
      await releaseStep();
      await evaluator.dispose();
      await contexts.dispose();
    },
  };
}
