import * as ort from "onnxruntime-node";
import { describe, expect, it } from "vitest";
import { gradients } from "../../gradient.ts";
import { add, mul } from "../../ops/elementwise.ts";
import { constant, filled } from "../../ops/leaves.ts";
import { sum } from "../../ops/reductions.ts";
import { type Program, program } from "../../program.ts";
import { normal } from "../../random.ts";
import { sizeOf } from "../../shape.ts";
import type { Tensor } from "../../tensor.ts";
import { difference } from "../../testing/difference.ts";
import { type ImportRow, importRows } from "../../testing/import-rows.ts";
import { bytesFile, type FileTensor, type FileType, type FileValue, onnxFile } from "../../testing/onnx-file.ts";
import { runReference } from "../../testing/run-program.ts";
import { importOnnx } from "./import-onnx.ts";
import { onnxMappings } from "./mappings.ts";

const nameOf = ({ op, title, domain }: ImportRow): string => `${domain === "" ? "" : `${domain}.`}${op}: ${title}`;

interface Feed {
  readonly type: FileType;
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

/** The row's file, and the numbers fed to it. */
function fileOf(row: ImportRow): { readonly bytes: Uint8Array; readonly feeds: Readonly<Record<string, Feed>> } {
  const initializers: Record<string, FileTensor> = {};
  const inputs: FileValue[] = [];
  const feeds: Record<string, Feed> = {};
  const names = row.operands.map((operand, i) => {
    if (!operand) return "";
    const name = `x${i}`;
    if (operand.kind === "fixed") initializers[name] = operand;
    else {
      const type = operand.kind === "real" ? "float" : operand.type;
      const data = operand.kind === "real" ? operand.sample({ seed: 1, stream: nameOf(row), indices: [i] }, sizeOf(operand.shape)).map(Math.fround) : Float64Array.from(operand.data);
      inputs.push({ name, type, shape: operand.shape });
      feeds[name] = { type, shape: operand.shape, data };
    }
    return name;
  });
  const outputs = Array.from({ length: row.outputs }, (_, i) => `y${i}`);
  const bytes = onnxFile({
    nodes: [{ op: row.op, inputs: names, outputs, attributes: row.attributes, name: "the node", ...(row.domain ? { domain: row.domain } : {}) }],
    inputs,
    outputs: outputs.map((name) => ({ name, type: undefined, shape: undefined })),
    initializers,
    opset: row.opset,
  });
  return { bytes, feeds };
}

function runtimeTensor({ type, shape, data }: Feed): ort.Tensor {
  if (type === "int64") return new ort.Tensor("int64", BigInt64Array.from(data, BigInt), shape);
  if (type === "int32") return new ort.Tensor("int32", Int32Array.from(data), shape);
  if (type === "bool") return new ort.Tensor("bool", Uint8Array.from(data), shape);
  return new ort.Tensor("float32", Float32Array.from(data), shape);
}

/** What onnxruntime makes of the file itself. */
async function runFile(row: ImportRow): Promise<ort.InferenceSession.OnnxValueMapType> {
  const { bytes, feeds } = fileOf(row);
  const session = await ort.InferenceSession.create(bytes, { intraOpNumThreads: 1, logSeverityLevel: 4 });
  const results = await session.run(Object.fromEntries(Object.entries(feeds).map(([name, feed]) => [name, runtimeTensor(feed)])));
  await session.release();
  return results;
}

const importRow = async (row: ImportRow): Promise<Program> => (await importOnnx(bytesFile(fileOf(row).bytes), { mapAbove: Infinity })).program();
const feedsOf = (row: ImportRow): Record<string, Float64Array> => Object.fromEntries(Object.entries(fileOf(row).feeds).map(([name, { data }]) => [name, data]));

/** Σ random weights·real outputs: a scalar whose gradient mixes all elements. */
function lossOf(traced: Program, row: ImportRow): Tensor {
  const parts = traced.outputs.flatMap(({ tensor }, i) =>
    tensor.dtype === "float32" ? [sum(mul(tensor, constant(normal({ seed: 2, stream: nameOf(row), indices: [i] }, sizeOf(tensor.shape)), tensor.shape)))] : [],
  );
  return parts.reduce((a, b) => add(a, b), filled(0, []));
}

const rows = importRows.map((row) => ({ name: nameOf(row), row }));
const smooth = rows.filter(({ row }) => row.isSmooth && row.operands.some((operand) => operand?.kind === "real"));

describe("an imported node", () => {
  it.each(rows)("gives what onnxruntime gives for the file: $name", async ({ row }) => {
    const expected = await runFile(row);
    const traced = await importRow(row);
    const actual = await runReference(traced, feedsOf(row));
    for (const { name, tensor } of traced.outputs) {
      expect(tensor.shape).toEqual(expected[name]!.dims);
      expect(tensor.dtype).toBe({ float32: "float32", int64: "int32", int32: "int32", bool: "bool" }[expected[name]!.type as string]);
      expect(difference(Array.from(expected[name]!.data as ArrayLike<number | bigint>, Number), actual[name]!.data), name).toBeLessThan(3e-6);
    }
  });

  it.each(smooth)("has the slope of its values: $name", async ({ row }) => {
    const traced = await importRow(row);
    const loss = lossOf(traced, row);
    const ports = traced.inputs.filter(({ tensor }) => tensor.dtype === "float32");
    const found = gradients(loss, ports.map(({ tensor }) => tensor));
    const feeds = feedsOf(row);
    const [value, slopes] = [program({ loss }, traced.inputs), program(Object.fromEntries(ports.map(({ name }, i) => [name, found[i]!])), traced.inputs)];
    const exact = await runReference(slopes, feeds);
    for (const { name, tensor } of ports) {
      const raw = normal({ seed: 3, stream: nameOf(row), indices: [] }, sizeOf(tensor.shape));
      const direction = raw.map((v) => v / Math.max(Math.hypot(...raw), 1e-12));
      const at = async (step: number): Promise<number> => (await runReference(value, { ...feeds, [name]: feeds[name]!.map((x, i) => x + step * direction[i]!) }))["loss"]!.data[0]!;
      const h = 1e-3;
      const numeric = (8 * ((await at(h)) - (await at(-h))) - ((await at(2 * h)) - (await at(-2 * h)))) / (12 * h);
      const byRule = direction.reduce((total, d, i) => total + d * exact[name]!.data[i]!, 0);
      expect(Math.abs(byRule - numeric), `${name}: ${byRule} by rule, ${numeric} by differences`).toBeLessThan(1e-6 * Math.max(1, Math.abs(numeric)));
    }
  });

  it("is tested in at least one form, whatever its operator", () => {
    expect([...onnxMappings.keys()].filter((op) => !importRows.some((row) => row.op === op))).toEqual([]);
  });
});
