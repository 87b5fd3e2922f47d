import { UsageError } from "../errors.ts";
import { sizeOf } from "../shape.ts";
import { apply1, type Operator, type Tensor } from "../tensor.ts";
import { reshape } from "./shaping.ts";

/** Rows of a table [N,…E] chosen by int32 ids of any shape → [...ids, …E]. Ids must lie in 0..N−1. */
export const takeOperator: Operator = {
  name: "take",
  infer: ([table, ids]) => {
    if (ids!.dtype !== "int32" || table!.shape.length < 1) throw new UsageError("dtype-mismatch", `take: expected int32 ids, got ${ids!.dtype} [${ids!.shape}]`);
    return [{ shape: [...ids!.shape, ...table!.shape.slice(1)], dtype: table!.dtype }];
  },
  derivative: {
    rule: ({ inputs: [table, ids], cotangents }) => {
      const rows = reshape(cotangents[0]!, [sizeOf(ids!.shape), -1]);
      return [reshape(scatterAddRows(reshape(ids!, [-1]), rows, table!.shape[0]!), table!.shape), undefined];
    },
  },
  onnx: (emit, { inputs }) => emit.node("Gather", inputs, { axis: 0 }),
  reference: ([table, ids], _, [output]) => {
    const width = sizeOf(table!.shape.slice(1));
    const result = new Float64Array(sizeOf(output!.shape));
    ids!.data.forEach((id, i) => {
      if (!(id >= 0 && id < table!.shape[0]!)) throw new UsageError("id-out-of-range", `take: expected ids in [0, ${table!.shape[0]}), got ${id}`);
      result.set(table!.data.subarray(id * width, (id + 1) * width), i * width);
    });
    return [result];
  },
};

type DepthAttributes = { readonly depth: number };

/** Sums row i of the values [M,E] into row ids[i] of a zero table [depth,E]. */
export const scatterAddRowsOperator: Operator<DepthAttributes> = {
  name: "scatterAddRows",
  infer: ([ids, rows], { depth }) => {
    if (ids!.shape.length !== 1 || rows!.shape.length !== 2 || ids!.shape[0] !== rows!.shape[0]) {
      throw new UsageError("shape-mismatch", `scatterAddRows: expected ids [M] and rows [M,E], got [${ids!.shape}] and [${rows!.shape}]`);
    }
    return [{ shape: [depth, rows!.shape[1]!], dtype: "float32" }];
  },
  derivative: { rule: ({ inputs: [ids], cotangents }) => [undefined, take(cotangents[0]!, ids!)] },
  // A product with the one-hot matrix: onnxruntime's ScatterND(add) races on duplicate indices with several threads.
  onnx: (emit, { inputs: [ids, rows], inputTypes, attributes: { depth } }) => {
    const count = inputTypes[0]!.shape[0]!;
    const range = emit.int32s(Array.from({ length: depth }, (_, i) => i), [depth, 1]);
    const hot = emit.node("Cast", emit.node("Equal", [range, emit.node("Reshape", [ids!, emit.ints([1, count])])[0]!]), { to: 1 });
    return emit.node("MatMul", [hot[0]!, rows!]);
  },
  reference: ([ids, rows], { depth }) => {
    const width = rows!.shape[1]!;
    const result = new Float64Array(depth * width);
    ids!.data.forEach((id, i) => {
      for (let j = 0; j < width; j++) result[id * width + j]! += rows!.data[i * width + j]!;
    });
    return [result];
  },
};

/** 1 where the last axis's position equals the id, else 0: int32 ids → float32 [...ids, depth]. */
export const oneHotOperator: Operator<DepthAttributes> = {
  name: "oneHot",
  infer: ([ids], { depth }) => [{ shape: [...ids!.shape, depth], dtype: "float32" }],
  derivative: { notDifferentiable: "its input is an index" },
  onnx: (emit, { inputs: [ids], inputTypes, attributes: { depth } }) => {
    const column = emit.node("Reshape", [ids!, emit.ints([...inputTypes[0]!.shape, 1])])[0]!;
    const range = emit.int32s(Array.from({ length: depth }, (_, i) => i), [depth]);
    return emit.node("Cast", emit.node("Equal", [column, range]), { to: 1 });
  },
  reference: ([ids], { depth }) => {
    const result = new Float64Array(ids!.data.length * depth);
    ids!.data.forEach((id, i) => {
      if (id >= 0 && id < depth) result[i * depth + id] = 1;
    });
    return [result];
  },
};

/** Rows of a table [N,…E] chosen by int32 ids of any shape → [...ids, …E]. */
export const take = (table: Tensor, ids: Tensor): Tensor => apply1(takeOperator, [table, ids]);
/** Sums rows [M,E] into a zero table [depth,E] at ids [M]; duplicates add up, whatever the number of threads. */
export const scatterAddRows = (ids: Tensor, rows: Tensor, depth: number): Tensor => apply1(scatterAddRowsOperator, [ids, rows], { depth });
/** int32 ids → float32 [...ids, depth], 1 at the id. */
export const oneHot = (ids: Tensor, depth: number): Tensor => apply1(oneHotOperator, [ids], { depth });
