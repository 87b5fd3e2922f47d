import { ddimSteps, latentToImage, lcmSteps, sampleDdim, sampleLcm } from "@tastemaker/diffusion";
import { type Backend, type Tensor, constant, reshape, sliceAxis } from "@tastemaker/tensor";
import { z } from "zod";

import { type CaseFile, type CaseTensor, type ReplayedTensor, fieldsOf, inputOf, tokenIdsOf } from "./case-file.ts";
import { type CaseNetworks, contextOf, guidanceRows, openCaseNetworks } from "./case-model.ts";
import { leafOf, listed, runOnce } from "./run-once.ts";

/** Which timesteps a consistency model is run at, as in `case.json`. */
export const timestepsSchema = z.union([z.enum(["linspace", "skipping"]), z.array(z.number())]);

const lcmSchema = z.object({ steps: z.number(), timesteps: timestepsSchema.default("linspace"), guidanceScale: z.number(), config: z.string().optional() });
const ddimSchema = z.object({ steps: z.number(), eta: z.number().default(0), guidanceScale: z.number(), config: z.string().optional() });

/** The parts of a tensor along its first axis. */
function rowsOf(all: Tensor | undefined): Tensor[] {
  if (all === undefined) return [];
  return Array.from({ length: all.shape[0]! }, (_, i) => reshape(sliceAxis(all, 0, i, i + 1), all.shape.slice(1)));
}

/** `latents`, `[B, C, H, W]`, and what follows from them. */
export function latentsOf(kase: CaseFile, { unet }: CaseNetworks): { readonly latents: CaseTensor; readonly batch: number } {
  const latents = inputOf(kase, "latents", ["B", unet.config.inChannels, "H", "W"]);
  return { latents, batch: latents.shape[0]! };
}

/** Runs a case of kind `sample-lcm`. */
export async function replayLcm(kase: CaseFile, backend: Backend): Promise<Map<string, ReplayedTensor>> {
  const fields = fieldsOf(kase, lcmSchema);
  const networks = await openCaseNetworks(kase, fields.config);
  const { latents, batch } = latentsOf(kase, networks);
  const schedule = lcmSteps(networks.model.scheduler, fields.steps, fields.timesteps);
  const noise = schedule.length === 1 ? undefined : leafOf("noise", inputOf(kase, "noise", [schedule.length - 1, ...latents.shape]));
  const context = contextOf(networks, leafOf("input_ids", tokenIdsOf(kase, "input_ids", [batch, "L"], networks.text.config.vocabulary)));
  const embedding = guidanceRows(networks, fields.guidanceScale, batch);
  const cond = embedding && constant(embedding.data, embedding.shape);
  const run = sampleLcm(networks.unet, schedule, leafOf("latents", latents), rowsOf(noise), { context, cond });
  return runOnce(
    {
      context,
      ...(cond === undefined ? {} : { guidance_embedding: cond }),
      ...Object.fromEntries([...listed("x", run.x), ...listed("model", run.output), ...listed("denoised", run.denoised)]),
      sample: run.sample,
      ...latentToImage(networks.vae.scope, networks.vae.config, run.sample),
    },
    kase.inputs,
    backend,
  );
}

/** Runs a case of kind `sample-ddim`. */
export async function replayDdim(kase: CaseFile, backend: Backend): Promise<Map<string, ReplayedTensor>> {
  const fields = fieldsOf(kase, ddimSchema);
  const networks = await openCaseNetworks(kase, fields.config);
  const { latents, batch } = latentsOf(kase, networks);
  const schedule = ddimSteps(networks.model.scheduler, fields.steps, fields.eta);
  const noise = fields.eta === 0 ? undefined : leafOf("noise", inputOf(kase, "noise", [schedule.length, ...latents.shape]));
  const context = contextOf(networks, leafOf("input_ids", tokenIdsOf(kase, "input_ids", [batch, "L"], networks.text.config.vocabulary)));
  const uncondContext = contextOf(networks, leafOf("uncond_ids", tokenIdsOf(kase, "uncond_ids", [batch, context.shape[1]!], networks.text.config.vocabulary)));
  const run = sampleDdim(networks.unet, schedule, leafOf("latents", latents), rowsOf(noise), { scale: fields.guidanceScale, context, uncondContext });
  return runOnce(
    {
      context,
      uncond_context: uncondContext,
      ...Object.fromEntries([...listed("x", run.x), ...listed("model", run.output), ...listed("x0", run.original), ...listed("mean", run.mean), ...listed("log_prob", run.logProb)]),
      sample: run.sample,
      ...latentToImage(networks.vae.scope, networks.vae.config, run.sample),
    },
    kase.inputs,
    backend,
  );
}
