import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";

import { type TensorToStore, encodeSafetensors } from "@tastemaker/diffusion";
import { type Backend, type Executable, hashProgram, normal, onnxBackend, referenceBackend } from "@tastemaker/tensor";
import * as ort from "onnxruntime-node";
import { afterAll, describe, expect, it } from "vitest";

import { sharedPath } from "../../../tensor/src/testing/shared.ts";
import { readNodeWeight } from "../platform/node-files.ts";
import { checkFirstKl, checkFirstRatio } from "../train/checks.ts";
import { type Tolerance, readCase, readCaseTensors } from "./case-file.ts";
import { judge } from "./judge.ts";
import { type ReplayCaseOptions, replayCase } from "./replay-case.ts";

const root = sharedPath("golden", "diffusion");
const reference = referenceBackend((source) => Float64Array.from(readNodeWeight(source)));
const runtime = sharingBackend(onnxBackend(ort, { threads: 2 }));

/** Compiles equal programs once: most cases differ only in their numbers. Their weights are in the same files. */
function sharingBackend(inner: Backend): Backend {
  const known = new Map<string, Promise<Executable>>();
  return {
    name: inner.name,
    compile: async (traced) => {
      const hash = hashProgram(traced);
      const compiled = known.get(hash) ?? inner.compile(traced);
      known.set(hash, compiled);
      const { run, rest } = await compiled;
      return { run, rest, dispose: () => Promise.resolve() };
    },
  };
}

/** Cases of a group, as paths below the root. */
function casesOf(group: string): string[] {
  if (root === undefined) return [];
  const below = group === "lora-export" ? "case" : "";
  return readdirSync(join(root, group), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => join(group, name, below))
    .sort();
}

/** Every expected tensor that is missing or misses its bar, as text. */
async function failures(name: string, backend: Backend, options: ReplayCaseOptions = {}, override?: (tolerance: Tolerance) => Tolerance): Promise<string[]> {
  const directory = join(root!, name);
  const produced = new Map([...(await replayCase(directory, backend, options))].map(([key, { shape, data }]) => [key, { shape, data: Float64Array.from(data) }]));
  const expected = await readCaseTensors(join(directory, "expected.safetensors"));
  const { tolerance } = await readCase(directory);
  return judge(expected, produced, tolerance, override)
    .filter(({ passed }) => !passed)
    .map(({ name: tensor, error, bar, size, note }) => `${tensor}: ${note ?? `error ${error.toExponential(1)}, bar ${bar.toExponential(1)}, largest ${size.toExponential(1)}`}`);
}

describe("recorded cases on onnxruntime", () => {
  it.skipIf(root === undefined).each(["sample", "rocm", "baselines", "optimizer", "lora-export"].flatMap(casesOf))("%s is within its tolerance", async (name) => {
    expect(await failures(name, runtime)).toEqual([]);
  });

  it.skipIf(root === undefined)("a gradient step is within its tolerance as one program too", async () => {
    expect(await failures("rocm/tiny-lcm-js-mean-n4-b2-k4", runtime, { checkpointing: "none" })).toEqual([]);
  });
});

describe("recorded cases in float64", () => {
  const strict = (relative: number) => ({ absolute }: Tolerance): Tolerance => ({ relative, absolute: absolute * 1e-3 });

  it.skipIf(root === undefined).each(["sample/lcm-tiny-lcm-n4-w8-skipping", "lora-export/tiny-lcm/case"])("%s agrees to 1e-11", async (name) => {
    expect(await failures(name, reference, {}, strict(1e-11))).toEqual([]);
  });

  // Gradients leave a step in float32.
  it.skipIf(root === undefined)("a gradient step agrees to 1e-7", async () => {
    expect(await failures("rocm/tiny-lcm-hellinger-sum-n4-b1-k2", reference, {}, strict(1e-7))).toEqual([]);
  });
});

