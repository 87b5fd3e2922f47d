// Which lowering of a convolution's weight gradient is fastest, by shape; "chosen" is the operator's own choice.
// Run: npx tsx --conditions=@tastemaker/source bench/tensor-conv-weight-gradient.ts [names of lowerings, comma-separated]
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import * as ort from "onnxruntime-node";
import { apply1, input, onnxBackend, type OnnxEmitter, type EncodeContext, program, type OnnxRuntime, type Operator } from "@tastemaker/tensor";
import { convWeightGradientOperator } from "../packages/tensor/src/ops/convolution.ts";

type Attributes = { stride: number; padding: readonly [number, number, number, number]; groups: number; kernel: readonly [number, number] };
type Emit = (emit: OnnxEmitter, context: EncodeContext<Attributes>) => readonly string[];
const ms = { domain: "com.microsoft" };

function padded(emit: OnnxEmitter, { inputs, attributes: { padding } }: EncodeContext<Attributes>): string {
  return padding.some((n) => n > 0) ? emit.node("Pad", [inputs[0]!, emit.ints([0, 0, padding[0], padding[1], 0, 0, padding[2], padding[3]])])[0]! : inputs[0]!;
}
function positions([kh, kw]: readonly [number, number]): [number, number][] {
  return Array.from({ length: kh * kw }, (_, i) => [Math.floor(i / kw), i % kw]);
}
/** parts[k]: [O,C] → [O,C,kh,kw] */
function joinPositions(emit: OnnxEmitter, parts: string[], o: number, c: number, kernel: readonly [number, number]): readonly string[] {
  const flat = parts.map((part) => emit.node("Reshape", [part, emit.ints([o, c, 1])])[0]!);
  const joined = flat.length === 1 ? flat[0]! : emit.node("Concat", flat, { axis: 2 })[0]!;
  return emit.node("Reshape", [joined, emit.ints([o, c, ...kernel])]);
}

/** b: channels last [H,W,B,C], one Gemm per kernel position. `order` 0: [H,W,B,C]; 1: [B,H,W,C]. */
const channelsLast = (layout: "HWBC" | "BHWC", how: "gemm" | "concat" | "rows"): Emit => (emit, context) => {
  const { inputTypes, attributes: { stride, kernel }, inputs } = context;
  const [b, c] = inputTypes[0]!.shape as [number, number];
  const [, o, h, w] = inputTypes[1]!.shape as [number, number, number, number];
  const perm = { perm: { ints: layout === "HWBC" ? [2, 3, 0, 1] : [0, 2, 3, 1] } };
  const axes = layout === "HWBC" ? [0, 1] : [1, 2];
  const x = emit.node("Transpose", [padded(emit, context)], perm)[0]!;
  const g = emit.node("Reshape", [emit.node("Transpose", [inputs[1]!], perm)[0]!, emit.ints([b * h * w, o])])[0]!;
  const shifted = (ky: number, kx: number): string => {
    const ends = [ky + (h - 1) * stride + 1, kx + (w - 1) * stride + 1];
    const cut = kernel[0] * kernel[1] === 1 && stride === 1 ? x : emit.node("Slice", [x, emit.ints([ky, kx]), emit.ints(ends), emit.ints(axes), emit.ints([stride, stride])])[0]!;
    return emit.node("Reshape", [cut, emit.ints([b * h * w, c])])[0]!;
  };
  const gemm = (left: string, right: string): string => emit.node("Gemm", [left, right], { transA: 1 })[0]!;
  const all = positions(kernel);
  if (how === "gemm") return joinPositions(emit, all.map(([ky, kx]) => gemm(g, shifted(ky, kx))), o, c, kernel);
  const groupsOf = how === "concat" ? [all] : Array.from({ length: kernel[0] }, (_, ky) => all.slice(ky * kernel[1], (ky + 1) * kernel[1]));
  const parts = groupsOf.map((list) => {
    const columns = list.length === 1 ? shifted(...list[0]!) : emit.node("Concat", list.map(([ky, kx]) => shifted(ky, kx)), { axis: 1 })[0]!;
    return emit.node("Reshape", [gemm(g, columns), emit.ints([o, list.length, c])])[0]!;
  });
  const joined = parts.length === 1 ? parts[0]! : emit.node("Concat", parts, { axis: 1 })[0]!;
  return emit.node("Reshape", [emit.node("Transpose", [joined], { perm: { ints: [0, 2, 1] } })[0]!, emit.ints([o, c, ...kernel])]);
};

