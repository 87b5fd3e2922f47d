import type { AutoencoderConfig, DecodeOptions, Denoiser, LoraTarget, Scope } from "@tastemaker/diffusion";
import type { Backend, HostData, HostTensor, InputSpec, Shape, Tensor } from "@tastemaker/tensor";

import type { DivergenceSettings } from "../objectives/divergence.ts";
import type { SamplerStep } from "../objectives/sampler-step.ts";
import type { RewardNormalization } from "../rewards/normalization.ts";
import type { ParameterSet } from "./adamw.ts";

/** One term of the weighted sum of rewards: a pure traced function of the picture. */
export interface RewardTerm {
  /** Unique among the terms; results are listed under it. */
  readonly name: string;
  /** Factor in the weighted sum. Negative means: make it lower. */
  readonly weight: number;
  /** Applied to the score before its weight; what is reported stays raw. */
  readonly normalization?: RewardNormalization | undefined;
  /** What the score needs besides the picture, with the batch size in the shapes, e.g. `{ input_ids: { shape: [B, L], dtype: "int32" } }`. */
  readonly inputs: Readonly<Record<string, InputSpec>>;
  /** @param image `[B, 3, H, W]` in [0, 1]. @returns `[B]`, higher is better. */
  score(image: Tensor, inputs: Readonly<Record<string, Tensor>>): Tensor;
}

/** The frozen model that is tuned. */
export interface RocmModel {
  /** The consistency or diffusion model, without an adapter: its weights are leaves that hold the frozen numbers (`weight()`, constants). */
  readonly unet: Denoiser;
  readonly vae: { readonly scope: Scope; readonly config: AutoencoderConfig; readonly options?: DecodeOptions };
}

/** What is fixed when the programs are written. */
export interface RocmSettings {
  /** The N sampling steps, of which T ≤ N are transitions to another state (`transitionCount`). */
  readonly schedule: readonly SamplerStep[];
  /** Scale of classifier-free guidance, of a diffusion model. */
  readonly guidanceScale?: number | undefined;
  /** The trained adapter: y = W x + (alpha/rank)·B(A x) at every target. */
  readonly lora: { readonly targets: readonly LoraTarget[]; readonly rank: number; readonly alpha: number };
  readonly divergence: DivergenceSettings;
  /** K: only the last K steps carry gradient. Default: all N. */
  readonly backpropSteps?: number | undefined;
  /** Height and width of the latent. */
  readonly latentSize: readonly [number, number];
  /** Tokens L of the context. */
  readonly contextLength: number;
}

export interface RocmStepOptions {
  readonly model: RocmModel;
  readonly rewards: readonly RewardTerm[];
  readonly settings: RocmSettings;
  readonly batchSize: number;
  readonly backend: Backend;
  readonly checkpointing: Checkpointing;
}

/**
 * What is kept for the backward pass; same numbers. `none`: everything, in one program. `step`: one program per kind of step, only x_i is kept between
 * them and each step is computed again; the decoder keeps the inputs of its blocks. `block`: as `step`, and within a step too only the inputs of the
 * U-Net's blocks are kept.
 */
export type Checkpointing = "none" | "step" | "block";

/** Adapter matrices by `<module>.lora_A.weight` `[rank, in]` and `<module>.lora_B.weight` `[out, rank]`. */
export type AdapterValues = ReadonlyMap<string, Float32Array | Float64Array>;

/** The way of one gradient, where it is not the same for all. */
export interface StepPlan {
  /** At most as many steps as the settings have, and the same transitions where there is a divergence. */
  readonly schedule: readonly SamplerStep[];
  /** K of this gradient. */
  readonly backpropSteps: number;
}

/** Everything one gradient depends on; equal inputs give equal results. Flat row-major numbers. */
export interface RocmStepInputs {
  readonly adapter: AdapterValues;
  /** `[B, L, E]` */
  readonly context: HostData;
  /** Guidance embedding `[B, K]`; exactly when the network takes one. */
  readonly cond?: HostData | undefined;
  /** Context of the empty prompt, `[B, L, E]`; exactly with `guidanceScale`. */
  readonly emptyContext?: HostData | undefined;
  /** Default: the settings' own steps. Not with checkpointing `none`, whose program is fixed. */
  readonly plan?: StepPlan | undefined;
  /** x_0, `[B, C, H, W]` */
  readonly latents: HostData;
  /** z_i, `[T, B, C, H, W]` */
  readonly noise: HostData;
  /** By reward name, then by input name. Rewards without inputs may be left out. */
  readonly rewardInputs: Readonly<Record<string, Readonly<Record<string, HostData>>>>;
  /** Weight of the divergence. */
  readonly beta: number;
  /** `[M, T, B, C, H, W]`; exactly for `js-sampled`. */
  readonly divergenceNoise?: HostData | undefined;
}

/** Numbers as the backend computes them: float32, or float64 on the reference backend. */
export type Numbers = Float32Array | Float64Array;

export interface RocmStepResult {
  /** mean over the batch of β·ΣD − Σ weight·reward, the rewards normalised where asked. */
  readonly loss: number;
  /** By reward name, `[B]`, neither normalised nor weighted. */
  readonly rewards: Readonly<Record<string, Numbers>>;
  /** D_i, `[T][B]`; zeros for `none`. */
  readonly divergence: readonly Numbers[];
  /** `[B]`: reduced over steps, before β. */
  readonly divergenceTotal: Numbers;
  /** s_i, `[T][B]`; zeros for `none`. */
  readonly s: readonly Numbers[];
  /** Gradients of the loss by the adapter, under the adapter's names. */
  readonly gradients: ParameterSet;
  /** `[B, 3, H, W]` in [0, 1]. */
  readonly images: HostTensor;
  /** x_i, `[N]` tensors `[B, C, H, W]`. */
  readonly x: readonly HostTensor[];
  /** f_θ(x_i), `[N]` tensors. */
  readonly denoised: readonly HostTensor[];
  /** f_ref(x_i), `[T]` tensors; empty for `none`. */
  readonly reference: readonly HostTensor[];
}

/** A compiled gradient step. */
export interface RocmStep {
  /** Names and shapes of the adapter's matrices, in order. */
  readonly adapterShapes: ReadonlyMap<string, Shape>;
  /** Expected need of a run in bytes beside the mapped weights, where the backend can tell. */
  readonly peakBytes?: number | undefined;
  /** A pure function of its inputs; runs must not overlap. */
  run(inputs: RocmStepInputs): Promise<RocmStepResult>;
  dispose(): Promise<void>;
}
