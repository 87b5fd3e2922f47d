import { add, cast, less, mul, where } from "../../../ops/elementwise.ts";
import { oneHot, take } from "../../../ops/indexing.ts";
import { concat, reshape, sliceAxis, transpose } from "../../../ops/shaping.ts";
import { sameShape, type Shape, sizeOf, stridesOf } from "../../../shape.ts";
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

/** Rows of x [N,…] replaced by rows of the updates [M,…] at known places, the last of several at one place. */
function replaced(node: NodeContext, x: Tensor, updates: Tensor, places: readonly number[]): Tensor {
  const count = x.shape[0]!;
  node.affordable([count]);
  const from = Array.from({ length: count }, (_, i) => i);
  places.forEach((place, i) => (from[place] = count + i));
  return take(concat([x, updates], 0), wholes(from));
}

/** Both scatters place what they are given; sums and products over equal places are another matter. */
function checkScatter(node: NodeContext): void {
  node.choice("reduction", ["none"], "none");
  if (node.x(0).dtype !== node.x(2).dtype) throw node.error(`expected updates of type ${node.x(0).dtype}, got ${node.x(2).dtype}`);
}

function scatterNd(node: NodeContext): Tensor {
  checkScatter(node);
  const [x, indices, updates] = [node.x(0), node.x(1), node.x(2)];
  const depth = indices.shape.at(-1);
  const expected = [...indices.shape.slice(0, -1), ...x.shape.slice(depth)];
  if (depth === undefined || depth < 1 || depth > x.shape.length || !sameShape(updates.shape, expected)) {
    throw node.error(`expected updates [${expected}] for indices [${indices.shape}] into [${x.shape}], got [${updates.shape}]`);
  }
  const addressed = x.shape.slice(0, depth);
  const ids = node.intsOf(1);
  const strides = stridesOf(addressed);
  const places = Array.from({ length: ids.length / depth }, (_, row) =>
    strides.reduce((place, stride, i) => {
      const [id, size] = [ids[row * depth + i]!, addressed[i]!];
      if (!(id >= -size && id < size)) throw node.error(`expected ids between ${-size} and ${size - 1}, got ${id}`);
      return place + stride * (id < 0 ? id + size : id);
    }, 0),
  );
  const rest = x.shape.slice(depth);
  return reshape(replaced(node, reshape(x, [sizeOf(addressed), ...rest]), reshape(updates, [places.length, ...rest]), places), x.shape);
}

function scatterElements(node: NodeContext): Tensor {
  checkScatter(node);
  const [x, indices, updates] = [node.x(0), node.x(1), node.x(2)];
  const rank = x.shape.length;
  const axis = node.axis(node.int("axis", 0), rank);
  if (!sameShape(indices.shape, updates.shape) || indices.shape.length !== rank || indices.shape.some((n, i) => i !== axis && n > x.shape[i]!)) {
    throw node.error(`expected indices and updates of one shape inside [${x.shape}], got [${indices.shape}] and [${updates.shape}]`);
  }
  const [own, into] = [stridesOf(indices.shape), stridesOf(x.shape)];
  const size = x.shape[axis]!;
  const places = node.intsOf(1).map((id, linear) => {
    if (!(id >= -size && id < size)) throw node.error(`expected ids between ${-size} and ${size - 1}, got ${id}`);
    return into.reduce((place, stride, i) => place + stride * (i === axis ? (id < 0 ? id + size : id) : Math.floor(linear / own[i]!) % indices.shape[i]!), 0);
  });
  return reshape(replaced(node, reshape(x, [sizeOf(x.shape)]), reshape(updates, [places.length]), places), x.shape);
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
  ScatterND: scatterNd,
  ScatterElements: scatterElements,
  OneHot: oneHotOf,
};
