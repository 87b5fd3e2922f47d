import { UsageError } from "../errors.ts";
import { sizeOf } from "../shape.ts";
import { apply1, type Operator, type Tensor } from "../tensor.ts";
import { add, mul, sub } from "./elementwise.ts";
import { constant } from "./leaves.ts";
import { matmul } from "./matmul.ts";
import { softmax, sum } from "./reductions.ts";
import { concat, reshape, sliceAxis, transpose } from "./shaping.ts";

type AttentionAttributes = { readonly heads: number; readonly scale: number; readonly causal: boolean; readonly chunkBytes?: number };

/** By default, attention scores above this size are recomputed in the backward pass a few heads at a time. */
const CHUNK_BYTES = 32 * 2 ** 20;

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

function causalMask(queries: number, keys: number): Tensor {
  const values = Array.from({ length: queries * keys }, (_, i) => (i % keys > Math.floor(i / keys) ? -1e9 : 0));
  return constant(values, [queries, keys]);
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
  const ds = mul(p, sub(matmul(g, v, { transposeB: true }), sum(mul(g, o), -1, true)));
  return [matmul(ds, k, { alpha: scale }), matmul(ds, q, { transposeA: true, alpha: scale }), dv];
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
  onnx: (emit, { inputs, attributes: { heads, scale, causal } }) =>
    emit.node(
      "MultiHeadAttention",
      inputs,
      { num_heads: heads, scale: { float: scale }, ...(causal ? { unidirectional: 1 } : {}) },
      { domain: "com.microsoft" },
    ),
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