/** c: channels first, pixels·batch as one axis: [C, H, W, B] or [C,B,H,W]; product with transB. */
const channelsFirst = (layout: "CBHW" | "CHWB", how: "parts" | "concat"): Emit => (emit, context) => {
  const { inputTypes, attributes: { stride, kernel }, inputs } = context;
  const [b, c] = inputTypes[0]!.shape as [number, number];
  const [, o, h, w] = inputTypes[1]!.shape as [number, number, number, number];
  const perm = { perm: { ints: layout === "CBHW" ? [1, 0, 2, 3] : [1, 2, 3, 0] } };
  const axes = layout === "CBHW" ? [2, 3] : [1, 2];
  const x = emit.node("Transpose", [padded(emit, context)], perm)[0]!;
  const g = emit.node("Reshape", [emit.node("Transpose", [inputs[1]!], perm)[0]!, emit.ints([o, b * h * w])])[0]!;
  const shifted = ([ky, kx]: readonly [number, number]): string => {
    const ends = [ky + (h - 1) * stride + 1, kx + (w - 1) * stride + 1];
    const cut = emit.node("Slice", [x, emit.ints([ky, kx]), emit.ints(ends), emit.ints(axes), emit.ints([stride, stride])])[0]!;
    return emit.node("Reshape", [cut, emit.ints([c, b * h * w])])[0]!;
  };
  const all = positions(kernel);
  if (how === "parts") return joinPositions(emit, all.map((p) => emit.node("Gemm", [g, shifted(p)], { transB: 1 })[0]!), o, c, kernel);
  const columns = all.length === 1 ? shifted(all[0]!) : emit.node("Concat", all.map(shifted), { axis: 0 })[0]!;
  const y = emit.node("Reshape", [emit.node("Gemm", [g, columns], { transB: 1 })[0]!, emit.ints([o, kernel[0] * kernel[1], c])])[0]!;
  return emit.node("Reshape", [emit.node("Transpose", [y], { perm: { ints: [0, 2, 1] } })[0]!, emit.ints([o, c, ...kernel])]);
};

/** Batched products with all shifts concatenated: [B, 9C, HW]. */
const batchedUnfold: Emit = (emit, context) => {
  const { inputTypes, attributes: { stride, kernel }, inputs } = context;
  const [b, c] = inputTypes[0]!.shape as [number, number];
  const [, o, h, w] = inputTypes[1]!.shape as [number, number, number, number];
  const x = padded(emit, context);
  const cuts = positions(kernel).map(([ky, kx]) => emit.node("Slice", [x, emit.ints([ky, kx]), emit.ints([ky + (h - 1) * stride + 1, kx + (w - 1) * stride + 1]), emit.ints([2, 3]), emit.ints([stride, stride])])[0]!);
  const k = cuts.length;
  const columns = emit.node("Reshape", [k === 1 ? cuts[0]! : emit.node("Concat", cuts, { axis: 1 })[0]!, emit.ints([b, k * c, h * w])])[0]!;
  const rows = emit.node("Reshape", [inputs[1]!, emit.ints([b, o, h * w])])[0]!;
  const y = emit.node("ReduceSum", emit.node("FusedMatMul", [rows, columns], { transB: 1 }, ms).concat(emit.ints([0])), { keepdims: 0 })[0]!;
  const split = emit.node("Reshape", [y, emit.ints([o, k, c])])[0]!;
  return emit.node("Reshape", [emit.node("Transpose", [split], { perm: { ints: [0, 2, 1] } })[0]!, emit.ints([o, c, ...kernel])]);
};

