import { basename, extname } from "node:path";
import { unknownNameError, UsageError } from "@tastemaker/tensor";
import { z } from "zod";
import { configError } from "../config/config-error.ts";
import { readConfigFile } from "../config/load-config.ts";
import { worldName, worldTeacherName } from "../models/emoji-world.ts";
import { printCaption } from "../worlds/emoji/scene.ts";
import { goldMetrics, type Method, methods, paperMetrics, type TrainedReward, trainedRewards } from "./run-record.ts";
import { checkOwnSettings } from "./own-settings.ts";
import { type Searched, searched } from "./selection.ts";

/** What the experiments train and measure on. */
export interface ExperimentWorld {
  /** Tuned by ROCM and RLCM, and by the other three. */
  readonly models: Readonly<Record<"emoji" | "emoji-teacher", string>>;
  readonly prompts: string | readonly string[];
  readonly heldOut: string | readonly string[];
  /** The small set of prompts of the paper's figure 6. */
  readonly animals: readonly string[];
  /** Everything that is measured; the trained reward of a run is left out of what it only watches. */
  readonly metrics: readonly string[];
  /** Weights of rewards and metrics that do not come with the models. */
  readonly places: Readonly<Record<string, string>>;
  /** Settings of all runs beyond those of the methods, as `--set` takes them. */
  readonly settings: Readonly<Record<string, unknown>>;
}

/** What a method gets that others do not. */
export interface Extra {
  /** Training, as a multiple of the budget's `trainSeconds` (default 1). */
  readonly times?: number | undefined;
  /** Settings as `--set` takes them, over those of the experiment. */
  readonly settings?: Readonly<Record<string, unknown>> | undefined;
}

/** How much work an experiment is. */
export interface Budget {
  /** Also the name of its folders. */
  readonly name: string;
  /** Where it was read from; undefined for those that have a name. */
  readonly file?: string | undefined;
  /** Training of one run, in seconds of one thread of the idle machine (`calibration.json`). */
  readonly trainSeconds: number;
  /** Runs of every row of Table 1, seeds 1, 2, …. */
  readonly seeds: number;
  readonly rewards: readonly TrainedReward[];
  /** Rewards on which learning rates are searched; the others take what is best over these. */
  readonly searchRewards: readonly TrainedReward[];
  /** Learning rates of the search, as multiples of each method's published one: one trial each. */
  readonly searchFactors: readonly number[];
  /** What the search maximises on held-out prompts: the trained reward (default), or the mean over the paper's metrics that are not trained on, by which betas are chosen too. */
  readonly searchBy?: "trained" | "held-out" | undefined;
  /** Betas of every divergence, as many for each: KL's in standard deviations of the base model's reward, the others' with the curvature at the base model that KL has with it. */
  readonly betas: readonly number[];
  /** Held-out prompts of the final comparison, one picture each. */
  readonly finalPrompts: number;
  /** Held-out prompts of each evaluation during training. */
  readonly curvePrompts: number;
  /** Evaluations during training, besides that of the untrained model; of diffusion models, whose pictures cost several times more, `diffusionLooks`. */
  readonly looks: number;
  readonly diffusionLooks: number;
  /** Rows of Table 1 that are trained; all where it is left out. */
  readonly methods?: readonly Method[] | undefined;
  /** What single methods (all ROCM together) get that others do not. */
  readonly extras?: Readonly<Partial<Record<Searched, Extra>>> | undefined;
  readonly world: ExperimentWorld;
}

/** The world's animals, in its vocabulary's order. */
export const animalWords = ["dog", "cat", "fox", "panda", "frog", "penguin", "fish", "octopus", "butterfly", "owl", "bee", "ladybug", "turtle", "snail", "pig", "koala", "rabbit", "crab", "whale", "flamingo", "elephant", "spider"] as const;

const embeddedWorld: ExperimentWorld = {
  models: { emoji: worldName, "emoji-teacher": worldTeacherName },
  prompts: "world:train",
  heldOut: "world:held-out",
  animals: animalWords.map((word) => printCaption({ objects: [word], size: "normal", background: ["white"], style: "noto", said: { background: false, style: false } })),
  metrics: [...paperMetrics, ...goldMetrics],
  places: {},
  settings: {},
};

const common = { searchRewards: ["pick-score"], world: embeddedWorld } as const;

/** Updates from 64 pictures, eight of each of eight prompts, that are compared with each other: what policy gradients learn from soonest in this world (docs/log.md). */
const groupsOfEight = { batchSize: 32, "policy.samplesPerIteration": 64, "policy.picturesPerPrompt": 8 } as const;

