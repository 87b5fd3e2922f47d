import { join } from "node:path";

import { type ModelComponent, type ParameterProvider, asJsonObject, loadCheckpoint, readTensorFloat64, scopeOf } from "@tastemaker/diffusion";
import { type Backend, type HostTensor, type Tensor, UsageError, input, program, vjp, weight } from "@tastemaker/tensor";
import { z } from "zod";

import { openNodeFolder } from "../platform/node-files.ts";
import { type CaseFile, type CaseTensor, type ReplayedTensor, feed, fieldsOf, inputOf, tokenIdsOf } from "./case-file.ts";
import { openCaseModel } from "./case-model.ts";
import { moduleOutputs, parseComponentConfig, sinusoidOf } from "./module-program.ts";

const moduleSchema = z.object({
  component: z.enum(["unet", "vae", "text", "reward"]),
  path: z.string(),
  op: z.string(),
  reward: z.string().optional(),
  config: z.string().optional(),
  outputSize: z.tuple([z.number().int(), z.number().int()]).optional(),
  blocks: z.boolean().optional(),
  paramGrads: z.boolean().default(true),
  withoutGradOf: z.array(z.string()).default([]),
});

type ParsedFields = z.infer<typeof moduleSchema>;

/** The weights and `config.json` of the component that a case is about. */
async function loadComponent(kase: CaseFile, { component, reward, config }: ParsedFields): Promise<ModelComponent> {
  if (component !== "reward") {
    const model = await openCaseModel(kase, config);
    return { unet: model.unet, vae: model.vae, text: model.textEncoder }[component];
  }
  if (reward === undefined) throw new UsageError("case-invalid", `case: expected the directory of a reward model, got none (at ${kase.directory} reward)`);
  const folder = await openNodeFolder(join(kase.directory, reward));
  return {
    config: asJsonObject(await folder.readJson("config.json"), `${folder.path}/config.json`),
    weights: await loadCheckpoint([await folder.open("model.safetensors")]),
  };
}

/**
 * Runs a case of kind `module`: its outputs, the gradients of Σ out·cotangent by its inputs (`grad.in.*`) and, unless the case says otherwise, by
 * the module's parameters (`grad.param.*`).
 *
 * @throws UsageError whatever the files or the configuration give reason to.
 */
export async function replayModule(kase: CaseFile, backend: Backend): Promise<Map<string, ReplayedTensor>> {
  const fields = fieldsOf(kase, moduleSchema);
  const { weights, config: json } = await loadComponent(kase, fields);
  const config = parseComponentConfig(fields.component, json);

  const values = new Map<string, CaseTensor>(kase.inputs);
  const timestep = values.get("timestep");
  if (timestep !== undefined && config.component === "unet") {
    values.delete("timestep");
    values.set("sinusoid", sinusoidOf(timestep, config.unet));
  }
  if (config.component === "text" || config.component === "reward") {
    const { vocabulary } = config.component === "text" ? config.text : config.reward.text;
    tokenIdsOf(kase, "input_ids", ["B", "L"], vocabulary);
  }
  const leaves = new Map([...values].map(([name, { shape, dtype }]) => [name, input(name, shape, dtype)]));

  const parameters = new Map<string, Tensor>();
  const provider: ParameterProvider = (key, shape) => {
    const source = weights.take(key, shape);
    if (!fields.paramGrads) return weight(source);
    const leaf = input(`param.${key}`, shape);
    parameters.set(key, leaf);
    return leaf;
  };
  const outputs = moduleOutputs(fields, config, scopeOf(provider).at(fields.path), leaves);

  const results: Record<string, Tensor> = { ...outputs };
  const seeded = Object.entries(outputs).flatMap(([name, output]) => {
    const key = name === "out" ? "cotangent" : `cotangent.${name}`;
    const cotangent = leaves.get(key);
    if (cotangent !== undefined) inputOf(kase, key, output.shape);
    return cotangent === undefined ? [] : [{ output, cotangent }];
  });
  const wanted = new Map<string, Tensor>();
  for (const [name, leaf] of leaves) {
    if (leaf.dtype === "float32" && name !== "sinusoid" && !name.startsWith("cotangent")) wanted.set(`grad.in.${name}`, leaf);
  }
  for (const [key, leaf] of parameters) {
    const relative = fields.path === "" ? key : key.slice(fields.path.length + 1);
    if (!fields.withoutGradOf.includes(relative)) wanted.set(`grad.param.${relative}`, leaf);
  }
  const gradients = vjp(seeded.map(({ output }) => output), seeded.map(({ cotangent }) => cotangent), [...wanted.values()]);
  for (const [i, name] of [...wanted.keys()].entries()) results[name] = gradients[i]!;

  const traced = program(results);
  const feeds: Record<string, HostTensor> = {};
  for (const { name } of traced.inputs) {
    if (name.startsWith("param.")) {
      const { file, entry } = weights.entry(name.slice("param.".length));
      const data = await readTensorFloat64(file, entry);
      feeds[name] = { shape: parameters.get(name.slice("param.".length))!.shape, dtype: "float32", data };
    } else {
      feeds[name] = feed(values.get(name)!);
    }
  }
  const executable = await backend.compile(traced);
  try {
    return new Map(Object.entries(await executable.run(feeds)));
  } finally {
    await executable.dispose();
  }
}
