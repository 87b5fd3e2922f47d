import { usualGuidanceScale, worldGuidanceScale } from "../models/default-guidance.ts";
import type { Checkpointing } from "../train/rocm-step.ts";
import { usualNormalizationPictures } from "../rewards/normalization.ts";
import { z } from "zod";
import { type ObjectiveName, objectiveNames, policySchema, type PolicySetting } from "./policy-setting.ts";

/** How beta, the weight of the divergence, is found at each iteration. */
export type BetaSetting =
  | number
  | "auto"
  | { readonly target: number }
  | { readonly schedule: "constant" | "linear" | "cosine"; readonly from: number; readonly to?: number | undefined };

/** Which steps carry gradient: the last so many, a number of last ones drawn per iteration, or one late step that predicts the picture at once. */
export type BackpropSetting = number | "random" | "predicted";

/** How a reward is scaled before its weight; `base` measures the base model's pictures, of which there are 64 unless a number says otherwise. */
export type NormalizeSetting = "none" | "base" | { readonly base: number } | { readonly mean: number; readonly std: number };

/** How an endpoint is asked. */
export interface EndpointSetting {
  readonly batchSize: number;
  readonly concurrency: number;
  readonly timeoutSeconds: number;
  readonly retries: number;
}

/** What an ONNX file wants and gives. */
export interface OnnxSetting {
  readonly size?: number | undefined;
  readonly range?: readonly [number, number] | undefined;
  readonly mean?: readonly [number, number, number] | undefined;
  readonly std?: readonly [number, number, number] | undefined;
  readonly output?: string | undefined;
  readonly column?: number | undefined;
}

/** One term of the weighted sum of rewards. */
export interface RewardSetting {
  readonly name: string;
  readonly weight: number;
  /** Of a built-in reward: its weights. Of a reward of one's own: a module, an .onnx file or an endpoint. */
  readonly path?: string | undefined;
  readonly vocabulary?: string | undefined;
  readonly clip?: string | undefined;
  /** Undefined is `none`. */
  readonly normalize?: NormalizeSetting | undefined;
  readonly endpoint?: EndpointSetting | undefined;
  readonly onnx?: OnnxSetting | undefined;
}

/** A metric of the evaluation that is not trained on. */
export interface MetricSetting extends Omit<RewardSetting, "weight" | "normalize"> {
  /** Undefined is what the metric says of itself, which usually is true. */
  readonly higherIsBetter?: boolean | undefined;
}

/** When the watch for over-optimisation speaks and what it does then. */
export interface WatchSetting {
  readonly action: "warn" | "stop" | "off";
  readonly falseAlarms: number;
  readonly minimumDrop: number;
  readonly looks: number;
}

/** A training configuration with every default filled in; the meaning of each setting is in `trainConfigSchema`. */
export interface TrainConfig {
  readonly objective: ObjectiveName;
  /** Of every objective but rocm; see `policyOf`. */
  readonly policy?: { readonly [Key in keyof PolicySetting]?: PolicySetting[Key] | undefined } | undefined;
  readonly model: string;
  /** Configurations and tokenizer of a single-file model. */
  readonly modelConfig?: string | undefined;
  /** `world:train`, `world:held-out`, a path, or the prompts themselves. */
  readonly prompts: string | readonly string[];
  readonly rewards: readonly RewardSetting[];
  readonly lora: { readonly rank: number; readonly alpha: number; readonly targets: readonly string[] };
  readonly divergence: {
    readonly kind: "none" | "kl" | "hellinger" | "js" | "js-sampled" | "fisher";
    readonly reduction: "mean" | "sum";
    readonly stepReduction: "sum" | "mean";
    readonly detachReference: boolean;
    readonly samples: number;
  };
  readonly beta: BetaSetting;
  readonly steps: number;
  readonly timesteps: "linspace" | "skipping" | readonly number[];
  readonly guidanceScale: number;
  /** Undefined means the model's own. */
  readonly imageSize?: number | undefined;
  /** Undefined means all steps. */
  readonly backpropSteps?: BackpropSetting | undefined;
  /** Of DDIM under rocm; undefined is 1. Policy objectives have `policy.eta`. */
  readonly eta?: number | undefined;
  readonly checkpointing: "auto" | Checkpointing;
  readonly batchSize: number;
  readonly accumulation: number;
  readonly iterations: number;
  readonly learningRate: number;
  readonly weightDecay: number;
  readonly adam: { readonly beta1: number; readonly beta2: number; readonly epsilon: number };
  readonly maxGradNorm: number;
  readonly ema: number;
  readonly seed: number;
  readonly threads: number;
  readonly provider: "cpu" | "cuda" | "webgpu";
  readonly evaluation: {
    readonly every: number;
    readonly prompts: string | readonly string[];
    readonly count: number;
    readonly seeds: number;
    /** Undefined means all that come with the model. */
    readonly metrics?: readonly (string | MetricSetting)[] | undefined;
  };
  readonly watch: WatchSetting;
  readonly checkpoint: { readonly every: number; readonly keep: number; readonly best: string };
  /** Undefined means that the command chooses a folder under `runs/`. */
  readonly out?: string | undefined;
}