/** Stride 1 only: the gradient is shifted instead of the input. dW[o,c,k] = Σ_q g[q − k + p]·x[q]. */
const unfoldGradient: Emit = (emit, context) => {
  const { inputTypes, attributes: { padding, kernel }, inputs } = context;
  const [b, c, height, width] = inputTypes[0]!.shape as [number, number, number, number];
  const [, o, h, w] = inputTypes[1]!.shape as [number, number, number, number];
  const [top, left] = [kernel[0] - 1 - padding[0], kernel[1] - 1 - padding[1]];
  const wide = emit.node("Pad", [inputs[1]!, emit.ints([0, 0, top, left, 0, 0, height + kernel[0] - 1 - h - top, width + kernel[1] - 1 - w - left])])[0]!;
  const cuts = positions(kernel).map(([ky, kx]) => {
    const [y, x] = [kernel[0] - 1 - ky, kernel[1] - 1 - kx];
    return emit.node("Slice", [wide, emit.ints([y, x]), emit.ints([y + height, x + width]), emit.ints([2, 3])])[0]!;
  });
  const k = cuts.length;
  const rows = emit.node("Reshape", [k === 1 ? cuts[0]! : emit.node("Concat", cuts, { axis: 1 })[0]!, emit.ints([b, k * o, height * width])])[0]!;
  const columns = emit.node("Reshape", [inputs[0]!, emit.ints([b, c, height * width])])[0]!;
  const y = emit.node("ReduceSum", emit.node("FusedMatMul", [rows, columns], { transB: 1 }, ms).concat(emit.ints([0])), { keepdims: 0 })[0]!;
  const split = emit.node("Reshape", [y, emit.ints([k, o, c])])[0]!;
  return emit.node("Reshape", [emit.node("Transpose", [split], { perm: { ints: [1, 2, 0] } })[0]!, emit.ints([o, c, ...kernel])]);
};

/** Convolution with exchanged roles. */
const exchanged: Emit = (emit, { inputs, inputTypes, attributes: { stride, padding, kernel } }) => {
  const swap = { perm: { ints: [1, 0, 2, 3] } };
  const [h, w] = inputTypes[1]!.shape.slice(2) as [number, number];
  const x = emit.node("Transpose", [inputs[0]!], swap)[0]!;
  const g = emit.node("Transpose", [inputs[1]!], swap)[0]!;
  const y = emit.node("Conv", [x, g], { kernel_shape: { ints: [h, w] }, dilations: { ints: [stride, stride] }, pads: { ints: padding } })[0]!;
  const cut = emit.node("Slice", [y, emit.ints([0, 0]), emit.ints([...kernel]), emit.ints([2, 3])])[0]!;
  return emit.node("Transpose", [cut], swap);
};

/** One batched product per kernel position, summed over the batch. */
const batched: Emit = (emit, context) => {
  const { inputTypes, attributes: { stride, kernel }, inputs } = context;
  const [b, c] = inputTypes[0]!.shape as [number, number];
  const [, o, h, w] = inputTypes[1]!.shape as [number, number, number, number];
  const x = padded(emit, context);
  const rows = emit.node("Reshape", [inputs[1]!, emit.ints([b, o, h * w])])[0]!;
  const parts = positions(kernel).map(([ky, kx]) => {
    const cut = emit.node("Slice", [x, emit.ints([ky, kx]), emit.ints([ky + (h - 1) * stride + 1, kx + (w - 1) * stride + 1]), emit.ints([2, 3]), emit.ints([stride, stride])])[0]!;
    const columns = emit.node("Reshape", [cut, emit.ints([b, c, h * w])])[0]!;
    return emit.node("ReduceSum", [emit.node("FusedMatMul", [rows, columns], { transB: 1 }, ms)[0]!, emit.ints([0])], { keepdims: 0 })[0]!;
  });
  return joinPositions(emit, parts, o, c, kernel);
};

const variants: Record<string, Emit | undefined> = {
  chosen: undefined,
  batched,
  batchedUnfold,
  hwbcGemm: channelsLast("HWBC", "gemm"),
  hwbcRows: channelsLast("HWBC", "rows"),
  hwbcConcat: channelsLast("HWBC", "concat"),
  bhwcGemm: channelsLast("BHWC", "gemm"),
  bhwcConcat: channelsLast("BHWC", "concat"),
  cbhwParts: channelsFirst("CBHW", "parts"),
  cbhwConcat: channelsFirst("CBHW", "concat"),
  chwbParts: channelsFirst("CHWB", "parts"),
  exchanged,
  unfoldGradient,
};

