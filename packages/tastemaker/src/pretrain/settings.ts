import { z } from "zod";
import { parseAssignment, readConfigFile } from "../config/load-config.ts";
import { UsageError } from "@tastemaker/tensor";
import type { BlipSettings } from "./blip-stage.ts";
import type { ClipSettings } from "./clip-stage.ts";
import type { DistillSettings } from "./distill-objective.ts";
import type { UNetSettings } from "./unet-stage.ts";
import type { VaeSettings } from "./vae-stage.ts";
import type { JudgeSettings } from "../worlds/emoji/judge-stage.ts";

/** A stage's settings with the length of its training. */
export type Planned<Settings> = Settings & { readonly samples: number; readonly workers: number; readonly imageSize: number };

const modelConfig = (description: string, value: Readonly<Record<string, unknown>>): z.ZodDefault<z.ZodRecord<z.ZodString, z.ZodUnknown>> =>
  z.record(z.string(), z.unknown()).default(value).describe(description);

const vaeConfig = {
  in_channels: 3,
  out_channels: 3,
  latent_channels: 4,
  block_out_channels: [32, 64, 64],
  down_block_types: ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"],
  up_block_types: ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"],
  layers_per_block: 1,
  norm_num_groups: 16,
  act_fn: "silu",
  sample_size: 64,
};

const textConfig = {
  hidden_size: 128,
  intermediate_size: 512,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  hidden_act: "quick_gelu",
  max_position_embeddings: 20,
};

const unetConfig = {
  sample_size: 16,
  in_channels: 4,
  out_channels: 4,
  block_out_channels: [64, 96, 128],
  down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
  up_block_types: ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
  layers_per_block: 1,
  attention_head_dim: 4,
  cross_attention_dim: 128,
  norm_num_groups: 16,
  act_fn: "silu",
};

const visionConfig = { hidden_size: 128, intermediate_size: 512, num_hidden_layers: 4, num_attention_heads: 4, hidden_act: "quick_gelu", image_size: 64, patch_size: 8 };

const samples = (count: number): z.ZodDefault<z.ZodNumber> => z.number().int().positive().default(count).describe("pictures to train on in all");
const workers = (count: number): z.ZodDefault<z.ZodNumber> =>
  z.number().int().min(1).max(256).default(count).describe("batches per step, each on a core of its own, gradients averaged; 1 uses all cores on one batch");
const imageSide = z.number().int().min(8).max(4096).default(64).describe("side of the pictures in pixels; those of a folder are scaled and cropped to it, the emoji world's are 64");
const rate = (value: number): z.ZodDefault<z.ZodNumber> => z.number().positive().default(value).describe("peak learning rate of AdamW; warmed up linearly, lowered by a cosine");
const batchSize = (count: number): z.ZodDefault<z.ZodNumber> => z.number().int().positive().default(count).describe("pictures per step");

/** Settings of `pretrain vae`. */
export const vaeSettings: z.ZodType<Planned<VaeSettings>> = z.strictObject({
  samples: samples(100_000),
  workers: workers(2),
  imageSize: imageSide,
  learningRate: rate(1.2e-3),
  batch: batchSize(8),
  from: z.string().optional().describe("folder of an autoencoder whose weights the training begins with"),
  freezeEncoder: z.boolean().default(false).describe("train the decoder only; latents made before stay valid"),
  cropSide: z.number().int().positive().default(32).describe("side of the crops that the first part trains on, in pixels"),
  cropBatch: batchSize(24),
  cropShare: z.number().min(0).max(1).default(0.8).describe("share of the pictures that is seen as crops; 0 trains on whole pictures only"),
  mseWeight: z.number().min(0).default(10).describe("weight of the mean squared error beside the mean absolute error; more gives a higher PSNR"),
  edgeWeight: z.number().min(0).default(0.25).describe("weight of the L1 error of neighbouring pixels' differences; more gives sharper outlines"),
  klWeight: z.number().min(0).default(1e-3).describe("weight of the mean KL divergence of the latents from N(0, 1)"),
  config: modelConfig("diffusers AutoencoderKL configuration", vaeConfig),
});

