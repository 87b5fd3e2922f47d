import { lcmSteps, loraTargets, scopeOf } from "@tastemaker/diffusion";
import { type Backend, type HostData, normal, weight } from "@tastemaker/tensor";
import { openModel } from "../../packages/tastemaker/src/models/open-model.ts";
import { openReward } from "../../packages/tastemaker/src/rewards/open-reward.ts";
import type { RocmStepInputs, RocmStepOptions } from "../../packages/tastemaker/src/train/rocm-step-types.ts";

export interface RocmCase {
  readonly model: string;
  readonly clip: string;
  readonly steps: number;
  readonly batch: number;
  readonly checkpointing: RocmStepOptions["checkpointing"];
  readonly hasDivergence: boolean;
  readonly rank: number;
  /** Side of the pictures; default: the model's own. */
  readonly imageSize?: number;
}

/** The step that `../shared/bench/torch_rocm_step.py` times: KL (or no) divergence with the exact reference, PickScore, LoRA on all attentions. */
export async function rocmOptions({ model: path, clip, steps, batch, checkpointing, hasDivergence, rank, imageSize }: RocmCase, backend: Backend): Promise<RocmStepOptions> {
  const model = await openModel(path, { imageSize });
  const reward = await openReward({ name: "pick-score", path: clip }, backend, undefined);
  const { parts, unet, vae, latentShape } = model;
  return {
    model: {
      unet: { scope: scopeOf((key, shape) => weight(parts.unet.weights.take(key, shape))), config: unet },
      vae: { scope: scopeOf((key, shape) => weight(parts.vae.weights.take(key, shape))), config: vae },
    },
    rewards: [reward.gradient!.term(1, batch)],
    settings: {
      schedule: lcmSteps(parts.scheduler, steps, "linspace"),
      lora: { targets: loraTargets(unet), rank, alpha: 2 * rank },
      divergence: { kind: hasDivergence ? "kl" : "none", reduction: "mean", stepReduction: "sum", detachReference: false, samples: 1 },
      latentSize: [latentShape[1], latentShape[2]],
      contextLength: model.text.positions,
    },
    batchSize: batch,
    backend,
    checkpointing,
  };
}

/** Random inputs of a step. */
export function rocmInputs({ model, settings, batchSize, rewards }: RocmStepOptions, seed: number): RocmStepInputs {
  const random = (stream: string, shape: readonly number[], scale = 1): HostData =>
    Float32Array.from(normal({ seed, stream, indices: [] }, shape.reduce((a, b) => a * b, 1)), (v) => v * scale);
  const { unet } = model;
  const latent = [batchSize, unet.config.inChannels, ...settings.latentSize];
  const { targets, rank } = settings.lora;
  return {
    adapter: new Map(
      targets.flatMap(({ module, in: inner, out }) => [
        [`${module}.lora_A.weight`, random(`${module}.a`, [rank, inner], 1 / rank) as Float32Array],
        [`${module}.lora_B.weight`, random(`${module}.b`, [out, rank], 0.01) as Float32Array],
      ] as const),
    ),
    context: random("context", [batchSize, settings.contextLength, unet.config.crossAttentionDim]),
    ...(unet.config.timeCondProjDim === undefined ? {} : { cond: random("cond", [batchSize, unet.config.timeCondProjDim]) }),
    latents: random("latents", latent),
    noise: random("noise", [settings.schedule.length - 1, ...latent]),
    rewardInputs: Object.fromEntries(rewards.map(({ name, inputs }) => [name, Object.fromEntries(Object.entries(inputs).map(([key, { shape }]) => [key, random(key, shape)]))])),
    beta: 0.1,
  };
}
