import { mkdtempSync, rmSync } from "node:fs";
import { mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Picture, planarOf } from "@tastemaker/diffusion";
import { gradients, input, program, sum } from "@tastemaker/tensor";
import * as ort from "onnxruntime-node";
import { afterAll, describe, expect, it } from "vitest";
import { onnxMappings } from "../../../tensor/src/onnx/import/mappings.ts";
import { type FileModel, type FileNode, onnxFile, rawBytes } from "../../../tensor/src/testing/onnx-file.ts";
import type { OnnxSetting } from "../config/train-config.ts";
import { nodeBackend } from "../platform/runtime.ts";
import type { MetricsLine } from "../report/report-data.ts";
import { readJsonLines } from "../storage/append-log.ts";
import { runTastemaker, startScript } from "../testing/child.ts";
import { tinyTrainConfig, writeTinyWorld } from "../testing/tiny-world.ts";
import { openReward } from "./open-reward.ts";
import type { Reward } from "./reward.ts";

const example: string = fileURLToPath(new URL("../../../../examples/rewards/onnx/make-warmth.mjs", import.meta.url));
const backend = nodeBackend({ threads: 1 });
const folder: string = mkdtempSync(join(tmpdir(), "tastemaker-onnx-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const size = 8;
const picture = (phase: number): Picture => ({ height: size, width: size, pixels: Uint8Array.from({ length: 3 * size * size }, (_, i) => Math.round(127 + 120 * Math.sin(0.37 * i * (1 + phase)))) });

/** A small network: convolution, SiLU, mean over the picture, one or more numbers. */
function network({ batch = "batch", side = size, columns = 1, ...changes }: Partial<FileModel> & { readonly batch?: number | string; readonly side?: number | string; readonly columns?: number } = {}): FileModel {
  return {
    nodes: [
      { op: "Conv", inputs: ["image", "kernel"], outputs: ["features"], attributes: { pads: { ints: [1, 1, 1, 1] } } },
      { op: "Sigmoid", inputs: ["features"], outputs: ["gate"] },
      { op: "Mul", inputs: ["features", "gate"], outputs: ["active"] },
      { op: "ReduceMean", inputs: ["active", "spatial"], outputs: ["pooled"], attributes: { keepdims: 0 } },
      { op: "Gemm", inputs: ["pooled", "head"], outputs: ["score"] },
    ],
    inputs: [{ name: "image", type: "float", shape: [batch, 3, side, side] }],
    outputs: [{ name: "score", type: "float", shape: [batch, columns] }],
    initializers: {
      kernel: { type: "float", shape: [4, 3, 3, 3], data: Array.from({ length: 108 }, (_, i) => Math.sin(i) / 3) },
      spatial: { type: "int64", shape: [2], data: [2, 3] },
      head: { type: "float", shape: [4, columns], data: Array.from({ length: 4 * columns }, (_, i) => Math.cos(3 * i)) },
    },
    ...changes,
  };
}

let count = 0;
async function write(model: FileModel): Promise<string> {
  const path = join(folder, `model${count++}.onnx`);
  await writeFile(path, onnxFile(model));
  return path;
}

const open = async (model: FileModel, onnx?: OnnxSetting): Promise<Reward> => openReward({ name: "mine", path: await write(model), ...(onnx ? { onnx } : {}) }, backend, undefined);

/** The scores of one picture each, by onnxruntime and the file itself, from values in [0, 1]. */
async function direct(model: FileModel, values: Float32Array, shape: readonly number[] = [1, 3, size, size]): Promise<Float32Array> {
  const session = await ort.InferenceSession.create(onnxFile(model), { logSeverityLevel: 4 });
  const { score } = await session.run({ image: new ort.Tensor("float32", values, shape) });
  await session.release();
  return score!.data as Float32Array;
}

describe("an ONNX file as a reward", () => {
  it("gives the file's own numbers", async () => {
    const reward = await open(network());
    const scores = await reward.score([picture(0), picture(1)], ["a cat", "a dog"]);
    for (const [row, score] of scores.entries()) expect(score).toBeCloseTo((await direct(network(), planarOf(picture(row))))[0]!, 5);
    expect(reward).toMatchObject({ name: "mine", unit: "points", needsText: false, files: [expect.stringMatching(/\.onnx$/)] });
    await reward.dispose();
  });

  it.each<[string, FileModel]>([
    ["any number of pictures", network()],
    ["one picture, written down once for each", network({ batch: 1 })],
  ])("has the slope of its numbers, for a file that takes %s", async (_, model) => {
    const reward = await open(model);
    const image = input("image", [2, 3, size, size]);
    const score = reward.gradient!.term(1, 2).score(image, {});
    expect(score.shape).toEqual([2]);
    const executable = await backend.compile(program({ score, slope: gradients(sum(score), [image])[0]! }));
    const values = Float32Array.from([picture(0), picture(1)].flatMap((each) => Array.from(planarOf(each))));
    const found = await executable.run({ image: values });
    await executable.dispose();
    const [left, right] = [values.slice(0, 192), values.slice(192)];
    expect(found["score"]!.data[0]).toBeCloseTo((await direct(model, left))[0]!, 5);
    expect(found["score"]!.data[1]).toBeCloseTo((await direct(model, right))[0]!, 5);
    // Against onnxruntime's own numbers, along the gradient itself.
    const slope = found["slope"]!.data.slice(192) as Float32Array;
    const length = Math.hypot(...slope);
    expect(length).toBeGreaterThan(0.01);
    const at = async (step: number): Promise<number> => (await direct(model, right.map((v, i) => v + (step * slope[i]!) / length)))[0]!;
    expect(((await at(0.1)) - (await at(-0.1))) / 0.2 / length).toBeCloseTo(1, 3);
    await reward.dispose();
  });

  it("scales values as the configuration says, else as the file says", async () => {
    const planar = planarOf(picture(0));
    const scaled = (f: (value: number, channel: number) => number): Promise<Float32Array> => direct(network(), planar.map((v, i) => f(v, Math.floor(i / (size * size)))));
    const [mean, std] = [[0.5, 0.4, 0.3], [0.2, 0.25, 0.3]] as [[number, number, number], [number, number, number]];
    const metadata = { "tastemaker.reward": JSON.stringify({ mean, std, unit: "stars", typicalRange: [1, 5], describe: "Stars.", source: "a survey" }) };
    const normalized = (await scaled((v, c) => (v - mean[c]!) / std[c]!))[0]!;
    const cases: [FileModel, OnnxSetting | undefined, number][] = [
      [network(), { mean, std }, normalized],
      [network({ metadata }), undefined, normalized],
      [network(), { range: [-1, 1] }, (await scaled((v) => 2 * v - 1))[0]!],
      [network({ metadata }), { range: [0, 255] }, (await scaled((v) => 255 * v))[0]!],
    ];
    for (const [model, setting, expected] of cases) {
      const reward = await open(model, setting);
      const [score] = await reward.score([picture(0)], [""]);
      expect(score! / expected).toBeCloseTo(1, 5);
      if (model.metadata) expect(reward).toMatchObject({ unit: "stars", typicalRange: [1, 5], describe: "Stars.", source: "a survey" });
      await reward.dispose();
    }
  });

  it("takes pictures with channels last", async () => {
    const nodes: FileNode[] = [{ op: "Transpose", inputs: ["image"], outputs: ["planar"], attributes: { perm: { ints: [0, 3, 1, 2] } } }, { ...network().nodes[0]!, inputs: ["planar", "kernel"] }, ...network().nodes.slice(1)];
    const model = network({ nodes, inputs: [{ name: "image", type: "float", shape: ["n", size, size, 3] }] });
    const reward = await open(model);
    expect((await reward.score([picture(0)], [""]))[0]).toBeCloseTo((await direct(network(), planarOf(picture(0))))[0]!, 5);
    await reward.dispose();
  });

  it("takes one of several outputs, one of several numbers, and a size where the file has none", async () => {
    const model = network({ columns: 3, side: "side", outputs: [{ name: "pooled", type: "float", shape: ["batch", 4] }, { name: "score", type: "float", shape: ["batch", 3] }] });
    const metadata = { "tastemaker.reward": '{"output": "score", "column": 2, "size": 8}' };
    for (const reward of [await open(model, { output: "score", column: 2, size }), await open({ ...model, metadata })]) {
      expect((await reward.score([picture(0)], [""]))[0]).toBeCloseTo((await direct(network({ columns: 3 }), planarOf(picture(0))))[2]!, 5);
      await reward.dispose();
    }
  });

  it("finds external data beside the file, also behind a link, and counts it among its files", async () => {
    const [blobs, snapshot] = [join(folder, "blobs"), join(folder, "snapshot")];
    await mkdir(blobs);
    await mkdir(snapshot);
    const model = network();
    const kernel = model.initializers!["kernel"]!;
    await writeFile(join(blobs, "1"), onnxFile({ ...model, initializers: { ...model.initializers, kernel: { type: "float", shape: [4, 3, 3, 3], data: kernel.data, store: { location: "kernel.bin" } } } }));
    await writeFile(join(blobs, "2"), rawBytes("float", kernel.data));
    await symlink("../blobs/1", join(snapshot, "model.onnx"));
    await symlink("../blobs/2", join(snapshot, "kernel.bin"));
    const reward = await openReward({ name: "mine", path: join(snapshot, "model.onnx") }, backend, undefined);
    expect(reward.files.map((file) => file.split("/").slice(-2).join("/"))).toEqual(["blobs/1", "blobs/2"]);
    expect((await reward.score([picture(0)], [""]))[0]).toBeCloseTo((await direct(model, planarOf(picture(0))))[0]!, 5);
    await reward.dispose();
    await rm(join(snapshot, "kernel.bin"));
    await expect(openReward({ name: "mine", path: join(snapshot, "model.onnx") }, backend, undefined)).rejects.toMatchObject({ code: "file-missing" });
  });

  const constantScore: FileNode[] = [
    { op: "ReduceMean", inputs: ["image", "spatial"], outputs: ["a"], attributes: { keepdims: 0 } },
    { op: "Gemm", inputs: ["a", "head"], outputs: ["b"] },
    { op: "Clip", inputs: ["b", "low", "low"], outputs: ["score"] },
  ];
  const low = { head: { type: "float", shape: [3, 1], data: [1, 1, 1] }, spatial: { type: "int64", shape: [2], data: [2, 3] }, low: { type: "float", shape: [], data: [9] } } as const;

  it.each<[string, FileModel, OnnxSetting | undefined, string]>([
    ["several numbers per picture", network({ columns: 2 }), undefined, 'expected "score" to be [B] or [B, 1], one number per picture, got float32[1, 2] for 1 picture (at PATH); choose one of its 2 numbers: "onnx": {"column": 0}'],
    ["a column that is not there", network({ columns: 2 }), { column: 2 }, 'expected "score" to be [B, N] with a column 2, got float32[1, 2]'],
    ["several outputs", network({ outputs: ["pooled", "score"].map((name) => ({ name, type: "float", shape: undefined })) }), undefined, 'expected one output, the score, got 2 outputs: pooled float32[…], score float32[…] (at PATH); choose one: "onnx": {"output": "pooled"}'],
    ["an unknown output", network(), { output: "rating" }, 'got "rating", which is none of score'],
    ["a second input", network({ inputs: [...network().inputs, { name: "input_ids", type: "int64", shape: ["batch", 77] }] }), undefined, "expected a model with one input, the picture, got 2 inputs: image float32[batch, 3, 8, 8], input_ids int32[batch, 77]"],
    ["no size", network({ side: "side" }), undefined, 'expected a model with a fixed size, or a size to use, got image float32[batch, 3, side, side] (at PATH); say it: "onnx": {"size": 224}'],
    ["another size", network(), { size: 16 }, "expected size 8, which the model has, got 16"],
    ["pictures of one channel", network({ inputs: [{ name: "image", type: "float", shape: [1, 1, 8, 8] }] }), undefined, "expected an input of float32[B, 3, H, W] or float32[B, H, W, 3]"],
    ["a batch of its own", network({ batch: 4 }), undefined, "expected a model for one picture or any number, got 4 at a time"],
    ["two ways of scaling", network(), { range: [0, 1], mean: [0, 0, 0] }, 'expected "range" or "mean" and "std", got both'],
    ["metadata that is not JSON", network({ metadata: { "tastemaker.reward": "mean: 0" } }), undefined, 'expected JSON under "tastemaker.reward"'],
    ["metadata with unknown words", network({ metadata: { "tastemaker.reward": '{"means": [0, 0, 0]}' } }), undefined, "Unrecognized key"],
    ["a graph that counts", network({ nodes: [...network().nodes.slice(0, 4), { op: "Gemm", inputs: ["pooled", "head"], outputs: ["real"] }, { op: "Round", inputs: ["real"], outputs: ["score"] }] }), undefined, "expected a score that depends on the picture, got one whose gradient is 0"],
    ["a score that is always the same", network({ nodes: constantScore, initializers: low }), undefined, "expected a finite score that depends on the picture, got 9 for two different ones"],
    ["a score that is no number", network({ nodes: [...network().nodes.slice(0, 4), { op: "Gemm", inputs: ["pooled", "head"], outputs: ["real"] }, { op: "Neg", inputs: ["square"], outputs: ["minus"] }, { op: "Mul", inputs: ["real", "real"], outputs: ["square"] }, { op: "Sqrt", inputs: ["minus"], outputs: ["score"] }] }), undefined, "got NaN and NaN"],
    ["operators that are missing", network({ nodes: [{ op: "NonZero", inputs: ["image"], outputs: ["score"], name: "where" }] }), undefined, 'expected operators that can be differentiated here, got NonZero ("where")'],
  ])("is refused with %s", async (_, model, onnx, message) => {
    const path = await write(model);
    const expected = expect.stringContaining(message.replace("PATH", path)) as string;
    await expect(openReward({ name: "mine", path, ...(onnx ? { onnx } : {}) }, backend, undefined)).rejects.toMatchObject({ name: "UsageError", message: expected });
  });

  it("needs a name of its own, and its settings an .onnx file", async () => {
    const path = await write(network());
    await expect(openReward({ name: "clip-score", path }, backend, undefined)).rejects.toMatchObject({ code: "reward-name" });
    await expect(openReward({ name: "clip-score", path: "emoji", onnx: { size: 8 } }, backend, undefined)).rejects.toMatchObject({ code: "reward-path" });
    await expect(openReward({ name: "mine", path: "http://localhost/", onnx: { size: 8 } }, backend, undefined)).rejects.toMatchObject({ code: "reward-path" });
    const text = join(folder, "text.onnx");
    await writeFile(text, "version https://git-lfs.github.com/spec/v1\n");
    await expect(openReward({ name: "mine", path: text }, backend, undefined)).rejects.toMatchObject({ code: "onnx-invalid" });
  });
});

it("docs/rewards.md lists the operators that can be imported, and no other", async () => {
  const text = await readFile(fileURLToPath(new URL("../../../../docs/rewards.md", import.meta.url)), "utf8");
  const list = /nodes that need them:\n([\s\S]*?); and of onnxruntime/.exec(text)![1]!;
  expect(list.split(",").map((operator) => operator.trim()).sort()).toEqual([...onnxMappings.keys()].sort());
});

it("the example makes a file that is trained on by the documented command", async () => {
  const path = join(folder, "warmth.onnx");
  const made = await startScript(example, path).finished;
  expect(made.code, made.stderr).toBe(0);
  const world = await writeTinyWorld(folder, 1);
  const config = join(folder, "train.json");
  await writeFile(config, JSON.stringify(tinyTrainConfig(world)));
  const out = join(folder, "run");
  const end = await runTastemaker("train", "-c", config, "--reward", `warm=${path}`, "--iterations", "2", "--out", out);
  expect(end.code, end.stderr).toBe(0);
  const lines = (await readJsonLines(join(out, "metrics.jsonl"))) as unknown as MetricsLine[];
  expect(lines).toHaveLength(2);
  for (const { rewards, gradNorm } of lines) {
    expect(Math.abs(rewards["warm"]!)).toBeLessThan(1);
    expect(gradNorm).toBeGreaterThan(0);
  }
  const record = JSON.parse(await readFile(join(out, "run.json"), "utf8")) as { inputs: Record<string, { path: string; sha256: string }> };
  expect(record.inputs["reward warm"]!.path).toBe(path);
});
