// Times equal ways to compute small pieces of forward and backward graphs. Run: npx tsx --conditions=@tastemaker/source bench/tensor-pieces.ts [name part]
import * as ort from "onnxruntime-node";
import { apply1, input, normal, onnxBackend, type OnnxEmitter, type OnnxRuntime, type Operator, program, type Shape } from "@tastemaker/tensor";

type Emit = (emit: OnnxEmitter, inputs: readonly string[]) => readonly string[];
interface Piece {
  readonly inputs: readonly Shape[];
  readonly output: Shape;
  readonly ways: Readonly<Record<string, Emit>>;
}
const ms = { domain: "com.microsoft" };
const perm = (...ints: number[]): { perm: { ints: number[] } } => ({ perm: { ints } });
const pieces: Record<string, Piece> = {};

for (const [b, c, o, s] of [[32, 256, 128, 4], [32, 256, 128, 8], [32, 192, 64, 16], [1, 640, 640, 32]] as const) {
  pieces[`conv1x1 [${b},${c},${s},${s}]→${o}`] = {
    inputs: [[b, c, s, s], [o, c, 1, 1]],
    output: [b, o, s, s],
    ways: {
      conv: (e, [x, w]) => e.node("Conv", [x!, w!], { kernel_shape: { ints: [1, 1] } }),
      matmul: (e, [x, w]) => e.node("Reshape", [e.node("MatMul", [e.node("Reshape", [w!, e.ints([o, c])])[0]!, e.node("Reshape", [x!, e.ints([b, c, s * s])])[0]!])[0]!, e.ints([b, o, s, s])]),
      fusedSame: (e, [x, w]) => e.node("Reshape", [e.node("FusedMatMul", [e.node("Reshape", [w!, e.ints([1, o, c])])[0]!, e.node("Reshape", [x!, e.ints([b, c, s * s])])[0]!], {}, ms)[0]!, e.ints([b, o, s, s])]),
      rows: (e, [x, w]) => {
        const rows = e.node("Reshape", [e.node("Transpose", [e.node("Reshape", [x!, e.ints([b, c, s * s])])[0]!], perm(0, 2, 1))[0]!, e.ints([b * s * s, c])])[0]!;
        const y = e.node("Reshape", [e.node("Gemm", [rows, e.node("Reshape", [w!, e.ints([o, c])])[0]!], { transB: 1 })[0]!, e.ints([b, s * s, o])])[0]!;
        return e.node("Reshape", [e.node("Transpose", [y], perm(0, 2, 1))[0]!, e.ints([b, o, s, s])]);
      },
    },
  };
}
for (const n of [64, 128]) {
  const reversal = Array.from({ length: 81 }, (_, i) => Number(Math.floor(i / 9) + (i % 9) === 8));
  const flipped = (e: OnnxEmitter, w: string): Record<string, () => string> => ({
    slice: () => e.node("Slice", [w, e.ints([-1, -1]), e.ints([-4, -4]), e.ints([2, 3]), e.ints([-1, -1])])[0]!,
    slice1: () => e.node("Reshape", [e.node("Slice", [e.node("Reshape", [w, e.ints([n, n, 9])])[0]!, e.ints([-1]), e.ints([-10]), e.ints([2]), e.ints([-1])])[0]!, e.ints([n, n, 3, 3])])[0]!,
    gather: () => e.node("Reshape", [e.node("Gather", [e.node("Reshape", [w, e.ints([n * n, 9])])[0]!, e.int32s([8, 7, 6, 5, 4, 3, 2, 1, 0], [9])], { axis: 1 })[0]!, e.ints([n, n, 3, 3])])[0]!,
    product: () => e.node("Reshape", [e.node("MatMul", [e.node("Reshape", [w, e.ints([n * n, 9])])[0]!, e.floats(reversal, [9, 9])])[0]!, e.ints([n, n, 3, 3])])[0]!,
  });
  const way = (name: string, first: boolean): Emit => (e, [w]) => {
    if (first) return [flipped(e, e.node("Transpose", [w!], perm(1, 0, 2, 3))[0]!)[name]!()];
    return e.node("Transpose", [flipped(e, w!)[name]!()], perm(1, 0, 2, 3));
  };
  pieces[`flip weight ${n}`] = {
    inputs: [[n, n, 3, 3]],
    output: [n, n, 3, 3],
    ways: {
      slice: way("slice", true), slice1: way("slice1", true), gather: way("gather", true), product: way("product", true), productFirst: way("product", false),
      splitConcat: (e, [w]) => {
        // [O,C,9] → [9,C,O] reversed → [C,O,9]
        const t = e.node("Transpose", [e.node("Reshape", [w!, e.ints([n, n, 9])])[0]!], perm(2, 1, 0))[0]!;
        const g = e.node("Gather", [t, e.int32s([8, 7, 6, 5, 4, 3, 2, 1, 0], [9])], { axis: 0 })[0]!;
        return e.node("Reshape", [e.node("Transpose", [g], perm(1, 2, 0))[0]!, e.ints([n, n, 3, 3])]);
      },
    },
  };
}
for (const [b, c, s] of [[32, 64, 16], [32, 128, 8], [32, 128, 4]] as const) {
  const widths = (axes: readonly number[]): number[] => [0, 1].flatMap(() => [0, 1, 2, 3].map((a) => Number(axes.includes(a))));
  pieces[`pad and move batch [${b},${c},${s},${s}]`] = {
    inputs: [[b, c, s, s]],
    output: [c, s + 2, s + 2, b],
    ways: {
      padFirst: (e, [x]) => e.node("Transpose", [e.node("Pad", [x!, e.ints(widths([2, 3]))])[0]!], perm(1, 2, 3, 0)),
      moveFirst: (e, [x]) => e.node("Pad", [e.node("Transpose", [x!], perm(1, 2, 3, 0))[0]!, e.ints(widths([1, 2]))]),
      move2d: (e, [x]) => {
        const t = e.node("Transpose", [e.node("Reshape", [x!, e.ints([b, c * s * s])])[0]!], perm(1, 0))[0]!;
        return e.node("Pad", [e.node("Reshape", [t, e.ints([c, s, s, b])])[0]!, e.ints(widths([1, 2]))]);
      },
      concat: (e, [x]) => {
        const t = e.node("Reshape", [e.node("Transpose", [e.node("Reshape", [x!, e.ints([b, c * s * s])])[0]!], perm(1, 0))[0]!, e.ints([c, s, s * b])])[0]!;
        const side = e.floats(new Float32Array(c * s * b), [c, s, b]);
        const row = e.floats(new Float32Array(c * (s + 2) * b), [c, 1, (s + 2) * b]);
        const wide = e.node("Concat", [side, t, side], { axis: 2 })[0]!;
        return e.node("Reshape", [e.node("Concat", [row, wide, row], { axis: 1 })[0]!, e.ints([c, s + 2, s + 2, b])]);
      },
    },
  };
}
for (const [b, c, s] of [[32, 64, 256], [32, 128, 64], [12, 32, 4096], [1, 320, 4096]] as const) {
  pieces[`norm affine gradient [${b},${c},${s}]`] = {
    inputs: [[b, c, s], [b, c, s]],
    output: [c],
    ways: {
      reduceBoth: (e, [x, g]) => e.node("ReduceSum", [e.node("Mul", [x!, g!])[0]!, e.ints([0, 2])], { keepdims: 0 }),
      reduceTwice: (e, [x, g]) => e.node("ReduceSum", [e.node("ReduceSum", [e.node("Mul", [x!, g!])[0]!, e.ints([2])], { keepdims: 0 })[0]!, e.ints([0])], { keepdims: 0 }),
      onesProduct: (e, [x, g]) => e.node("ReduceSum", [e.node("MatMul", [e.node("Mul", [x!, g!])[0]!, e.floats(new Float32Array(s).fill(1), [s, 1])])[0]!, e.ints([0, 2])], { keepdims: 0 }),
      rowProducts: (e, [x, g]) => {
        const [left, right] = [e.node("Reshape", [x!, e.ints([b * c, 1, s])])[0]!, e.node("Reshape", [g!, e.ints([b * c, 1, s])])[0]!];
        return e.node("ReduceSum", [e.node("Reshape", [e.node("FusedMatMul", [left, right], { transB: 1 }, ms)[0]!, e.ints([b, c])])[0]!, e.ints([0])], { keepdims: 0 });
      },
    },
  };
  pieces[`bias gradient [${b},${c},${s}]`] = {
    inputs: [[b, c, s]],
    output: [c],
    ways: {
      reduceBoth: (e, [x]) => e.node("ReduceSum", [x!, e.ints([0, 2])], { keepdims: 0 }),
      reduceTwice: (e, [x]) => e.node("ReduceSum", [e.node("ReduceSum", [x!, e.ints([2])], { keepdims: 0 })[0]!, e.ints([0])], { keepdims: 0 }),
      batchFirst: (e, [x]) => e.node("ReduceSum", [e.node("ReduceSum", [x!, e.ints([0])], { keepdims: 0 })[0]!, e.ints([1])], { keepdims: 0 }),
    },
  };
}
for (const [rows, n] of [[2048, 128], [512, 128], [2048, 1024], [4096, 320]] as const) {
  pieces[`row sum [${rows},${n}]`] = {
    inputs: [[rows, n]],
    output: [n],
    ways: {
      reduce: (e, [x]) => e.node("ReduceSum", [x!, e.ints([0])], { keepdims: 0 }),
      ones: (e, [x]) => e.node("Reshape", [e.node("MatMul", [e.floats(new Float32Array(rows).fill(1), [1, rows]), x!])[0]!, e.ints([n])]),
      twoSteps: (e, [x]) => e.node("ReduceSum", [e.node("ReduceSum", [e.node("Reshape", [x!, e.ints([rows / 32, 32, n])])[0]!, e.ints([1])], { keepdims: 0 })[0]!, e.ints([0])], { keepdims: 0 }),
    },
  };
}
for (const [rows, k, n] of [[2048, 128, 128], [2048, 128, 1024], [512, 512, 128]] as const) {
  pieces[`linear with bias [${rows},${k}]→${n}`] = {
    inputs: [[rows, k], [n, k], [n]],
    output: [rows, n],
    ways: {
      productAdd: (e, [x, w, b]) => e.node("Add", [e.node("FusedMatMul", [x!, w!], { transB: 1 }, ms)[0]!, b!]),
      gemm: (e, [x, w, b]) => e.node("Gemm", [x!, w!, b!], { transB: 1 }),
    },
  };
  pieces[`linear weight gradient [${rows},${k}]→${n}`] = {
    inputs: [[rows, n], [rows, k]],
    output: [n, k],
    ways: {
      fused: (e, [g, x]) => e.node("FusedMatMul", [g!, x!], { transA: 1 }, ms),
      gemm: (e, [g, x]) => e.node("Gemm", [g!, x!], { transA: 1 }),
      transposed: (e, [g, x]) => e.node("MatMul", [e.node("Transpose", [g!], perm(1, 0))[0]!, x!]),
    },
  };
}
pieces["conv with bias [32,64,16,16]"] = {
  inputs: [[32, 64, 16, 16], [64, 64, 3, 3], [64]],
  output: [32, 64, 16, 16],
  ways: {
    add: (e, [x, w, b]) => e.node("Add", [e.node("Conv", [x!, w!], { kernel_shape: { ints: [3, 3] }, pads: { ints: [1, 1, 1, 1] } })[0]!, e.node("Reshape", [b!, e.ints([1, 64, 1, 1])])[0]!]),
    inside: (e, [x, w, b]) => e.node("Conv", [x!, w!, b!], { kernel_shape: { ints: [3, 3] }, pads: { ints: [1, 1, 1, 1] } }),
  },
};

