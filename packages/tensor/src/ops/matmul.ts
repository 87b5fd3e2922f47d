import { UsageError } from "../errors.ts";
import { broadcastShapes, type Shape, sizeOf, stridesOf } from "../shape.ts";
import { apply1, type Operator, type Tensor } from "../tensor.ts";
import { reshape } from "./shaping.ts";

type MatmulAttributes = { readonly transposeA: boolean; readonly transposeB: boolean; readonly alpha: number };

/** Offsets of a batch of matrices under broadcasting. */
function batchOffsets(input: Shape, batch: Shape): number[] {
  const strides = stridesOf(input).slice(0, -2);
  const own = input.slice(0, -2);
  const shift = batch.length - own.length;
  return Array.from({ length: sizeOf(batch) }, (_, linear) => {
    let rest = linear;
    let offset = 0;
    for (let i = batch.length - 1; i >= 0; i--) {
      const position = rest % batch[i]!;
      rest = (rest - position) / batch[i]!;
      if (i >= shift && own[i - shift] !== 1) offset += position * strides[i - shift]!;
    }
    return offset;
  });
}

/** alpha·op(A)·op(B) over the last two axes, batch axes broadcast. */
export const matmulOperator: Operator<MatmulAttributes> = {
  name: "matmul",
  infer: ([a, b], { transposeA, transposeB }) => {
    const describe = `[${a!.shape}]${transposeA ? "ᵀ" : ""}·[${b!.shape}]${transposeB ? "ᵀ" : ""}`;
    if (a!.shape.length < 2 || b!.shape.length < 2 || a!.dtype !== "float32" || b!.dtype !== "float32") {
      throw new UsageError("shape-mismatch", `matmul: expected float32 tensors of two or more axes, got ${describe}`);
    }
    const [m, k] = transposeA ? [a!.shape.at(-1)!, a!.shape.at(-2)!] : [a!.shape.at(-2)!, a!.shape.at(-1)!];
    const [kOther, n] = transposeB ? [b!.shape.at(-1)!, b!.shape.at(-2)!] : [b!.shape.at(-2)!, b!.shape.at(-1)!];
    if (k !== kOther) throw new UsageError("shape-mismatch", `matmul: expected equal inner sizes, got ${describe}`);
    return [{ shape: [...broadcastShapes(a!.shape.slice(0, -2), b!.shape.slice(0, -2), "matmul"), m, n], dtype: "float32" }];
  },
  derivative: {
    rule: ({ inputs: [a, b], cotangents, attributes: { transposeA, transposeB, alpha }, needed }) => {
      const g = cotangents[0]!;
      return [
        needed[0]
          ? transposeA
            ? matmul(b!, g, { transposeA: transposeB, transposeB: true, alpha })
            : matmul(g, b!, { transposeB: !transposeB, alpha })
          : undefined,
        needed[1]
          ? transposeB
            ? matmul(g, a!, { transposeA: true, transposeB: transposeA, alpha })
            : matmul(a!, g, { transposeA: !transposeA, alpha })
          : undefined,
      ];
    },
  },
  onnx: (emit, { inputs: [a, b], inputTypes, attributes: { transposeA, transposeB, alpha } }) => {
    if (!transposeA && !transposeB && alpha === 1) return emit.node("MatMul", [a!, b!]);
    if (emit.provider !== "webgpu") {
      return emit.node(
        "FusedMatMul",
        [a!, b!],
        { transA: Number(transposeA), transB: Number(transposeB), alpha: { float: alpha } },
        { domain: "com.microsoft" },
      );
    }
    const swap = (name: string, rank: number): string =>
      emit.node("Transpose", [name], { perm: { ints: Array.from({ length: rank }, (_, i) => (i < rank - 2 ? i : 2 * rank - 3 - i)) } })[0]!;
    const left = transposeA ? swap(a!, inputTypes[0]!.shape.length) : a!;
    const right = transposeB ? swap(b!, inputTypes[1]!.shape.length) : b!;
    const product = emit.node("MatMul", [left, right]);
    return alpha === 1 ? product : emit.node("Mul", [product[0]!, emit.floats([alpha], [])]);
  },
  reference: ([a, b], { transposeA, transposeB, alpha }, [output]) => {
    const [m, n] = [output!.shape.at(-2)!, output!.shape.at(-1)!];
    const k = a!.shape.at(transposeA ? -2 : -1)!;
    const batch = output!.shape.slice(0, -2);
    const [offsetsA, offsetsB] = [batchOffsets(a!.shape, batch), batchOffsets(b!.shape, batch)];
    const [rowA, stepA] = transposeA ? [1, m] : [k, 1];
    const [stepB, columnB] = transposeB ? [1, k] : [n, 1];
    const result = new Float64Array(sizeOf(output!.shape));
    for (let index = 0; index < offsetsA.length; index++) {
      for (let i = 0; i < m; i++) {
        const to = (index * m + i) * n;
        for (let p = 0; p < k; p++) {
          const left = alpha * a!.data[offsetsA[index]! + i * rowA + p * stepA]!;
          let from = offsetsB[index]! + p * stepB;
          for (let j = 0; j < n; j++, from += columnB) result[to + j]! += left * b!.data[from]!;
        }
      }
    }
    return [result];
  },
};

/**
 * alpha·op(a)·op(b) over the last two axes; batch axes broadcast, `transposeA/B` swap the last two axes of that operand.
 *
 * A product of a batch with one matrix is flattened to two axes, so that the matrix's gradient is a single product.
 */
export function matmul(
  a: Tensor,
  b: Tensor,
  options: { readonly transposeA?: boolean; readonly transposeB?: boolean; readonly alpha?: number } = {},
): Tensor {
  const { transposeA = false, transposeB = false, alpha = 1 } = options;
  if (b.shape.length === 2 && a.shape.length > 2 && !transposeA) {
    const flat = matmul(reshape(a, [-1, a.shape.at(-1)!]), b, options);
    return reshape(flat, [...a.shape.slice(0, -1), flat.shape[1]!]);
  }
  return apply1(matmulOperator, [a, b], { transposeA, transposeB, alpha });
}
