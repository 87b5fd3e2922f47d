import { mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { open, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import * as ort from "onnxruntime-node";
import { afterAll, describe, expect, it } from "vitest";
import { UsageError } from "../../errors.ts";
import { gradients } from "../../gradient.ts";
import { input } from "../../ops/leaves.ts";
import { mul } from "../../ops/elementwise.ts";
import { sum } from "../../ops/reductions.ts";
import { program } from "../../program.ts";
import type { WeightSource } from "../../tensor.ts";
import { difference } from "../../testing/difference.ts";
import { bytesFile, type FileModel, type FileTensor, onnxFile, rawBytes } from "../../testing/onnx-file.ts";
import { randomChoices, randomProgram, randomProgramInputs } from "../../testing/random-program.ts";
import { runOnnx, runReference } from "../../testing/run-program.ts";
import { encodeProgram } from "../encode.ts";
import { importOnnx, type ImportOnnxOptions, type OnnxFile } from "./import-onnx.ts";

const folder = realpathSync(mkdtempSync(join(tmpdir(), "tensor-import-")));
afterAll(() => rmSync(folder, { recursive: true }));

/** A file on disk, as weights in place need. */
async function diskFile(path: string): Promise<OnnxFile> {
  return {
    name: path,
    sizeBytes: (await stat(path)).size,
    read: async (offset, length) => {
      const handle = await open(path);
      try {
        const bytes = new Uint8Array(length);
        await handle.read(bytes, 0, length, offset);
        return bytes;
      } finally {
        await handle.close();
      }
    },
  };
}

const inMemory = (model: FileModel, options: ImportOnnxOptions = {}) => importOnnx(bytesFile(onnxFile(model)), { mapAbove: Infinity, ...options });

/** A layer after global pooling, with a shape computed as PyTorch's exporter writes `x.view(x.size(0), -1)`. */
const scorer = (weights: FileTensor, batch: number | string = "batch"): FileModel => ({
  nodes: [
    { op: "Shape", inputs: ["image"], outputs: ["shape"] },
    { op: "Gather", inputs: ["shape", "zero"], outputs: ["size"], attributes: { axis: 0 } },
    { op: "Unsqueeze", inputs: ["size", "axis"], outputs: ["rows"] },
    { op: "Concat", inputs: ["rows", "rest"], outputs: ["target"], attributes: { axis: 0 } },
    { op: "GlobalAveragePool", inputs: ["image"], outputs: ["pooled"], name: "pool" },
    { op: "Reshape", inputs: ["pooled", "target"], outputs: ["flat"], name: "view" },
    { op: "Gemm", inputs: ["flat", "weight"], outputs: ["score"], name: "head" },
  ],
  inputs: [{ name: "image", type: "float", shape: [batch, 3, "height", "width"] }],
  outputs: [{ name: "score", type: "float", shape: [batch, 1] }],
  initializers: {
    zero: { type: "int64", shape: [], data: [0] },
    axis: { type: "int64", shape: [1], data: [0] },
    rest: { type: "int64", shape: [1], data: [-1], store: "typed" },
    weight: weights,
  },
  metadata: { mean: "0.5" },
});

const warmth: FileTensor = { type: "float", shape: [3, 1], data: [1, 0, -1] };

describe("importOnnx", () => {
  it("says inputs, outputs and metadata, with the names of sizes that vary", async () => {
    const model = await inMemory(scorer(warmth));
    expect(model.inputs).toEqual([{ name: "image", dtype: "float32", shape: ["batch", 3, "height", "width"] }]);
    expect(model.outputs).toEqual([{ name: "score", dtype: "float32", shape: ["batch", 1] }]);
    expect([...model.metadata]).toEqual([["mean", "0.5"]]);
    expect(model.producer).toBe("test");
  });

  it("writes the model down for any batch, folding the arithmetic of shapes", async () => {
    const model = await inMemory(scorer(warmth));
    for (const batch of [1, 3]) {
      const traced = model.program({ sizes: { batch, height: 2, width: 2 } });
      expect(traced.nodes.map(({ operator }) => operator.name)).toEqual(["input", "mean", "reshape", "constant", "matmul"]);
      expect(traced.outputs[0]!.tensor.shape).toEqual([batch, 1]);
    }
    const whole = model.program({ shapes: { image: [1, 3, 1, 1] } });
    expect((await runReference(whole, { image: Float64Array.of(0.75, 0.5, 0.25) }))["score"]!.data).toEqual(Float64Array.of(0.5));
  });

  it("differentiates the model joined with other programs", async () => {
    const model = await inMemory(scorer(warmth));
    const image = input("image", [1, 3, 2, 1]);
    const { score } = model.build({ image: mul(image, 2) });
    const { slope } = await runReference(program({ slope: gradients(sum(score!), [image])[0]! }, [{ name: "image", tensor: image }]), { image: new Float64Array(6) });
    expect(slope!.data).toEqual(Float64Array.of(1, 1, 0, 0, -1, -1));
  });

  it("refuses inputs that do not fit, and shapes that stay open", async () => {
    const model = await inMemory(scorer(warmth, 1));
    const fails = (fn: () => unknown): string => {
      try {
        fn();
      } catch (error) {
        expect(error).toBeInstanceOf(UsageError);
        return (error as Error).message;
      }
      throw new Error("expected a UsageError");
    };
    expect(fails(() => model.program())).toContain('expected a fixed shape for input "image", got [1,3,height,width]');
    expect(fails(() => model.build({ image: input("x", [2, 3, 4, 4]) }))).toContain('expected input "image" as float32[1,3,height,width], got float32[2,3,4,4]');
    expect(fails(() => model.build({ image: input("x", [1, 3, 4, 4], "int32") }))).toContain("got int32[1,3,4,4]");
    expect(fails(() => model.build({}))).toContain('expected input "image", got nothing');
    expect(fails(() => model.build({ image: input("x", [1, 3, 4, 4]), text: input("t", []) }))).toContain('got "text"');
  });

  it("names all missing operators at once, with their nodes", async () => {
    const model: FileModel = {
      nodes: [
        { op: "NonMaxSuppression", inputs: ["x"], outputs: ["a"], name: "boxes" },
        { op: "Relu", inputs: ["a"], outputs: ["b"], name: "fine" },
        { op: "Warp", inputs: ["b"], outputs: ["c"], name: "first", domain: "my.ops" },
        { op: "Warp", inputs: ["c"], outputs: ["y"], name: "second", domain: "my.ops" },
        { op: "If", inputs: ["x"], outputs: ["unused"], attributes: { then_branch: { graph: true } } },
      ],
      inputs: [{ name: "x", type: "float", shape: [1] }],
      outputs: [{ name: "y", type: "float", shape: [1] }],
    };
    await expect(inMemory(model)).rejects.toMatchObject({
      name: "UsageError",
      code: "onnx-operator",
      message: expect.stringContaining('got NonMaxSuppression ("boxes"), my.ops.Warp ("first", "second") (at /memory/model.onnx)') as string,
    });
  });

  it("says which node does not fit", async () => {
    const model = await inMemory(scorer({ ...warmth, shape: [1, 3] }));
    expect(() => model.program({ sizes: { batch: 1, height: 2, width: 2 } })).toThrow(/expected equal inner sizes.*\(at node Gemm "head" of \/memory\/model\.onnx\)/);
  });

  it("refuses what it would have to ignore: attributes, operands and flags that it does not know", async () => {
    const one = (node: Partial<FileModel["nodes"][number]>): FileModel => ({
      nodes: [{ op: "Relu", inputs: ["x"], outputs: ["y"], name: "it", ...node }],
      inputs: [{ name: "x", type: "float", shape: [1, 2] }],
      outputs: [{ name: "y", type: "float", shape: undefined }],
    });
    const cases: [Partial<FileModel["nodes"][number]>, string][] = [
      [{ attributes: { leak: { float: 0.1 } } }, 'expected a form of Relu that is supported, got attribute leak (at node Relu "it" of'],
      [{ inputs: ["x", "x"] }, "got operand 1"],
      [{ op: "ReduceSum", attributes: { keepdims: 2 } }, "expected 0 or 1 as keepdims, got 2"],
      [{ op: "Softmax", attributes: { axis: { float: 1 } } }, "expected attribute axis as int, got float"],
      [{ op: "Gelu", attributes: { approximate: "sigmoid" } }, 'got approximate "sigmoid" (supported: none, tanh)'],
      [{ op: "Reshape", inputs: ["x", "x"] }, "expected operand 1 to be known without running the model, got a computed value"],
    ];
    for (const [node, message] of cases) {
      const model = await inMemory(one(node));
      expect(() => model.program()).toThrow(message);
    }
  });

  it("reads only what the wanted outputs need", async () => {
    const model: FileModel = {
      nodes: [
        { op: "Relu", inputs: ["x"], outputs: ["y"] },
        { op: "Warp", inputs: ["x", "broken"], outputs: ["z"] },
      ],
      inputs: [{ name: "x", type: "float", shape: [2] }, { name: "label", type: "string", shape: [1] }],
      outputs: [{ name: "y", type: "float", shape: [2] }, { name: "z", type: "float", shape: [2] }],
      initializers: { broken: { type: "float", shape: [5], data: [1] } },
    };
    const { inputs, outputs, program: build } = await inMemory(model, { outputs: ({ outputs: all }) => all.slice(0, 1).map(({ name }) => name) });
    expect(inputs.map(({ name }) => name)).toEqual(["x"]);
    expect(outputs.map(({ name }) => name)).toEqual(["y"]);
    expect((await runReference(build(), { x: Float64Array.of(-1, 2) }))["y"]!.data).toEqual(Float64Array.of(0, 2));
    await expect(inMemory(model)).rejects.toMatchObject({ code: "onnx-operator" });
    await expect(inMemory(model, { outputs: ["q"] })).rejects.toMatchObject({ code: "unknown-name" });
  });

  it("puts the model's own functions in place of their calls, with their attributes", async () => {
    const leaky = (outputs: readonly string[], inputs: readonly string[], alpha: number) => ({ op: "Leaky", domain: "pkg", inputs, outputs, attributes: { slope: { float: alpha } } });
    const model: FileModel = {
      nodes: [leaky(["a"], ["x"], 0.5), { op: "Twice", domain: "pkg", inputs: ["a"], outputs: ["y"], name: "call" }],
      inputs: [{ name: "x", type: "float", shape: [2] }],
      outputs: [{ name: "y", type: "float", shape: [2] }],
      functions: [
        { name: "Twice", domain: "pkg", inputs: ["v"], outputs: ["w"], nodes: [leaky(["t"], ["v"], 0.25), { op: "Add", inputs: ["t", "t"], outputs: ["w"] }] },
        {
          name: "Leaky",
          domain: "pkg",
          inputs: ["v"],
          outputs: ["w"],
          attributes: ["slope"],
          nodes: [{ op: "LeakyRelu", inputs: ["v"], outputs: ["w"], attributes: { alpha: { reference: "slope" } } }],
        },
      ],
    };
    const { y } = await runReference((await inMemory(model)).program(), { x: Float64Array.of(-4, 2) });
    // −4·½·¼·2
    expect(Array.from(y!.data)).toEqual([-1, 4]);
    const endless: FileModel = { ...model, functions: [{ name: "Twice", domain: "pkg", inputs: ["v"], outputs: ["w"], nodes: [{ op: "Twice", domain: "pkg", inputs: ["v"], outputs: ["w"] }] }, ...model.functions!.slice(1)] };
    await expect(inMemory(endless)).rejects.toMatchObject({ code: "onnx-invalid", message: expect.stringContaining("nested at most 32 deep") as string });
    // Each function calls the next one eight times: 8²⁰ nodes.
    const bomb: FileModel = {
      ...model,
      nodes: [{ op: "F0", domain: "pkg", inputs: ["x"], outputs: ["y"] }],
      functions: Array.from({ length: 20 }, (_, i) => ({
        name: `F${i}`,
        domain: "pkg",
        inputs: ["v"],
        outputs: ["w"],
        nodes: Array.from({ length: 8 }, (_each, k) => ({ op: i === 19 ? "Relu" : `F${i + 1}`, domain: i === 19 ? "" : "pkg", inputs: ["v"], outputs: [k === 0 ? "w" : `w${k}`] })),
      })),
    };
    await expect(inMemory(bomb)).rejects.toMatchObject({ code: "onnx-invalid", message: expect.stringContaining("at most 200000 nodes") as string });
  });

  it("finds an order in which the nodes can run, or says that there is none", async () => {
    const model = (first: string): FileModel => ({
      nodes: [
        { op: "Neg", inputs: ["a"], outputs: ["y"] },
        { op: "Exp", inputs: [first], outputs: ["a"], name: "circle" },
      ],
      inputs: [{ name: "x", type: "float", shape: [1] }],
      outputs: [{ name: "y", type: "float", shape: [1] }],
    });
    expect(Array.from((await runReference((await inMemory(model("x"))).program(), { x: Float64Array.of(0) }))["y"]!.data)).toEqual([-1]);
    await expect(inMemory(model("y"))).rejects.toMatchObject({ code: "onnx-invalid", message: expect.stringContaining("circles") as string });
    const unknown = await inMemory(model("z"));
    expect(() => unknown.program()).toThrow('expected "z" before Exp "circle" uses it, got nothing');
    await expect(inMemory({ ...model("x"), nodes: [...model("x").nodes, ...model("x").nodes] })).rejects.toMatchObject({ code: "onnx-invalid" });
  });

  it("accepts the operator sets it knows", async () => {
    for (const opset of [6, 26]) await expect(inMemory({ ...scorer(warmth), opset })).rejects.toMatchObject({ code: "onnx-opset" });
  });
});

describe("the weights of an imported model", () => {
  const numbers = Array.from({ length: 3 }, (_, i) => (i - 1) / 2);
  /** The numbers as half precision and bfloat16: −½, 0, ½. */
  const bits = { float16: [0xb800, 0, 0x3800], bfloat16: [0xbf00, 0, 0x3f00] } as const;
  const image = Float64Array.of(0.5, 0.25, 1);
  const scoreOf = async (model: FileModel, options?: ImportOnnxOptions): Promise<number> =>
    (await runReference((await inMemory(model, options)).program({ shapes: { image: [1, 3, 1, 1] } }), { image }))["score"]!.data[0]!;

  it.each<[string, FileTensor]>([
    ["float", { type: "float", shape: [3, 1], data: numbers }],
    ["float, typed", { type: "float", shape: [3, 1], data: numbers, store: "typed" }],
    ["float16", { type: "float16", shape: [3, 1], data: bits.float16 }],
    ["float16, typed", { type: "float16", shape: [3, 1], data: bits.float16, store: "typed" }],
    ["bfloat16", { type: "bfloat16", shape: [3, 1], data: bits.bfloat16 }],
    ["double", { type: "double", shape: [3, 1], data: numbers }],
    ["double, typed", { type: "double", shape: [3, 1], data: numbers, store: "typed" }],
  ])("are read as %s", async (_, weights) => {
    expect(await scoreOf(scorer(weights))).toBe(0.25);
  });

  it.each(["int8", "uint8", "int32", "int64", "bool"] as const)("are read as %s, raw and typed", async (type) => {
    const data = type === "int8" || type === "int32" || type === "int64" ? [-2, 0, 1] : [1, 0, 1];
    for (const store of ["raw", "typed"] as const) {
      const traced = await inMemory({
        nodes: [{ op: "Cast", inputs: ["w"], outputs: ["y"], attributes: { to: 1 } }],
        inputs: [],
        outputs: [{ name: "y", type: "float", shape: [3] }],
        initializers: { w: { type, shape: [3], data, store } },
      });
      expect(Array.from((await runReference(traced.program(), {}))["y"]!.data)).toEqual(data);
    }
  });

  it.each([0, 1, 3])("stay in their files and are used there, whatever their alignment (%i bytes off)", async (shift) => {
    const rows = Array.from({ length: 3 * 700 }, (_, i) => Math.sin(i));
    const model = (store: FileTensor["store"]): FileModel => ({
      nodes: [{ op: "MatMul", inputs: ["x", "w"], outputs: ["y"] }],
      inputs: [{ name: "x", type: "float", shape: [1, 3] }],
      outputs: [{ name: "y", type: "float", shape: [1, 700] }],
      initializers: { w: { type: "float", shape: [3, 700], data: rows, ...(store ? { store } : {}) } },
      metadata: { filler: "x".repeat(shift) },
    });
    const [inside, outside, data] = [join(folder, `inside${shift}.onnx`), join(folder, `outside${shift}.onnx`), join(folder, `weights${shift}.bin`)];
    writeFileSync(inside, onnxFile(model("raw")));
    writeFileSync(data, Buffer.concat([Buffer.alloc(shift), rawBytes("float", rows), Buffer.alloc(5)]));
    writeFileSync(outside, onnxFile(model({ location: `weights${shift}.bin`, offset: shift, length: rows.length * 4 })));
    const x = Float32Array.of(1, -2, 0.5);
    const expected = (await (await ort.InferenceSession.create(inside)).run({ x: new ort.Tensor("float32", x, [1, 3]) }))["y"]!.data as Float32Array;
    for (const path of [inside, outside]) {
      const traced = (await importOnnx(await diskFile(path), { openExternal: (location) => diskFile(join(folder, location)) })).program();
      const source = traced.nodes.find(({ operator }) => operator.name === "weight")!.attributes["source"] as WeightSource;
      expect(source).toMatchObject({ file: path === inside ? inside : data, sizeBytes: 8400, dtype: "F32" });
      for (const memory of ["fast", "low"] as const) expect(difference((await runOnnx(traced, { x }, {}, { memory }))["y"]!.data, expected)).toBeLessThan(1e-6);
    }
  });

  it("may lie outside the file only inside its folder", async () => {
    const at = (location: string, more: object = {}): Promise<number> => scoreOf(scorer({ ...warmth, store: { location, ...more } }), { openExternal: () => Promise.resolve(bytesFile(rawBytes("float", [1, 2, 3]), "/memory/w")) });
    expect(await at("w")).toBe(4);
    expect(await at("./sub/w")).toBe(4);
    for (const location of ["../w", "/etc/passwd", "a/../../w", "C:\\w", "..\\w", "a//w", ""]) await expect(at(location), location).rejects.toMatchObject({ name: "UsageError", code: "path-outside" });
    for (const more of [{ offset: 4 }, { offset: -4 }, { length: 8 }, { offset: "1e3" }, { offset: "9".repeat(30) }]) {
      await expect(at("w", more), JSON.stringify(more)).rejects.toMatchObject({ name: "UsageError", code: "onnx-invalid" });
    }
    await expect(scoreOf(scorer({ ...warmth, store: { location: "w" } }))).rejects.toMatchObject({ code: "onnx-external" });
  });

  it("must be as long as their shape says", async () => {
    for (const shape of [[4, 1], [2, 1], [-3, 1], [2 ** 40, 2 ** 40]]) {
      for (const store of ["raw", "typed"] as const) await expect(scoreOf(scorer({ ...warmth, shape, store })), `[${shape}] ${store}`).rejects.toMatchObject({ name: "UsageError", code: "onnx-invalid" });
    }
    await expect(scoreOf(scorer({ type: "string", shape: [3, 1], data: [] }))).rejects.toMatchObject({ code: "onnx-type" });
  });

  it("are refused when they would fill the memory", async () => {
    const many: FileTensor = { type: "int8", shape: [2 ** 28, 1], data: [], store: { location: "w" } };
    const endless: OnnxFile = { name: "/memory/w", sizeBytes: 2 ** 40, read: () => Promise.reject(new Error("should not be read")) };
    await expect(inMemory(scorer(many), { openExternal: () => Promise.resolve(endless) })).rejects.toMatchObject({ code: "onnx-too-large" });
  });
});

describe("a program of ours", () => {
  it("comes back from its ONNX file with the same numbers and gradients", async () => {
    await fc.assert(
      fc.asyncProperty(randomChoices, async (choices) => {
        const traced = randomProgram(choices);
        const { model } = encodeProgram(traced, { provider: "cpu", convInputGradient: "flip" });
        const again = (await importOnnx(bytesFile(model), { mapAbove: Infinity })).program();
        const inputs = Object.fromEntries(again.inputs.map(({ name }) => [name, randomProgramInputs[name]!]));
        const [expected, actual] = [await runReference(traced, randomProgramInputs), await runReference(again, inputs)];
        // Constants were rounded to float32 on the way: a comparison that is a tie but for rounding may come out otherwise, which is why the seed is fixed.
        for (const { name } of traced.outputs) expect(difference(actual[`out:${name}`]!.data, expected[name]!.data)).toBeLessThan(1e-5);
      }),
      { numRuns: 60, seed: 1 },
    );
  });
});

describe("a damaged or hostile file", () => {
  const model: FileModel = {
    ...scorer(warmth, 2),
    nodes: [
      ...scorer(warmth).nodes.slice(0, 4),
      { op: "Conv", inputs: ["image", "kernel"], outputs: ["features"], attributes: { pads: { ints: [1, 1, 1, 1] }, strides: { ints: [2, 2] }, group: 1 } },
      { op: "MaxPool", inputs: ["features"], outputs: ["m"], attributes: { kernel_shape: { ints: [2, 2] }, ceil_mode: 1 } },
      { op: "Resize", inputs: ["m", "", "scales"], outputs: ["r"], attributes: { mode: "linear" } },
      { op: "Slice", inputs: ["r", "zeros", "ends", "axes"], outputs: ["s"] },
      { op: "Pad", inputs: ["s", "pads"], outputs: ["p"] },
      { op: "GlobalAveragePool", inputs: ["p"], outputs: ["pooled"] },
      { op: "Reshape", inputs: ["pooled", "target"], outputs: ["flat"] },
      { op: "Tile", inputs: ["flat", "ones"], outputs: ["tiled"] },
      { op: "Gemm", inputs: ["tiled", "weight"], outputs: ["g"], attributes: { alpha: { float: 0.5 }, transB: 0 } },
      { op: "Constant", inputs: [], outputs: ["c"], attributes: { value: { tensor: { type: "float", shape: [1], data: [2] } } } },
      { op: "Einsum", inputs: ["g", "c"], outputs: ["score"], attributes: { equation: "bi,i->bi" } },
    ],
    inputs: [{ name: "image", type: "float", shape: [2, 3, 6, 5] }],
    initializers: {
      ...scorer(warmth).initializers,
      kernel: { type: "float", shape: [3, 3, 3, 3], data: Array.from({ length: 81 }, (_, i) => i / 81) },
      scales: { type: "float", shape: [4], data: [1, 1, 1.5, 2] },
      zeros: { type: "int64", shape: [2], data: [0, 0] },
      ends: { type: "int64", shape: [2], data: [2, 3] },
      axes: { type: "int64", shape: [2], data: [2, 3] },
      pads: { type: "int64", shape: [8], data: [0, 0, 0, 1, 0, 0, 1, 0] },
      ones: { type: "int64", shape: [2], data: [1, 1] },
    },
  };
  const bytes = onnxFile(model);
  const openIt = async (damaged: Uint8Array): Promise<void> => {
    (await importOnnx(bytesFile(damaged), { mapAbove: Infinity })).program({ sizes: { height: 4, width: 4, batch: 1 } });
  };

  it("is valid before it is damaged", async () => {
    const traced = (await importOnnx(bytesFile(bytes), { mapAbove: Infinity })).program();
    const image = Float32Array.from({ length: 180 }, (_, i) => Math.sin(i));
    const session = await ort.InferenceSession.create(bytes, { logSeverityLevel: 4 });
    const { score } = await session.run({ image: new ort.Tensor("float32", image, [2, 3, 6, 5]) });
    expect(difference((await runOnnx(traced, { image }))["score"]!.data, score!.data as Float32Array)).toBeLessThan(1e-5);
  });

  const isUsageErrorOrNothing = async (damaged: Uint8Array): Promise<void> => {
    try {
      await openIt(damaged);
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
    }
  };

  it("opens or is refused with a UsageError, whatever bytes are changed", async () => {
    const before = process.memoryUsage().rss;
    const change = fc.tuple(fc.nat(bytes.length - 1), fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 127, 128, 255)));
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 6 }), (changes) => {
        const damaged = bytes.slice();
        for (const [at, value] of changes) damaged[at] = value;
        return isUsageErrorOrNothing(damaged);
      }),
      { numRuns: 3000, seed: 1 },
    );
    expect(process.memoryUsage().rss - before).toBeLessThan(600 * 2 ** 20);
  });

  it("opens or is refused with a UsageError, wherever it is cut or extended", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.length), fc.uint8Array({ maxLength: 24 }), fc.boolean(), (at, added, keepsRest) =>
        isUsageErrorOrNothing(Buffer.concat([bytes.slice(0, at), added, keepsRest ? bytes.slice(at) : new Uint8Array()])),
      ),
      { numRuns: 1500, seed: 1 },
    );
    for (const other of ["", "version https://git-lfs.github.com/spec/v1\n", "<!DOCTYPE html><html></html>", "PK\u0003\u0004"]) {
      await expect(openIt(new TextEncoder().encode(other)), other).rejects.toMatchObject({ name: "UsageError" });
    }
  });

  it("is refused with a UsageError when its numbers are absurd", async () => {
    const absurd = [0, -1, 2 ** 31, 2 ** 53, -(2 ** 62)];
    const names = Object.entries(model.initializers!).filter(([, { type }]) => type === "int64");
    for (const value of absurd) {
      for (const [name, tensor] of names) {
        for (let i = 0; i < tensor.data.length; i++) await isUsageErrorOrNothing(onnxFile({ ...model, initializers: { ...model.initializers, [name]: { ...tensor, data: tensor.data.with(i, value) } } }));
      }
      for (const [index, node] of model.nodes.entries()) {
        for (const [name, attribute] of Object.entries(node.attributes ?? {})) {
          const changed = typeof attribute === "number" ? value : typeof attribute === "object" && "ints" in attribute ? { ints: attribute.ints.with(0, value) } : attribute;
          await isUsageErrorOrNothing(onnxFile({ ...model, nodes: model.nodes.with(index, { ...node, attributes: { ...node.attributes, [name]: changed } }) }));
        }
      }
    }
  });
});

it("files on disk are left as they are", () => {
  expect(readFileSync(join(folder, "weights1.bin")).length).toBe(1 + 8400 + 5);
});