for (const [b, c, o, s] of [[32, 128, 128, 4], [32, 256, 128, 4], [32, 128, 128, 8], [4, 128, 128, 4]] as const) {
  pieces[`small conv [${b},${c},${s},${s}]→${o}`] = {
    inputs: [[b, c, s, s], [o, c, 3, 3]],
    output: [b, o, s, s],
    ways: {
      conv: (e, [x, w]) => e.node("Conv", [x!, w!], { kernel_shape: { ints: [3, 3] }, pads: { ints: [1, 1, 1, 1] } }),
      unfolded: (e, [x, w]) => {
        const padded = e.node("Pad", [e.node("Transpose", [x!], perm(1, 2, 3, 0))[0]!, e.ints([0, 1, 1, 0, 0, 1, 1, 0])])[0]!;
        const cuts = Array.from({ length: 9 }, (_, i) => {
          const [y, z] = [Math.floor(i / 3), i % 3];
          return e.node("Slice", [padded, e.ints([y, z]), e.ints([y + s, z + s]), e.ints([1, 2])])[0]!;
        });
        const columns = e.node("Reshape", [e.node("Concat", cuts, { axis: 0 })[0]!, e.ints([9 * c, s * s * b])])[0]!;
        const kernel = e.node("Reshape", [e.node("Transpose", [e.node("Reshape", [w!, e.ints([o, c, 9])])[0]!], perm(0, 2, 1))[0]!, e.ints([o, 9 * c])])[0]!;
        const y = e.node("Reshape", [e.node("MatMul", [kernel, columns])[0]!, e.ints([o, s, s, b])])[0]!;
        return e.node("Transpose", [y], perm(3, 0, 1, 2));
      },
      unfoldedPerKernelSum: (e, [x, w]) => {
        const padded = e.node("Pad", [x!, e.ints([0, 0, 1, 1, 0, 0, 1, 1])])[0]!;
        const cuts = Array.from({ length: 9 }, (_, i) => {
          const [y, z] = [Math.floor(i / 3), i % 3];
          return e.node("Reshape", [e.node("Slice", [padded, e.ints([y, z]), e.ints([y + s, z + s]), e.ints([2, 3])])[0]!, e.ints([b, c, 1, s * s])])[0]!;
        });
        const columns = e.node("Reshape", [e.node("Concat", cuts, { axis: 2 })[0]!, e.ints([b, 9 * c, s * s])])[0]!;
        return e.node("Reshape", [e.node("MatMul", [e.node("Reshape", [w!, e.ints([o, 9 * c])])[0]!, columns])[0]!, e.ints([b, o, s, s])]);
      },
    },
  };
}