/** The budgets that have a name; times are in docs/experiments.md. */
export const budgets: Readonly<Record<"quick" | "standard" | "race" | "full", Budget>> = {
  quick: { ...common, name: "quick", trainSeconds: 12, seeds: 1, rewards: ["pick-score", "aesthetic"], searchFactors: [10, 50], betas: [3, 30], finalPrompts: 64, curvePrompts: 16, looks: 3, diffusionLooks: 1 },
  standard: { ...common, name: "standard", trainSeconds: 45, seeds: 3, rewards: trainedRewards, searchFactors: [2, 10, 50, 250], betas: [1, 5, 25, 125], finalPrompts: 500, curvePrompts: 32, looks: 6, diffusionLooks: 3 },
  race: {
    ...{ ...common, name: "race", trainSeconds: 45, seeds: 3, rewards: ["pick-score"], searchFactors: [2, 10], searchBy: "held-out", betas: [5, 25], finalPrompts: 500, curvePrompts: 64, looks: 24, diffusionLooks: 5 },
    methods: ["rocm-kl", "rlcm", "ddpo"],
    extras: { rlcm: { times: 8, settings: groupsOfEight }, ddpo: { times: 20, settings: groupsOfEight } },
  },
  full: { ...common, name: "full", trainSeconds: 300, seeds: 5, rewards: trainedRewards, searchRewards: trainedRewards, searchFactors: [2, 10, 50, 250], betas: [1, 5, 25, 125], finalPrompts: 500, curvePrompts: 64, looks: 12, diffusionLooks: 6 },
};

const count = z.int().min(1).max(100_000);
const factors = z.array(z.number().gt(0)).min(1).max(20);
const prompts = z.union([z.string().min(1), z.array(z.string().min(1)).min(1)]);
const rewardNames = z.array(z.enum(trainedRewards)).min(1);

const budgetFile = z.strictObject({
  trainSeconds: z.number().gt(0),
  seeds: count.max(100),
  rewards: rewardNames,
  searchRewards: rewardNames,
  searchFactors: factors,
  searchBy: z.enum(["trained", "held-out"]).optional(),
  betas: factors,
  finalPrompts: count,
  curvePrompts: count,
  looks: count.max(100),
  diffusionLooks: count.max(100),
  methods: z.array(z.enum(methods)).min(1).optional(),
  extras: z.partialRecord(z.enum(searched), z.strictObject({ times: z.number().gt(0).max(1000).optional(), settings: z.record(z.string(), z.unknown()).optional() })).optional(),
  world: z
    .strictObject({
      models: z.strictObject({ emoji: z.string().min(1), "emoji-teacher": z.string().min(1) }),
      prompts,
      heldOut: prompts,
      animals: z.array(z.string().min(1)).min(1),
      metrics: z.array(z.string().min(1)).min(1),
      places: z.record(z.string(), z.string().min(1)),
      settings: z.record(z.string(), z.unknown()),
    })
    .partial()
    .default({}),
});

/**
 * The budget of a name, or of a JSON file that says all of `Budget` but the name, which is the file's; of `world` it says what differs from the embedded one.
 * @throws UsageError `unknown-name`, `budget-invalid`, `budget-settings`, `config-unknown`, `config-invalid`, and as a configuration file
 */
export async function readBudget(nameOrFile: string): Promise<Budget> {
  if (!nameOrFile.endsWith(".json")) {
    const budget = Object.values(budgets).find(({ name }) => name === nameOrFile);
    if (budget === undefined) throw unknownNameError("budget", nameOrFile, Object.keys(budgets));
    return budget;
  }
  const content = await readConfigFile(nameOrFile);
  const parsed = budgetFile.safeParse(content);
  if (!parsed.success) throw configError(parsed.error, budgetFile, content, (path) => `${nameOrFile}, setting ${path}`, "docs/experiments.md shows a whole file");
  const name = basename(nameOrFile, extname(nameOrFile));
  if (!/^\w[\w.-]*$/.test(name) || Object.hasOwn(budgets, name)) throw new UsageError("budget-invalid", `budget: expected a file name of letters, digits, dots and dashes that is no built-in budget's, got "${name}"`, "rename the file");
  const { world, ...rest } = parsed.data;
  if (world.settings !== undefined) checkOwnSettings(world.settings, `world.settings of ${nameOrFile}`, "world");
  for (const [method, extra] of Object.entries(rest.extras ?? {})) if (extra?.settings !== undefined) checkOwnSettings(extra.settings, `extras.${method}.settings of ${nameOrFile}`, "extras");
  const given = Object.fromEntries(Object.entries(world).filter(([, value]) => value !== undefined)) as Partial<ExperimentWorld>;
  return { ...rest, name, file: nameOrFile, world: { ...embeddedWorld, ...given } };
}
