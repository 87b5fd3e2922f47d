import { UsageError } from "../errors.ts";
import { sizeOf } from "../shape.ts";
import { apply1, type EncodeContext, type OnnxEmitter, type Operator, type Tensor } from "../tensor.ts";
import { add, mul, neg, sub } from "./elementwise.ts";
import { constant, filled } from "./leaves.ts";
import { matmul } from "./matmul.ts";
import { softmax, sum } from "./reductions.ts";
import { concat, reshape, sliceAxis, transpose } from "./shaping.ts";

type AttentionAttributes = { readonly heads: number; readonly scale: number; readonly causal: boolean; readonly chunkBytes?: number };

/** By default, attention scores above this size are recomputed in the backward pass a few heads at a time. */
const CHUNK_BYTES = 32 * 2 ** 20;

/** From this many keys on the correction of the scores' gradient is subtracted inside the product, as one more column, instead of in a pass over all scores. */
const MANY_KEYS = 512;

/** x [B,h,L,d] with one more column. */
function withColumn(x: Tensor, column: Tensor | 1): Tensor {
  return concat([x, column === 1 ? filled(1, x.shape.with(-1, 1)) : column], 3);
}

/** [B,L,heads·d] → [B,heads,L,d]. */
function splitHeads(x: Tensor, heads: number): Tensor {
  const [batch, length, width] = x.shape as [number, number, number];
  return transpose(reshape(x, [batch, length, heads, width / heads]), [0, 2, 1, 3]);
}

/** [B,heads,L,d] → [B,L,heads·d]. */
function joinHeads(x: Tensor): Tensor {
  const [batch, heads, length, width] = x.shape as [number, number, number, number];
  return reshape(transpose(x, [0, 2, 1, 3]), [batch, length, heads * width]);
}

/** What is added to the scores of queries `from` to `to`: nearly minus infinity at later keys. */
function maskValues(from: number, to: number, keys: number): number[] {
  return Array.from({ length: (to - from) * keys }, (_, i) => (i % keys > from + Math.floor(i / keys) ? -1e9 : 0));
}

function causalMask(queries: number, keys: number): Tensor {
  return constant(maskValues(0, queries, keys), [queries, keys]);
}

/** Gradients of some heads: all arguments [B,h,L or S,d]. */
function headGradients(
  [q, k, v, o, g]: readonly [Tensor, Tensor, Tensor, Tensor, Tensor],
  { scale, causal }: AttentionAttributes,
): [Tensor, Tensor, Tensor] {
  const scores = matmul(q, k, { transposeB: true, alpha: scale });
  const p = softmax(causal ? add(scores, causalMask(q.shape[2]!, k.shape[2]!)) : scores);
  const dv = matmul(p, g, { transposeA: true });
  // Σ_j p_j dp_j = Σ dO·O, a sum over the head's width instead of over the keys.
  const correction = sum(mul(g, o), -1, true);
  const ds = mul(p, k.shape[2]! < MANY_KEYS ? sub(matmul(g, v, { transposeB: true }), correction) : matmul(withColumn(g, neg(correction)), withColumn(v, 1), { transposeB: true }));
  return [matmul(ds, k, { alpha: scale }), matmul(ds, q, { transposeA: true, alpha: scale }), dv];
}

/** WebGPU guarantees buffers of 128 MiB; scores are kept to half of that. */
const WEBGPU_SCORE_BYTES = 64 * 2 ** 20;

/**
 * The same by plain products, some heads and rows at a time: onnxruntime's WebGPU kernel for attention is wrong from about 64 queries on where the adapter runs
 * few lanes together (errors of a tenth, measured on Mesa's llvmpipe with onnxruntime 1.30).
 */