/*
 * Configuration of training. The descriptions are the manual (`tastemaker train --help-config`), so each says what the setting
 * means and what raising it does. Sources: the paper (arXiv 2503.06171) and the code bases it builds on; sizes are for one device.
 */
const positiveInteger = z.int().min(1);

/** Iterations of a run, at most. */
export const mostIterations = 10_000_000;

const lora = z
  .strictObject({
    rank: positiveInteger.max(1024).default(16).describe("Rank r of each adapter pair. Raising it gives the adapter more freedom, a larger file and slower steps."),
    alpha: z.number().gt(0).default(32).describe("The adapter's output is multiplied by alpha/rank. Raising it acts like a higher learning rate."),
    targets: z
      .array(z.string().min(1))
      .min(1)
      .default(["to_q", "to_k", "to_v", "to_out.0"])
      .describe("Name endings of the U-Net's linear layers that get an adapter."),
  })
  .prefault({})
  .describe("Low-rank adapter that is trained; the model's own weights stay frozen.");

const normalizeExpected = '"none", "base", {"base": pictures} or {"mean": number, "std": number}';

const normalize = z
  .union([
    z.enum(["none", "base"]),
    z.strictObject({ base: z.int().min(2).max(100_000).describe("Pictures to measure.") }),
    z.strictObject({ mean: z.number().describe("Subtracted."), std: z.number().gt(0).describe("Divided by.") }),
  ])
  .optional()
  .meta({
    description: `Scale of the reward before its weight, (r - mean) / std, so that weights of different units can be compared. "base" measures mean and std on ${usualNormalizationPictures} pictures of the base model for the training prompts when the run begins ({"base": n}: on n of them). Default: none.`,
    expected: normalizeExpected,
  });

/** How an endpoint is asked unless a configuration says otherwise. */
export const endpointSchema: z.ZodType<EndpointSetting> = z.strictObject({
  batchSize: positiveInteger.max(1024).default(16).describe("Pictures per request."),
  concurrency: positiveInteger.max(64).default(2).describe("Requests at the same time."),
  timeoutSeconds: z.number().gt(0).max(300).default(60).describe("Time for one request; then it is sent again."),
  retries: z.int().min(0).max(20).default(4).describe("Times a request is sent again after a failed connection, a timeout or an answer such as 503, after 0.5 s, 1 s, 2 s, ..."),
});

const channels = z.tuple([z.number(), z.number(), z.number()]).readonly();

/** What an ONNX file wants and gives, where the file does not say it. */
export const onnxSchema = z.strictObject({
  size: positiveInteger.max(2048).optional().describe("Side of the model's pictures, where its input has no fixed size."),
  range: z.tuple([z.number(), z.number()]).readonly().optional().describe("What black and white are to the model. Default: 0 and 1."),
  mean: channels.optional().describe("Of red, green and blue in [0, 1], subtracted; instead of range."),
  std: z.tuple([z.number().gt(0), z.number().gt(0), z.number().gt(0)]).readonly().optional().describe("Of red, green and blue in [0, 1], divided by; instead of range."),
  output: z.string().min(1).optional().describe("Name of the output that is the score, where there are several."),
  column: z.int().min(0).optional().describe("Which number of each picture's row is the score, from 0, where there are several."),
});

