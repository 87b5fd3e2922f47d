/** Bytes from the first to the last element that a strided tensor reaches. Shape and strides count elements of `size` bytes. */
export function stridedSpanBytes(shape: readonly number[], strides: readonly number[], size: number): number {
  if (shape.includes(0)) return 0;
  return (shape.reduce((last, length, axis) => last + (length - 1) * strides[axis]!, 0) + 1) * size;
}

/** The elements of a strided tensor one after the other, row-major. `stored` begins at its first element. */
export function gatherStrided(stored: Uint8Array, shape: readonly number[], strides: readonly number[], size: number): Uint8Array {
  const count = shape.reduce((product, length) => product * length, 1);
  const bytes = new Uint8Array(count * size);
  const index = new Array<number>(shape.length).fill(0);
  for (let i = 0; i < count; i++) {
    let at = 0;
    for (let axis = 0; axis < shape.length; axis++) at += index[axis]! * strides[axis]!;
    for (let k = 0; k < size; k++) bytes[i * size + k] = stored[at * size + k]!;
    for (let axis = shape.length - 1; axis >= 0 && ++index[axis]! === shape[axis]; axis--) index[axis] = 0;
  }
  return bytes;
}