/** Settings of `pretrain unet`. */
export const unetSettings: z.ZodType<Planned<UNetSettings>> = z.strictObject({
  samples: samples(300_000),
  workers: workers(2),
  imageSize: imageSide,
  learningRate: rate(1e-3),
  batch: batchSize(24),
  from: z.string().optional().describe("diffusers folder whose U-Net and text encoder the training begins with"),
  vae: z.string().describe("folder with the trained autoencoder (vae/ of a model)"),
  cache: z.number().int().positive().default(30_000).describe("pictures encoded once and kept; with fewer pictures in the source, all of them"),
  dropCaption: z.number().min(0).max(1).default(0.1).describe("share of captions replaced by the empty one, for classifier-free guidance"),
  minSnrGamma: z.number().positive().default(5).describe("loss weight min(snr, gamma)/snr (Hang et al. 2023)"),
  config: modelConfig("diffusers UNet2DConditionModel configuration", unetConfig),
  textConfig: modelConfig("transformers CLIPTextModel configuration; trained together with the U-Net", textConfig),
});

/** Settings of `distill`. */
export const distillSettings: z.ZodType<Planned<DistillSettings>> = z.strictObject({
  method: z
    .enum(["trajectory", "consistency"])
    .default("trajectory")
    .describe("trajectory: learn the ends of the teacher's guided trajectories; consistency: latent consistency distillation with a target network (Luo et al. 2023)"),
  from: z.string().optional().describe("folder of a consistency model's U-Net that the training begins with; default: the teacher's weights"),
  trajectories: z.number().int().positive().default(500).describe("trajectory: number drawn by the teacher per round, 20 solver steps each"),
  visits: z.number().int().positive().default(2).describe("trajectory: how often each of their points is trained on"),
  samples: samples(100_000),
  workers: workers(2),
  imageSize: imageSide,
  learningRate: rate(6e-4),
  batch: batchSize(24),
  cache: z.number().int().positive().default(30_000).describe("pictures encoded once and kept"),
  guidance: z.tuple([z.number(), z.number()]).default([1.5, 8.5]).describe("range of the guidance scales that the student learns"),
  skip: z.number().int().positive().default(20).describe("consistency: timesteps that one solver step of the teacher covers"),
  huber: z.number().positive().default(1e-3).describe("c of the pseudo-Huber loss √(d² + c²) − c"),
  targetDecay: z.number().min(0).max(1).default(0.95).describe("consistency: decay of the target network's average"),
  condWidth: z.number().int().positive().default(256).describe("width of the guidance embedding (time_cond_proj_dim)"),
});

/** Settings of `pretrain clip`. */
export const clipSettings: z.ZodType<Planned<ClipSettings>> = z.strictObject({
  samples: samples(120_000),
  workers: workers(1),
  imageSize: imageSide,
  learningRate: rate(1.2e-3),
  batch: batchSize(192),
  from: z.string().optional().describe("folder of a CLIPModel whose weights the training begins with"),
  config: modelConfig("transformers CLIPModel configuration", { projection_dim: 64, logit_scale_init_value: 2.6592, text_config: textConfig, vision_config: visionConfig }),
});

const blipConfig = {
  embed_dim: 64,
  vision: { width: 128, mlp: 512, layers: 4, heads: 4, patch_size: 8, image_size: 64 },
  text: { hidden_size: 128, intermediate_size: 512, layers: 3, heads: 4 },
};

/** Settings of `pretrain blip`. */
export const blipSettings: z.ZodType<Planned<BlipSettings>> = z.strictObject({
  samples: samples(200_000),
  workers: workers(1),
  imageSize: imageSide,
  learningRate: rate(1.2e-3),
  batch: batchSize(96),
  from: z.string().optional().describe("folder of a BLIP whose weights the training begins with"),
  config: modelConfig("BLIP configuration: both towers and the width of the common space", blipConfig),
});

/** Settings of `pretrain judge`. */
export const judgeSettings: z.ZodType<Planned<JudgeSettings>> = z.strictObject({
  samples: samples(80_000),
  workers: workers(2),
  imageSize: imageSide,
  learningRate: rate(2e-3),
  batch: batchSize(32),
  from: z.string().optional().describe("folder of a judge whose weights the training begins with"),
  width: z.number().int().positive().default(32).describe("channels of the first layer"),
});

/** Merges a settings file and `--set path=value` assignments over the defaults. Throws a `UsageError` naming the setting. */
export async function loadSettings<T>(schema: z.ZodType<T>, file: string | undefined, assignments: readonly string[]): Promise<T> {
  const value: Record<string, unknown> = file === undefined ? {} : await readConfigFile(file);
  for (const assignment of assignments) {
    const { path, value: given } = parseAssignment(assignment);
    value[path] = given;
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new UsageError("setting-invalid", `settings: ${issue!.message} (at ${issue!.path.join(".") || "the top"})`);
}