const reward = z.strictObject({
  name: z.string().min(1).describe("Reward, e.g. `clip-score`, `aesthetic`; an unknown name is answered with the list. With `path`, a new name makes a reward of your own."),
  weight: z.number().default(1).describe("Factor of this reward in the weighted sum. Negative means: make it lower."),
  path: z
    .string()
    .min(1)
    .optional()
    .describe("Weights of a built-in reward: a folder or file, a repository of the Hugging Face hub (`owner/name`, `owner/name@revision`, `owner/name:file`) or an https address; `emoji` means the embedded world's. Default: what comes with the base model, else the published weights, which are fetched. For a reward of your own: a TypeScript or JavaScript module, an .onnx file, or the http(s) address of an endpoint (docs/rewards.md)."),
  vocabulary: z.string().min(1).optional().describe("Folder or file (or name on the hub) of the reward's tokenizer, where it does not lie beside the weights."),
  clip: z.string().min(1).optional().describe("For `aesthetic` with a published head: the CLIP whose embeddings it judges."),
  normalize,
  endpoint: endpointSchema.optional().describe("How an endpoint is asked, where path is an http(s) address."),
  onnx: onnxSchema.optional().describe("What the file wants and gives, where path is an .onnx file that does not say it itself."),
});

const divergence = z
  .strictObject({
    kind: z
      .enum(["none", "kl", "hellinger", "js", "js-sampled", "fisher"])
      .default("kl")
      .describe("How the tuned model's steps are held near the base model's. `none` never evaluates the base model (faster) and lets the reward be exploited freely."),
    reduction: z
      .enum(["mean", "sum"])
      .default("mean")
      .describe("Over the numbers of a latent: `sum` is the textbook value, `mean` does not depend on the picture's size, so the same beta fits all models."),
    stepReduction: z.enum(["sum", "mean"]).default("sum").describe("Over the sampling steps: `mean` divides by steps - 1."),
    detachReference: z
      .boolean()
      .default(false)
      .describe("true: no gradient through the base model's input, as most code bases do (a little cheaper). false: the exact gradient."),
    samples: positiveInteger.max(4096).default(16).describe("Draws per step of `js-sampled`; ignored by the others. Raising it lowers the estimate's noise."),
  })
  .prefault({})
  .describe("The regulariser of the paper.");

const nonNegative = z.number().min(0);
const betaExpected = 'a number >= 0, "auto", {"target": number} or {"schedule": "constant" | "linear" | "cosine", "from": number, "to": number}';

const beta = z
  .union([
    nonNegative,
    z.literal("auto"),
    z.strictObject({ target: z.number().gt(0).describe("Value at which beta is steered to hold the summed divergence.") }),
    z.strictObject({
      schedule: z.enum(["constant", "linear", "cosine"]).describe("Shape of beta over the iterations."),
      from: nonNegative.describe("Beta at the first iteration."),
      to: nonNegative.optional().describe("Beta at the last iteration; not needed for `constant`."),
    }),
  ])
  .default("auto")
  .meta({
    description:
      'Weight of the divergence in the loss. Raising it keeps pictures nearer to the base model and the reward lower. "auto" starts from the spread of the rewards and steers it so that the divergence does not go beyond that of a model that is changed visibly but not spoilt (docs/over-optimisation.md); {"target": x} holds the divergence at x.',
    expected: betaExpected,
  });

const promptsExpected = "`world:train`, `world:held-out`, the path of a text file, or a list of prompts";
const promptText = z.string().min(1).max(10_000);

function prompts(fallback: string, meaning: string): z.ZodDefault<z.ZodUnion<readonly [z.ZodString, z.ZodArray<z.ZodString>]>> {
  return z
    .union([promptText, z.array(promptText).min(1)])
    .default(fallback)
    .meta({ description: `${meaning}: ${promptsExpected}. A text file has one prompt per line; empty lines and lines that begin with # are skipped.`, expected: promptsExpected });
}

const metricsExpected = 'a list of names such as "judge", or of {"name": "pick-score", "path": PATH} as in rewards, where "higherIsBetter": false says that lower is better';

