import { basename, join } from "node:path";

import { type LoraTarget, type LoraWeights, type UNetConfig, loraTargets, readLora, unet, withLora } from "@tastemaker/diffusion";
import { type Backend, type Tensor, constant, filled } from "@tastemaker/tensor";
import { z } from "zod";

import { openNodeFile } from "../platform/node-files.ts";
import { type CaseFile, type CaseTensor, type ReplayedTensor, caseError, fieldsOf, inputOf } from "./case-file.ts";
import { openCaseModel, storedScope } from "./case-model.ts";
import { parseComponentConfig, sinusoidOf } from "./module-program.ts";
import { leafOf, runOnce } from "./run-once.ts";

/** An adapter's file and scale, as in `case.json`. */
export const adapterSchema = z.object({ file: z.string(), rank: z.int().min(1), alpha: z.number() });

const loraSchema = z.object({ lora: adapterSchema, files: z.array(z.string()).default([]), config: z.string().optional() });

const FILE_NAME = "pytorch_lora_weights.safetensors";

/** The adapter that `lora` names: the scale is the case's alpha/rank, whatever the file says. @throws UsageError `case-invalid` for another rank */
export async function openCaseAdapter(kase: CaseFile, { file, rank, alpha }: z.infer<typeof adapterSchema>, config: UNetConfig): Promise<{ readonly weights: LoraWeights; readonly targets: LoraTarget[]; readonly factor: number }> {
  const weights = await readLora(await openNodeFile(join(kase.directory, file)), loraTargets(config));
  for (const [module, { rank: stored }] of weights.modules) {
    if (stored !== rank) throw caseError(kase, `an adapter of rank ${rank} as "lora" says`, `rank ${stored} for ${module} in ${file}`);
  }
  const targets = [...weights.modules].map(([module, { in: inner, out }]) => ({ module, in: inner, out }));
  return { weights, targets, factor: alpha / rank };
}

/**
 * Runs a case of kind `lora`: `out` with the adapter, `base` without it, and as a bonus `out.<directory>` for every export in `files`.
 */
export async function replayLora(kase: CaseFile, backend: Backend): Promise<Map<string, ReplayedTensor>> {
  const fields = fieldsOf(kase, loraSchema);
  const { unet: component } = await openCaseModel(kase, fields.config);
  const parsed = parseComponentConfig("unet", component.config);
  if (parsed.component !== "unet") throw caseError(kase, "a U-Net", parsed.component);
  const config = parsed.unet;
  const scope = storedScope(component.weights);

  const sample = inputOf(kase, "x", ["B", config.inChannels, "H", "W"]);
  const batch = sample.shape[0]!;
  const sinusoid = sinusoidOf(inputOf(kase, "timestep", [batch]), config);
  const cond = config.timeCondProjDim === undefined ? undefined : inputOf(kase, "cond", [batch, config.timeCondProjDim]);
  const inputs = new Map<string, CaseTensor>([...kase.inputs, ["sinusoid", sinusoid]]);
  const leaves = {
    sample: leafOf("x", sample),
    sinusoid: leafOf("sinusoid", sinusoid),
    context: leafOf("context", inputOf(kase, "context", [batch, "L", config.crossAttentionDim])),
    ...(cond === undefined ? {} : { cond: leafOf("cond", cond) }),
  };
  const output = (weights: LoraWeights, factorOf: (module: string) => number): Tensor => {
    // The scale may differ between modules, so it is multiplied into the up matrices here.
    const targets = new Map(
      [...weights.modules].map(([module, { down, up, rank, in: inner, out }]) => {
        const factor = factorOf(module);
        return [module, { down: constant(down, [rank, inner]), up: constant(Float64Array.from(up, (x) => x * factor), [out, rank]) }];
      }),
    );
    return unet(withLora(scope, { targets, scale: filled(1, [batch]), factor: 1 }), config, leaves);
  };

  const adapter = await openCaseAdapter(kase, fields.lora, config);
  const outputs: Record<string, Tensor> = { out: output(adapter.weights, () => adapter.factor), base: unet(scope, config, leaves) };
  for (const directory of fields.files) {
    const weights = await readLora(await openNodeFile(join(kase.directory, directory, FILE_NAME)), loraTargets(config));
    outputs[`out.${basename(directory)}`] = output(weights, (module) => weights.modules.get(module)!.scale);
  }
  return runOnce(outputs, inputs, backend);
}
