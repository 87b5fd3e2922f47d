import { z } from "zod";

import { type ParameterSet, copyParameters, createAdamW, updateAdamW, updateAverage, zerosLike } from "../train/adamw.ts";
import { type CaseFile, type ReplayedTensor, caseError, fieldsOf, inputOf } from "./case-file.ts";

const optimizerSchema = z.object({
  updates: z.int().min(1),
  accumulation: z.int().min(1).default(1),
  learningRate: z.number().min(0),
  learningRates: z.array(z.number().min(0)).nullish(),
  betas: z.tuple([z.number().min(0).lt(1), z.number().min(0).lt(1)]),
  epsilon: z.number().min(0),
  weightDecay: z.number().min(0),
  maxGradNorm: z.number().min(0),
  emaDecay: z.number().min(0).max(1).nullish(),
});

/** Runs a case of kind `optimizer`: AdamW with clipping, accumulation and a moving average, on the host. */
export function replayOptimizer(kase: CaseFile): Map<string, ReplayedTensor> {
  const { updates, accumulation, learningRate, learningRates, betas, epsilon, weightDecay, maxGradNorm, emaDecay } = fieldsOf(kase, optimizerSchema);
  if (learningRates && learningRates.length !== updates) throw caseError(kase, `${updates} learningRates, one per update`, `${learningRates.length}`);
  const names = [...kase.inputs.keys()].filter((name) => name.startsWith("param.")).map((name) => name.slice("param.".length));
  if (names.length === 0) throw caseError(kase, "inputs param.<name>", [...kase.inputs.keys()].join(", ") || "none");
  const shapes = new Map(names.map((name) => [name, kase.inputs.get(`param.${name}`)!.shape]));
  const parameters = new Map(names.map((name) => [name, Float32Array.from(kase.inputs.get(`param.${name}`)!.data)]));
  const average = copyParameters(parameters);
  const state = createAdamW(parameters);
  const results = new Map<string, ReplayedTensor>();
  const store = (group: string, update: number, values: ParameterSet): void => {
    for (const [name, data] of values) results.set(`${group}.${update}.${name}`, { shape: shapes.get(name)!, data: data.slice() });
  };
  for (let u = 0; u < updates; u++) {
    const gradients = zerosLike(parameters);
    for (const [name, total] of gradients) {
      const parts = Array.from({ length: accumulation }, (_, j) => inputOf(kase, `grad.${u * accumulation + j}.${name}`, shapes.get(name)!).data);
      for (let i = 0; i < total.length; i++) total[i] = parts.reduce((sum, part) => sum + part[i]!, 0) / accumulation;
    }
    const settings = { beta1: betas[0], beta2: betas[1], epsilon, weightDecay, maxGradNorm };
    const norm = updateAdamW(parameters, gradients, state, learningRates?.[u] ?? learningRate, settings);
    results.set(`grad_norm.${u}`, { shape: [], data: Float64Array.of(norm) });
    store("param", u, parameters);
    store("m", u, state.first);
    store("v", u, state.second);
    if (emaDecay !== null && emaDecay !== undefined) {
      updateAverage(average, parameters, emaDecay);
      store("ema", u, average);
    }
  }
  return results;
}