const evaluation = z
  .strictObject({
    every: z.int().min(0).default(50).describe("Iterations between evaluations on the held-out prompts; 0 evaluates only before and after."),
    prompts: prompts("world:held-out", "Held-out prompts, never trained on"),
    count: positiveInteger.max(100_000).default(64).describe("Prompts per evaluation. Raising it narrows the error bars as its square root."),
    seeds: positiveInteger.max(64).default(1).describe("Pictures per prompt, whose scores are averaged. From 2 on, diversity is the distance of a prompt's own pictures; with 1, of different prompts' pictures."),
    metrics: z
      .array(z.union([z.string().min(1), reward.omit({ weight: true, normalize: true }).extend({ higherIsBetter: z.boolean().optional() })]))
      .max(32)
      .optional()
      .meta({ description: `Metrics that are evaluated but not trained on, which the watch looks at: ${metricsExpected}. Default: all that come with the base model.`, expected: metricsExpected }),
  })
  .prefault({})
  .describe("How the tuned model is compared with the base model, on equal prompts and noise.");

const checkpoint = z
  .strictObject({
    every: positiveInteger.default(25).describe("Iterations between checkpoints: the most work a crash can cost."),
    keep: positiveInteger.default(3).describe("Newest checkpoints to keep; the best-evaluated one stays as well."),
    best: z
      .string()
      .min(1)
      .default("held-out")
      .describe("What makes a checkpoint the best. `held-out`: the highest trained reward among those whose metrics that are not trained on cannot be told from their best (within two standard errors); without such metrics, as `reward`. `reward`: the highest trained reward. Or the name of a metric."),
  })
  .prefault({})
  .describe("What `tastemaker resume` continues from.");

const watch = z
  .strictObject({
    action: z.enum(["warn", "stop", "off"]).default("warn").describe("When the trained reward rises while a metric that is not trained on, or the diversity, falls: `warn` says so and goes on, `stop` saves and stops, `off` does not look."),
    falseAlarms: z.number().gt(0).max(0.5).default(0.05).describe("Share of runs without any real fall in which the watch may speak, over all evaluations and metrics of a run together. Raising it makes the watch speak sooner."),
    minimumDrop: z.number().min(0).default(0.2).describe("Smaller falls are ignored however certain they are; in standard deviations of the base model's scores over the prompts. Raising it makes the watch speak later."),
    looks: positiveInteger.max(100).default(2).describe("Evaluations in a row that must show the fall. Raising it makes the watch speak later."),
  })
  .prefault({})
  .describe("Watch for over-optimisation, at every evaluation during training.");

const adam = z
  .strictObject({
    beta1: z.number().min(0).lt(1).default(0.9).describe("Memory of the gradient's mean."),
    beta2: z.number().min(0).lt(1).default(0.999).describe("Memory of the gradient's square."),
    epsilon: z.number().gt(0).default(1e-8).describe("Added to the denominator."),
  })
  .prefault({})
  .describe("AdamW's own constants.");