const backend = onnxBackend(ort as unknown as OnnxRuntime, { threads: 2 });
for (const [title, { inputs, output, ways }] of Object.entries(pieces)) {
  if (process.argv[2] && !title.includes(process.argv[2])) continue;
  const feeds = Object.fromEntries(inputs.map((shape, i) => [`x${i}`, Float32Array.from(normal({ seed: 1, stream: "x", indices: [i] }, shape.reduce((a, b) => a * b, 1)))]));
  const runs = [];
  for (const [name, onnx] of Object.entries(ways)) {
    // The sum at the end keeps the copy of a large output out of the measurement.
    const operator: Operator = { name, infer: () => [{ shape: [], dtype: "float32" }], derivative: { notDifferentiable: "a measurement" }, onnx: (e, { inputs: names }) => e.node("ReduceMax", onnx(e, names).slice(0, 1), { keepdims: 0 }), reference: () => [] };
    const exe = await backend.compile(program({ y: apply1(operator, inputs.map((shape, i) => input(`x${i}`, shape))) }));
    runs.push({ name, exe, times: [] as number[] });
  }
  const expected = (await runs[0]!.exe.run(feeds))["y"]!.data[0]!;
  const start = performance.now();
  for (let i = 0; i < 60 && (i < 5 || performance.now() - start < 800); i++) for (const r of runs) {
    const t = performance.now();
    const y = (await r.exe.run(feeds))["y"]!.data[0]!;
    r.times.push(performance.now() - t);
    if (Math.abs(y - expected) > 1e-3 * Math.abs(expected)) throw new Error(`${title}: ${r.name} gives ${y}, not ${expected}`);
  }
  console.log(`${title.padEnd(44)} ${runs.map((r) => `${r.name} ${r.times.toSorted((a, b) => a - b)[Math.floor(r.times.length / 4)]!.toFixed(3)}`).join("  ")}  (output ${output.join("×")})`);
  for (const { exe } of runs) await exe.dispose();
}