type Case = [x: [number, number, number, number], o: number, kernel: number, stride: number];
const cases: Case[] = [
  [[48, 64, 16, 16], 64, 3, 1], [[48, 128, 8, 8], 128, 3, 1], [[48, 128, 4, 4], 128, 3, 1], [[48, 256, 8, 8], 128, 3, 1], [[12, 32, 64, 64], 32, 3, 1],
  [[12, 64, 32, 32], 64, 3, 1], [[48, 64, 16, 16], 64, 3, 2], [[48, 128, 8, 8], 128, 3, 2], [[12, 32, 64, 64], 64, 3, 2], [[48, 192, 16, 16], 64, 1, 1], [[48, 256, 8, 8], 128, 1, 1],
  [[48, 4, 16, 16], 64, 3, 1], [[48, 64, 16, 16], 4, 3, 1], [[12, 3, 64, 64], 32, 3, 1], [[12, 32, 64, 64], 3, 3, 1], [[1, 320, 64, 64], 16, 3, 1], [[12,16,64,64],16,3,1], [[12,32,64,64],16,3,1], [[12,16,64,64],32,3,1], [[48,64,16,16],32,3,1],
  [[48, 64, 16, 16], 64, 1, 1], [[48, 128, 4, 4], 128, 1, 1], [[12, 64, 64, 64], 32, 1, 1], [[1, 320, 64, 64], 320, 1, 1],[[8,64,32,32],64,3,1],[[8,128,16,16],128,3,1],[[4,128,8,8],128,3,1],[[1,128,8,8],128,3,1],[[1,64,16,16],64,3,1],[[12,64,32,32],64,3,2],
];
const only = process.argv[2]?.split(",");
const rows: object[] = [];
const backend = onnxBackend(ort as unknown as OnnxRuntime, { threads: 2 });
for (const [xShape, o, k, stride] of cases) {
  const pad = (k - 1) / 2;
  const attributes: Attributes = { stride, padding: [pad, pad, pad, pad], groups: 1, kernel: [k, k] };
  const size = xShape.slice(2).map((n) => Math.floor((n + 2 * pad - k) / stride) + 1);
  const gShape = [xShape[0], o, ...size];
  const random = (n: number): Float32Array => Float32Array.from({ length: n }, (_, i) => Math.sin(i * 1.618) );
  const feeds = { x: random(xShape.reduce((p, n) => p * n)), g: random(gShape.reduce((p, n) => p * n)) };
  const runs: { name: string; run: () => Promise<Float32Array>; times: number[] }[] = [];
  for (const [name, onnx] of Object.entries(variants)) {
    if ((only && !only.includes(name)) || (name === "unfoldGradient" && stride !== 1)) continue;
    const operator = (onnx ? { ...convWeightGradientOperator, onnx } : convWeightGradientOperator) as unknown as Operator;
    const y = apply1(operator, [input("x", xShape), input("g", gShape)], attributes as never);
    const exe = await backend.compile(program({ y }));
    runs.push({ name, run: async () => (await exe.run(feeds))["y"]!.data as Float32Array, times: [] });
  }
  const expected = await runs[0]!.run();
  for (const r of runs) {
    const got = await r.run();
    const worst = got.reduce((m, v, i) => Math.max(m, Math.abs(v - expected[i]!)), 0) / expected.reduce((m, v) => Math.max(m, Math.abs(v)), 1e-9);
    if (!(worst < 1e-4)) console.log("WRONG", r.name, worst);
  }
  const start = performance.now();
  for (let i = 0; i < 15 && performance.now() - start < 1500; i++) {
    for (const r of runs) {
      const t = performance.now();
      await r.run();
      r.times.push(performance.now() - t);
    }
  }
  const gflop = (2 * gShape.reduce((p, n) => p * n) * xShape[1] * k * k) / 1e9;
  const quartiles = Object.fromEntries(runs.map((r) => [r.name, Number(r.times.toSorted((a, b) => a - b)[Math.floor(r.times.length / 4)]!.toFixed(2))]));
  rows.push({ x: xShape, outputs: o, kernel: k, stride, gflop: Number(gflop.toFixed(2)), lowerQuartileMs: quartiles });
  console.log(`x[${xShape}]→${o} k${k} s${stride} (${gflop.toFixed(2)} GF): ${Object.entries(quartiles).map(([name, time]) => `${name} ${time}`).join("  ")}`);
}
const commit = execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim();
const about = { machine: `${cpus()[0]!.model}, ${cpus().length} cores`, node: process.version, onnxruntime: ort.env.versions?.node, commit, loadAverage: loadavg()[0] };
writeFileSync(new URL("results/tensor-conv-weight-gradient.json", import.meta.url), `${JSON.stringify({ ...about, rows }, undefined, 2)}\n`);