describe("baselines", () => {
  const folder = mkdtempSync(join(tmpdir(), "tastemaker-baselines-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  // The others do too, in minutes.
  it.skipIf(root === undefined).each(["rlcm-ppo-sum", "rlcm-ppo-last-step-noise", "dpok-epsilon-mse"])("%s agrees to 1e-9 in float64", async (name) => {
    expect(await failures(join("baselines", name), reference, {}, ({ absolute }) => ({ relative: 1e-9, absolute: absolute * 1e-3 }))).toEqual([]);
  });

  const ratiosOf = async (directory: string): Promise<number[]> => {
    const results = await replayCase(directory, runtime);
    return ["ratio", "ratio_a", "ratio_b"].flatMap((key) => Array.from(results.get(key)?.data ?? [], Number));
  };

  it.skipIf(root === undefined)("with an adapter that is still zero have KLs of exactly 0 and ratios to the base model of exactly 1, in float32", async () => {
    const kls = (await replayCase(join(root!, "baselines/dpok-first-update"), runtime)).get("kl")!;
    checkFirstKl(Array.from(kls.data, Number), "dpok");
    expect(kls.shape).toEqual([20, 1]);
    const ratios = await ratiosOf(join(root!, "baselines/d3po-first-update"));
    checkFirstRatio(ratios, "d3po");
    expect(ratios).toHaveLength(80);
    await expect(ratiosOf(join(root!, "baselines/d3po")).then((found) => checkFirstRatio(found, "d3po"))).rejects.toThrow(/ratio of new to old policy to be exactly 1/);
  });

  /** A recorded case with some fields and inputs changed. */
  const writeCase = (source: string, changes: object, inputs: ReadonlyMap<string, TensorToStore>): void => {
    const fields = JSON.parse(readFileSync(join(source, "case.json"), "utf8")) as { model: string; lora: { file: string } };
    const moved = (path: string): string => relative(folder, join(source, path));
    writeFileSync(join(folder, "case.json"), JSON.stringify({ ...fields, model: moved(fields.model), lora: { ...fields.lora, file: moved(fields.lora.file) }, ...changes }));
    writeFileSync(join(folder, "inputs.safetensors"), encodeSafetensors(inputs));
  };

  it.skipIf(root === undefined).each(["rlcm-ppo", "rlcm-ppo-sum", "ddpo-ppo"])("%s has ratios of exactly 1 in float32 where the program itself gave the old log-probabilities", async (name) => {
    const source = join(root!, "baselines", name);
    const stored = new Map<string, TensorToStore>([...(await readCaseTensors(join(source, "inputs.safetensors")))].map(([key, { shape, data, dtype }]) => [key, dtype === "int32" ? { dtype: "I32", shape, data: Int32Array.from(data) } : { dtype: "F64", shape, data }]));
    const { shape, data } = (await replayCase(source, runtime)).get("log_prob")!;
    stored.set("old_log_prob", { dtype: "F64", shape, data: Float64Array.from(data) });
    writeCase(source, {}, stored);
    const ratios = await ratiosOf(folder);
    checkFirstRatio(ratios, name);
    expect(ratios.length).toBeGreaterThan(2);
  });

  // The others take minutes. What was recorded is how far central differences were from the recorded gradients where those were made.
  it.skipIf(root === undefined).each(["rlcm-ppo-sum"])("%s has losses whose differences agree with the recorded gradient as closely as the recording's own", async (name) => {
    const source = join(root!, "baselines", name);
    const { worst } = JSON.parse(readFileSync(join(root!, "baselines/finite-differences.json"), "utf8")) as { worst: Readonly<Record<string, number>> };
    const { lora } = JSON.parse(readFileSync(join(source, "case.json"), "utf8")) as { lora: { file: string; rank: number; alpha: number } };
    const adapter = await readCaseTensors(join(source, lora.file));
    const gradient = await readCaseTensors(join(source, "expected.safetensors"));
    const inputs = new Map<string, TensorToStore>([...(await readCaseTensors(join(source, "inputs.safetensors")))].map(([key, { shape, data, dtype }]) => [key, dtype === "int32" ? { dtype: "I32", shape, data: Int32Array.from(data) } : { dtype: "F64", shape, data }]));
    /** The adapter moved by `shift` along a random direction, rounded as it is stored. */
    const moved = (direction: number, shift: number): Map<string, TensorToStore> =>
      new Map([...adapter].map(([key, { shape, data }]) => {
        const way = normal({ seed: direction, stream: key, indices: [] }, data.length);
        return [key, { dtype: "F32", shape, data: Float32Array.from(data, (value, i) => value + shift * way[i]!) }];
      }));
    const lossWith = async (values: ReadonlyMap<string, TensorToStore>): Promise<number> => {
      writeFileSync(join(folder, "adapter.safetensors"), encodeSafetensors(values));
      writeCase(source, { lora: { ...lora, file: "adapter.safetensors" } }, inputs);
      return Number((await replayCase(folder, reference)).get("loss")!.data[0]);
    };
    const pairs: { readonly found: number; readonly expected: number }[] = [];
    for (const direction of [0, 1, 2]) {
      const [before, after] = [moved(direction, -2e-6), moved(direction, 2e-6)];
      let expected = 0;
      for (const [key, { data }] of after) {
        const from = before.get(key)!.data as Float32Array;
        for (const [i, value] of (data as Float32Array).entries()) expected += (value - from[i]!) * gradient.get(`grad.${key}`)!.data[i]!;
      }
      pairs.push({ found: (await lossWith(after)) - (await lossWith(before)), expected });
    }
    const scale = Math.max(...pairs.map(({ expected }) => Math.abs(expected)));
    expect(scale).toBeGreaterThan(0);
    expect(Math.max(...pairs.map(({ found, expected }) => Math.abs(found - expected))) / scale).toBeLessThan(10 * worst[name]!);
  });

  it.skipIf(root === undefined)("say which field or input does not fit", async () => {
    const source = join(root!, "baselines/ddpo-ppo");
    const replayed = (changes: object): Promise<unknown> => {
      writeCase(source, changes, new Map([["advantages", { dtype: "F32", shape: [2], data: Float32Array.of(1, 2) }]]));
      return replayCase(folder, reference);
    };
    await expect(replayed({ eta: 0 })).rejects.toThrow(/expected at least one step that adds noise, got none in 20/);
    await expect(replayed({})).rejects.toThrow(/expected an input "x" of shape \[20, B, 4, H, W\], got advantages/);
    await expect(replayed({ steps: 10, kind: "d3po", beta: 0.1 })).rejects.toThrow(/"a\.x" of shape \[10, B, 4, H, W\]/);
    await expect(replayed({ clipRange: 1 })).rejects.toThrow(/<1 at clipRange/);
    await expect(replayed({ clipRnage: 1 })).rejects.toThrow(/did you mean "clipRange"/);
  });
});

describe("a case that cannot be computed", () => {
  const folder = mkdtempSync(join(tmpdir(), "tastemaker-replay-"));
  afterAll(() => rmSync(folder, { recursive: true }));
  /** Writes a case and replays it. */
  const replayed = async (fields: object, inputs: Readonly<Record<string, readonly number[]>> = {}): Promise<unknown> => {
    writeFileSync(join(folder, "case.json"), JSON.stringify({ format: 1, name: "mine", ...fields }));
    const tensors = Object.entries(inputs).map(([name, data]): [string, TensorToStore] => [name, { dtype: "F32", shape: [data.length], data: Float32Array.from(data) }]);
    writeFileSync(join(folder, "inputs.safetensors"), encodeSafetensors(new Map(tensors)));
    return replayCase(folder, reference);
  };
  const adamw = { kind: "optimizer", updates: 1, learningRate: 0.1, betas: [0.9, 0.999], epsilon: 1e-8, weightDecay: 0, maxGradNorm: 0 };

  it("is answered with what is wrong", async () => {
    await expect(replayed({ kind: "policy", model: "x" })).rejects.toThrow(/the fields of kind "policy", got .* at objective/);
    await expect(replayed({ kind: "policy", objective: "ppo", model: "x" })).rejects.toThrow(/at process/);
    await expect(replayed({ kind: "policy", objective: "dpok", model: "x" })).rejects.toThrow(/at klForm/);
    await expect(replayed({ kind: "d3po", model: "x" })).rejects.toThrow(/the fields of kind "d3po", got .* at beta/);
    await expect(replayed({ kind: "sample-lmc" })).rejects.toThrow(/case kind: expected one of .*did you mean "sample-lcm"/);
    await expect(replayed({})).rejects.toThrow(/kind/);
    await expect(replayed({ kind: "sample-lcm", steps: 4, guidanceScale: 8 })).rejects.toThrow(/expected a model, got none/);
    await expect(replayed({ kind: "rocm", model: "nowhere" })).rejects.toThrow(/at reward/);
    await expect(replayed({ kind: "sample-ddim", model: "nowhere", steps: 4, guidanceScale: 8 })).rejects.toThrow(/nowhere/);
    await expect(replayed(adamw)).rejects.toThrow(/inputs param.<name>/);
    await expect(replayed(adamw, { "param.a": [1, 2] })).rejects.toThrow(/expected an input "grad.0.a" of shape \[2\], got param.a/);
    await expect(replayed(adamw, { "param.a": [1, 2], "grad.0.a": [1] })).rejects.toThrow(/of shape \[2\], got \[1\]/);
    await expect(replayed({ ...adamw, betas: [1.5, 0.9] }, { "param.a": [1] })).rejects.toThrow(/<1 at betas\.0 \(at /);
    await expect(replayed({ ...adamw, emaDecoy: 0.9 }, { "param.a": [1] })).rejects.toThrow(/got "emaDecoy"; did you mean "emaDecay"\?/);
    await expect(replayed({ ...adamw, madeBy: "somebody" }, { "param.a": [1], "grad.0.a": [1] })).resolves.toBeDefined();
    await expect(replayed(adamw, { "param.a": [1], "grad.0.a": [Number.NaN] })).rejects.toThrow(/got NaN in element 0 of "grad\.0\.a"/);
    await expect(replayed({ ...adamw, learningRates: [1, 2] }, { "param.a": [1] })).rejects.toThrow(/1 learningRates, one per update, got 2/);
  });

  it.skipIf(root === undefined)("has token ids inside the vocabulary", async () => {
    const source = join(root!, "sample/lcm-tiny-lcm-n1-w8");
    const tensors = await readCaseTensors(join(source, "inputs.safetensors"));
    const ids = tensors.get("input_ids")!;
    for (const [id, message] of [[49_408, /token ids: expected 0 to \d+, got 49408 \(at input_ids in /], [-1, /got -1/]] as const) {
      const changed = new Map<string, TensorToStore>([...tensors].map(([name, { shape, data }]) => [name, { dtype: "F64", shape, data }]));
      changed.set("input_ids", { dtype: "I32", shape: ids.shape, data: Int32Array.from(ids.data, (value, i) => (i === 1 ? id : value)) });
      writeFileSync(join(folder, "inputs.safetensors"), encodeSafetensors(changed));
      const fields = JSON.parse(readFileSync(join(source, "case.json"), "utf8")) as { model: string };
      writeFileSync(join(folder, "case.json"), JSON.stringify({ ...fields, model: relative(folder, join(source, fields.model)) }));
      await expect(replayCase(folder, reference)).rejects.toThrow(message);
    }
  });

  it("needs no tolerance and no moving average", async () => {
    const result = (await replayed(adamw, { "param.a": [1, 2], "grad.0.a": [1, -1] })) as Awaited<ReturnType<typeof replayCase>>;
    expect([...result.keys()]).toEqual(["grad_norm.0", "param.0.a", "m.0.a", "v.0.a"]);
    expect([...result.get("param.0.a")!.data].map((x) => Number(x.toFixed(6)))).toEqual([0.9, 2.1]);
  });
});
