import { join } from "node:path";

import { type ClipConfig, asJsonObject, checkTokenIds, clipScore, lcmSteps, loadCheckpoint, parseClipConfig } from "@tastemaker/diffusion";
import type { Backend, HostTensor, Shape } from "@tastemaker/tensor";
import { z } from "zod";

import { DIVERGENCES } from "../objectives/divergence.ts";
import { openNodeFolder } from "../platform/node-files.ts";
import { globalNorm } from "../train/adamw.ts";
import { type RewardTerm, type RocmStepOptions, compileRocmStep } from "../train/rocm-step.ts";
import { type CaseFile, type CaseTensor, type ReplayedTensor, caseError, feed, fieldsOf, inputOf, tokenIdsOf } from "./case-file.ts";
import { contextOf, guidanceRows, openCaseNetworks, storedScope } from "./case-model.ts";
import { adapterSchema, openCaseAdapter } from "./lora-case.ts";
import { leafOf, runOnce } from "./run-once.ts";
import { latentsOf, timestepsSchema } from "./sample-case.ts";

const rocmSchema = z.object({
  reward: z.string(),
  lora: adapterSchema,
  config: z.string().optional(),
  steps: z.number(),
  timesteps: timestepsSchema.default("linspace"),
  guidanceScale: z.number(),
  divergence: z.enum(DIVERGENCES),
  reduction: z.enum(["mean", "sum"]).default("mean"),
  stepReduction: z.enum(["sum", "mean"]).default("sum"),
  beta: z.number().min(0),
  rewardWeight: z.number().default(1),
  detachReference: z.boolean().default(false),
  backpropSteps: z.int().min(1).optional(),
  divergenceSamples: z.int().min(1).optional(),
});

const REWARD = "reward";

/** The reward of a case: a CLIP model's scaled cosine. */
async function openCaseReward(kase: CaseFile, directory: string, weight: number, ids: CaseTensor): Promise<RewardTerm> {
  const folder = await openNodeFolder(join(kase.directory, directory));
  const config: ClipConfig = parseClipConfig(asJsonObject(await folder.readJson("config.json"), `${folder.path}/config.json`));
  checkTokenIds(ids.data, config.text.vocabulary, `reward_ids in ${kase.directory}/inputs.safetensors`);
  const scope = storedScope(await loadCheckpoint([await folder.open("model.safetensors")]));
  return {
    name: REWARD,
    weight,
    inputs: { input_ids: { shape: ids.shape, dtype: "int32" } },
    score: (image, { input_ids }) => clipScore(scope, config, image, input_ids!).score,
  };
}

/**
 * Runs a case of kind `rocm`: one gradient step without the update.
 *
 * @param checkpointing How the trajectory is run; the numbers do not depend on it.
 */
export async function replayRocm(kase: CaseFile, backend: Backend, checkpointing: RocmStepOptions["checkpointing"]): Promise<Map<string, ReplayedTensor>> {
  const fields = fieldsOf(kase, rocmSchema);
  const networks = await openCaseNetworks(kase, fields.config);
  const { latents, batch } = latentsOf(kase, networks);
  const { steps } = fields;
  const schedule = lcmSteps(networks.model.scheduler, steps, fields.timesteps);
  const transitions = schedule.length - 1;
  const noise = transitions === 0 ? new Float64Array() : inputOf(kase, "noise", [transitions, ...latents.shape]).data;
  const isSampled = fields.divergence === "js-sampled" && transitions > 0;
  const divergenceNoise = isSampled ? inputOf(kase, "divergence_noise", ["M", transitions, ...latents.shape]) : undefined;
  const samples = divergenceNoise?.shape[0] ?? 1;
  if (isSampled && fields.divergenceSamples !== undefined && fields.divergenceSamples !== samples) {
    throw caseError(kase, `divergence_noise with ${fields.divergenceSamples} draws, as divergenceSamples says`, `${samples}`);
  }
  const ids = leafOf("input_ids", tokenIdsOf(kase, "input_ids", [batch, "L"], networks.text.config.vocabulary));
  const context = (await runOnce({ context: contextOf(networks, ids) }, kase.inputs, backend)).get("context")!;
  const rewardIds = inputOf(kase, "reward_ids", [batch, "L"]);
  const adapter = await openCaseAdapter(kase, fields.lora, networks.unet.config);

  const step = await compileRocmStep({
    model: networks,
    rewards: [await openCaseReward(kase, fields.reward, fields.rewardWeight, rewardIds)],
    settings: {
      schedule,
      lora: { targets: adapter.targets, rank: fields.lora.rank, alpha: fields.lora.alpha },
      divergence: { kind: fields.divergence, reduction: fields.reduction, stepReduction: fields.stepReduction, detachReference: fields.detachReference, samples },
      backpropSteps: fields.backpropSteps,
      latentSize: [latents.shape[2]!, latents.shape[3]!],
      contextLength: ids.shape[1]!,
    },
    batchSize: batch,
    backend,
    checkpointing,
  });
  try {
    const result = await step.run({
      adapter: new Map([...adapter.weights.modules].flatMap(([module, { down, up }]) => [[`${module}.lora_A.weight`, down], [`${module}.lora_B.weight`, up]] as const)),
      context: context.data,
      cond: guidanceRows(networks, fields.guidanceScale, batch)?.data,
      latents: latents.data,
      noise,
      rewardInputs: { [REWARD]: { input_ids: feed(rewardIds).data } },
      beta: fields.beta,
      divergenceNoise: divergenceNoise?.data,
    });
    const scalar = (value: number): ReplayedTensor => ({ shape: [], data: Float64Array.of(value) });
    const row = (data: ReplayedTensor["data"]): ReplayedTensor => ({ shape: [batch], data });
    const rows = (values: readonly ArrayLike<number>[]): ReplayedTensor => ({ shape: [transitions, batch], data: Float64Array.from(values.flatMap((value) => Array.from(value))) });
    const listed = (name: string, values: readonly HostTensor[]): [string, ReplayedTensor][] => values.map((value, i) => [`${name}.${i}`, value]);
    const shapeOf = (name: string): Shape => step.adapterShapes.get(name)!;
    return new Map<string, ReplayedTensor>([
      ...listed("x", result.x),
      ...listed("denoised", result.denoised),
      ...listed("reference", result.reference),
      ["s", rows(result.s)],
      ["divergence", rows(result.divergence)],
      ["divergence_total", row(result.divergenceTotal)],
      ["reward", row(result.rewards[REWARD]!)],
      ["image", result.images],
      ["loss", scalar(result.loss)],
      ...[...result.gradients].map(([name, data]): [string, ReplayedTensor] => [`grad.unet.${name}`, { shape: shapeOf(name), data }]),
      ["grad_norm", scalar(globalNorm(result.gradients))],
    ]);
  } finally {
    await step.dispose();
  }
}