/** The schema of training; `describeConfig` prints it. */
export const trainConfigSchema: z.ZodType<TrainConfig> = z.strictObject({
  objective: z
    .enum(objectiveNames)
    .default("rocm")
    .describe("How the adapter learns. `rocm` goes through the gradient of the reward (this program's method). The others need a reward's numbers only: `rlcm` (PPO on a consistency model), and on a diffusion model sampled by DDIM `ddpo` (PPO), `dpok` (policy gradient with KL) and `d3po` (preferences between two pictures of a prompt); `rebel` (regression of the difference of two pictures of a prompt) on either kind. Some defaults depend on it, see docs/baselines.md."),
  policy: policySchema,
  model: z.string().min(1).default("emoji").describe("Base model: `emoji` (comes with Tastemaker), `emoji-teacher` (its diffusion model, for ddpo, dpok, d3po and rebel with DDIM), a folder in the diffusers layout holding a latent consistency model (or for these three a diffusion model), a single weight file (see modelConfig), or one of these on the Hugging Face hub as `owner/name`, `owner/name@revision` or `owner/name:file`; what is not in the cache is fetched, and the run records the commit."),
  modelConfig: z.string().min(1).optional().describe("Folder in the diffusers layout (or `owner/name` of a repository) with the configurations and the tokenizer of a model that is a single file; not needed otherwise."),
  prompts: prompts("world:train", "Prompts to train on"),
  rewards: z.array(reward).min(1).default([{ name: "clip-score", weight: 1 }]).describe("What to raise: the weighted sum of these rewards."),
  lora,
  divergence,
  beta,
  steps: z.int().min(1).max(50).default(8).describe("Sampling steps N of a picture. Raising it makes better pictures and costs time in proportion. With 1 there is no divergence."),
  timesteps: z
    .union([z.enum(["linspace", "skipping"]), z.array(z.int().min(0).max(999)).min(1).max(50)])
    .default("linspace")
    .meta({
      description: "Where the steps lie: `linspace` (today's rule), `skipping` (older releases), or a falling list of training timesteps, one per step.",
      expected: '"linspace", "skipping" or a list of timesteps from 999 down to 0',
    }),
  guidanceScale: z
    .number()
    .min(1)
    .max(100)
    .default(usualGuidanceScale)
    .describe(`Guidance w, an input of the network. Raising it follows the prompt more closely with harsher colours; 1 is no guidance. For the embedded model the default is ${worldGuidanceScale}.`),
  imageSize: z
    .int()
    .min(8)
    .max(4096)
    .optional()
    .describe("Side of the pictures in pixels, for example 512. Raising it costs time and memory as its square. Default: what the model was trained for (sample_size of its U-Net)."),
  backpropSteps: z
    .union([z.int().min(1).max(50), z.enum(["random", "predicted"])])
    .optional()
    .meta({
      description:
        "Only the last K steps carry gradient (DRaFT-K): cheaper, less exact. With 1 the divergence has no gradient. `random` draws K from 1 to all steps anew for every iteration (AlignProp). `predicted` ends sampling at a step drawn from the last quarter and scores the picture that this step predicts; it alone carries gradient (ReFL). Default: all steps.",
      expected: 'a whole number from 1 to 50, "random" or "predicted"',
    }),
  eta: z.number().min(0).max(1).optional().describe("rocm on a diffusion model: share of DDIM's noise; 1 is ancestral sampling, 0 is deterministic and leaves no divergence to measure. The other objectives have policy.eta. Default: 1."),
  checkpointing: z
    .enum(["auto", "none", "step", "block"])
    .default("auto")
    .describe(
      "What is kept for the gradient; same numbers up to rounding. `none` keeps every intermediate value (fastest for small models); `step` keeps only the latents between steps and computes each step again (at 512 pixels 4 GB instead of 30); `block` does so for the blocks within a step too (2 GB, a fifth slower). `auto` is `none` up to 256 pixels and `step` beyond, for diffusion models and where backpropSteps is drawn.",
    ),
  batchSize: positiveInteger.max(4096).default(1).describe("Prompts computed together. Raising it costs memory."),
  accumulation: positiveInteger.max(4096).default(1).describe("Batches whose gradients are averaged before each update; batchSize 1 x accumulation 4 equals 4 x 1."),
  iterations: positiveInteger.max(mostIterations).default(1000).describe("Updates of the adapter (the paper: 10000 with batch 1)."),
  learningRate: z.number().gt(0).max(1).default(1e-4).describe("AdamW's step size. Raising it learns faster and exploits the reward sooner."),
  weightDecay: z.number().min(0).max(1).default(1e-4).describe("Decoupled decay of the adapter per update, times the learning rate."),
  adam,
  maxGradNorm: z.number().gt(0).default(1).describe("A longer gradient (norm over all adapters) is scaled down to this."),
  ema: z.number().min(0).lt(1).default(0).describe("Decay of a moving average of the adapter, which is then what is evaluated and exported; 0 turns it off."),
  seed: z.int().min(0).default(0).describe("Every random number is derived from it; equal seeds give equal runs."),
  threads: z.int().min(0).max(1024).default(0).describe("Threads for the arithmetic; 0 uses all cores. Results do not depend on it beyond rounding."),
  provider: z.enum(["cpu", "cuda", "webgpu"]).default("cpu").describe("Where onnxruntime computes; `tastemaker doctor` lists what this machine has."),
  evaluation,
  watch,
  checkpoint,
  out: z.string().min(1).optional().describe("Run directory to create. Default: runs/<date>-<model>."),
});
