import { add, cast, less, mul, where } from "../../../ops/elementwise.ts";
import { oneHot, take } from "../../../ops/indexing.ts";
import { reshape, sliceAxis, transpose } from "../../../ops/shaping.ts";
import { type Shape, sizeOf, stridesOf } from "../../../shape.ts";
import type { Tensor } from "../../../tensor.ts";
import { knownValues, type NodeContext, type NodeMapping } from "../node-context.ts";
import { takeAxis, wholes } from "./helpers.ts";

/** Ids counted from the end where negative. Known ones are checked; computed ones are trusted, as every backend checks them. */
function upright(node: NodeContext, ids: Tensor, size: number): Tensor {
  if (ids.dtype !== "int32") throw node.error(`expected whole numbers as ids, got ${ids.dtype}`);
  const known = knownValues(ids);
  if (!known) return where(less(ids, 0), add(ids, size), ids);
  if (known.some((id) => !(id >= -size && id < size))) throw node.error(`expected ids between ${-size} and ${size - 1}, got ${known.find((id) => !(id >= -size && id < size))}`);
  return wholes(Array.from(known, (id) => (id < 0 ? id + size : id)), ids.shape);
}

function gather(node: NodeContext): Tensor {
  const x = node.x(0);
  const axis = node.axis(node.int("axis", 0), x.shape.length);
  const ids = upright(node, node.x(1), x.shape[axis]!);
  const known = knownValues(ids);
  const first = known?.[0];
  // Neighbours are a slice, whose derivative is cheaper.
  if (known && first !== undefined && known.every((id, i) => id === first + i)) {
    return reshape(sliceAxis(x, axis, first, first + known.length), x.shape.toSpliced(axis, 1, ...ids.shape));
  }
  return takeAxis(x, axis, ids);
}

/** Linear ids of cells from one id per axis: Σ id·stride. */
function linearIds(ids: readonly Tensor[], strides: readonly number[]): Tensor {
  return ids.map((id, i) => mul(id, strides[i]!)).reduce((a, b) => add(a, b));
}

/** 0, 1, 2, … along one axis of a shape, of size 1 on the others. */
function positions(node: NodeContext, shape: Shape, axis: number): Tensor {
  const size = shape[axis]!;
  node.affordable([size]);
  return wholes(Array.from({ length: size }, (_, i) => i), shape.map((_, i) => (i === axis ? size : 1)));
}

function gatherNd(node: NodeContext): Tensor {
  const [x, indices] = [node.x(0), node.x(1)];
  const depth = indices.shape.at(-1);
  const batch = node.int("batch_dims", 0);
  if (depth === undefined || batch < 0 || depth + batch > x.shape.length || depth < 1 || batch >= indices.shape.length) {
    throw node.error(`expected indices of at most ${x.shape.length - batch} axes, got [${indices.shape}] into [${x.shape}]`);
  }
  const addressed = x.shape.slice(0, batch + depth);
  const outer = indices.shape.slice(0, -1);
  const strides = stridesOf(addressed);
  const columns = Array.from({ length: depth }, (_, i) => upright(node, reshape(sliceAxis(indices, -1, i, i + 1), outer), addressed[batch + i]!));
  // The batch's own position is one more index per batch axis.
  const own = Array.from({ length: batch }, (_, axis) => {
    if (outer[axis] !== x.shape[axis]) throw node.error(`expected equal batch axes, got [${indices.shape}] into [${x.shape}]`);
    return positions(node, outer, axis);
  });
  return take(reshape(x, [sizeOf(addressed), ...x.shape.slice(batch + depth)]), linearIds([...own, ...columns], strides));
}

function gatherElements(node: NodeContext): Tensor {
  const [x, indices] = [node.x(0), node.x(1)];
  const rank = x.shape.length;
  if (indices.shape.length !== rank || rank === 0) throw node.error(`expected as many axes as [${x.shape}], got [${indices.shape}]`);
  const axis = node.axis(node.int("axis", 0), rank);
  const ids = indices.shape.map((_, i) => (i === axis ? upright(node, indices, x.shape[axis]!) : positions(node, indices.shape, i)));
  if (indices.shape.some((n, i) => i !== axis && n > x.shape[i]!)) throw node.error(`expected indices inside [${x.shape}], got [${indices.shape}]`);
  return take(reshape(x, [sizeOf(x.shape)]), linearIds(ids, stridesOf(x.shape)));
}

function oneHotOf(node: NodeContext): Tensor {
  const ids = cast(node.x(0), "int32");
  const [depth, values] = [node.scalar(1), node.x(2)];
  if (!(Number.isInteger(depth) && depth > 0) || values.shape.length !== 1 || values.shape[0] !== 2) throw node.error(`expected a positive depth and two values, got ${depth} and [${values.shape}]`);
  node.affordable([depth]);
  const rank = ids.shape.length + 1;
  const axis = node.axis(node.int("axis", -1), rank);
  const hot = oneHot(where(less(ids, 0), add(ids, depth), ids), depth);
  const order = Array.from({ length: rank }, (_, i) => (i === axis ? rank - 1 : i < axis ? i : i - 1));
  const [off, on] = [0, 1].map((i) => reshape(sliceAxis(values, 0, i, i + 1), []));
  return where(cast(transpose(hot, order), "bool"), on!, off!);
}

export const indexingNodes: Readonly<Record<string, NodeMapping>> = {
  Gather: gather,
  GatherND: gatherNd,
  GatherElements: gatherElements,
  OneHot: oneHotOf,
};