function encodeByProducts(emit: OnnxEmitter, { inputs, inputTypes, attributes: { heads, scale, causal } }: EncodeContext<AttentionAttributes>): readonly string[] {
  const [batch, queries, width] = inputTypes[0]!.shape as [number, number, number];
  const keys = inputTypes[1]!.shape[1]!;
  const d = width / heads;
  const apart = (x: string, length: number, perm: readonly number[]): string =>
    emit.node("Transpose", emit.node("Reshape", [x, emit.ints([batch, length, heads, d])]), { perm: { ints: perm } })[0]!;
  const q = emit.node("Mul", [apart(inputs[0]!, queries, [0, 2, 1, 3]), emit.floats([scale], [])])[0]!;
  const k = apart(inputs[1]!, keys, [0, 2, 3, 1]);
  const v = apart(inputs[2]!, keys, [0, 2, 1, 3]);
  const rowBytes = batch * keys * 4;
  const rowsAtATime = Math.max(1, Math.min(queries, Math.floor(WEBGPU_SCORE_BYTES / rowBytes)));
  const headsAtATime = Math.max(1, Math.min(heads, Math.floor(WEBGPU_SCORE_BYTES / (rowBytes * rowsAtATime))));
  const part = (x: string, axis: number, from: number, to: number, size: number): string =>
    from === 0 && to === size ? x : emit.node("Slice", [x, emit.ints([from]), emit.ints([to]), emit.ints([axis])])[0]!;
  const joined = (parts: readonly string[], axis: number): string => (parts.length === 1 ? parts[0]! : emit.node("Concat", parts, { axis })[0]!);
  const byHeads: string[] = [];
  for (let head = 0; head < heads; head += headsAtATime) {
    const lastHead = Math.min(heads, head + headsAtATime);
    const [someQ, someK, someV] = [q, k, v].map((x) => part(x, 1, head, lastHead, heads)) as [string, string, string];
    const byRows: string[] = [];
    for (let row = 0; row < queries; row += rowsAtATime) {
      const lastRow = Math.min(queries, row + rowsAtATime);
      let scores = emit.node("MatMul", [part(someQ, 2, row, lastRow, queries), someK])[0]!;
      if (causal) scores = emit.node("Add", [scores, emit.floats(maskValues(row, lastRow, keys), [lastRow - row, keys])])[0]!;
      byRows.push(emit.node("MatMul", [emit.node("Softmax", [scores], { axis: -1 })[0]!, someV])[0]!);
    }
    byHeads.push(joined(byRows, 2));
  }
  const together = emit.node("Transpose", [joined(byHeads, 1)], { perm: { ints: [0, 2, 1, 3] } });
  return emit.node("Reshape", [together[0]!, emit.ints([batch, queries, width])]);
}

/** softmax(scale·q·kᵀ)·v per head: q [B,L,E], k and v [B,S,E], E = heads·d. */
export const attentionOperator: Operator<AttentionAttributes> = {
  name: "attention",
  infer: ([q, k, v], { heads, causal }) => {
    const describe = `q [${q!.shape}], k [${k!.shape}], v [${v!.shape}], ${heads} heads`;
    const fits =
      [q, k, v].every((x) => x!.shape.length === 3 && x!.shape[0] === q!.shape[0]) &&
      q!.shape[2] === k!.shape[2] && k!.shape[2] === v!.shape[2] && k!.shape[1] === v!.shape[1] && q!.shape[2]! % heads === 0;
    if (!fits) throw new UsageError("shape-mismatch", `attention: expected q [B,L,E], k and v [B,S,E] with E divisible by the heads, got ${describe}`);
    if (causal && q!.shape[1] !== k!.shape[1]) throw new UsageError("shape-mismatch", `attention: expected equally many queries and keys when causal, got ${describe}`);
    return [{ shape: q!.shape, dtype: "float32" }];
  },
  derivative: {
    rule: ({ inputs, outputs, cotangents, attributes }) => {
      const { heads, chunkBytes = CHUNK_BYTES } = attributes;
      const [q, k, v, o, g] = [...inputs, outputs[0]!, cotangents[0]!].map((x) => splitHeads(x, heads)) as [Tensor, Tensor, Tensor, Tensor, Tensor];
      const [batch, , queries] = q.shape as [number, number, number, number];
      const keys = k.shape[2]!;
      const perHead = batch * queries * keys * 4;
      let perChunk = Math.max(1, Math.min(heads, Math.floor(chunkBytes / perHead)));
      while (heads % perChunk !== 0) perChunk--;
      if (perChunk === heads) return headGradients([q, k, v, o, g], attributes).map(joinHeads);
      const chunks = Array.from({ length: heads / perChunk }, (_, i) => {
        const part = (x: Tensor): Tensor => sliceAxis(x, 1, i * perChunk, (i + 1) * perChunk);
        const gradients = headGradients([part(q), part(k), part(v), part(o), part(g)], attributes);
        // Tied together so that one chunk is finished, and its scores freed, before the next begins.
        const tied = concat(gradients, 2);
        const bounds = [0, queries, queries + keys, queries + 2 * keys];
        return [0, 1, 2].map((j) => sliceAxis(tied, 2, bounds[j]!, bounds[j + 1]!));
      });
      return [0, 1, 2].map((j) => joinHeads(concat(chunks.map((chunk) => chunk[j]!), 1)));
    },
  },
  onnx: (emit, context) => {
    if (emit.provider === "webgpu") return encodeByProducts(emit, context);
    const { heads, scale, causal } = context.attributes;
    return emit.node(
      "MultiHeadAttention",
      context.inputs,
      { num_heads: heads, scale: { float: scale }, ...(causal ? { unidirectional: 1 } : {}) },
      { domain: "com.microsoft" },
    );
  },
  reference: ([q, k, v], { heads, scale, causal }) => {
    const [batch, length, width] = q!.shape as [number, number, number];
    const keys = k!.shape[1]!;
    const d = width / heads;
    const result = new Float64Array(sizeOf(q!.shape));
    const weights = new Float64Array(keys);
    for (let b = 0; b < batch; b++) {
      for (let h = 0; h < heads; h++) {
        for (let i = 0; i < length; i++) {
          const qi = (b * length + i) * width + h * d;
          const count = causal ? i + 1 : keys;
          let largest = -Infinity;
          for (let j = 0; j < count; j++) {
            const kj = (b * keys + j) * width + h * d;
            let score = 0;
            for (let e = 0; e < d; e++) score += q!.data[qi + e]! * k!.data[kj + e]!;
            weights[j] = score * scale;
            largest = Math.max(largest, weights[j]!);
          }
          let total = 0;
          for (let j = 0; j < count; j++) total += weights[j] = Math.exp(weights[j]! - largest);
          for (let j = 0; j < count; j++) {
            const vj = (b * keys + j) * width + h * d;
            for (let e = 0; e < d; e++) result[qi + e]! += (weights[j]! / total) * v!.data[vj + e]!;
          }
        }
      }
    }
    return [result];
  },
};

export interface AttentionOptions {
  readonly heads: number;
  /** Factor of the scores; default 1/√(width per head). */
  readonly scale?: number;
  /** Position i sees positions ≤ i only; default false. */
  readonly causal?: boolean;
  /** Bytes of scores that the backward pass holds at a time, at least one head's; default 32 MiB. */
  readonly chunkBytes?: number;
}

/** softmax(scale·q·kᵀ)·v per head: q [B,L,E], k and v [B,S,E] → [B,L,E], E = heads·d. */
export function attention(q: Tensor, k: Tensor, v: Tensor, { heads, scale, causal = false, chunkBytes }: AttentionOptions): Tensor {
  const attributes = { heads, scale: scale ?? 1 / Math.sqrt(q.shape.at(-1)! / heads), causal };
  return apply1(attentionOperator, [q, k, v], chunkBytes === undefined ? attributes : { ...attributes, chunkBytes });
}
