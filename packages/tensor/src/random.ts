import { sha256 } from "@noble/hashes/sha2.js";
import { utf8ToBytes } from "@noble/hashes/utils.js";

/** Address of a random tensor: the same address always gives the same numbers, on every machine, in any order of drawing. */
export interface RandomKey {
  /** The run's seed, any integer. */
  readonly seed: number | bigint;
  /** What the numbers are for, e.g. `"noise"`; different streams are independent. */
  readonly stream: string;
  /** Where in the stream, e.g. `[iteration, promptIndex, step]`. */
  readonly indices: readonly number[];
}

/** High and low 32 bits of a 32×32-bit product, without bigints. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const carry = (middle & 0xffff) + aLow * bHigh;
  return (aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(carry / 0x10000)) >>> 0;
}

/**
 * Philox 4×32 with 10 rounds: four 32-bit words from a 128-bit counter and a 64-bit key.
 *
 * Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011; the known answers of that paper are in the test.
 */
export function philox4x32(
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(0xd2511f53, c0);
    const low0 = Math.imul(0xd2511f53, c0) >>> 0;
    const high1 = multiplyHigh(0xcd9e8d57, c2);
    const low1 = Math.imul(0xcd9e8d57, c2) >>> 0;
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** `count` uniform 32-bit words of the address. */
function words(key: RandomKey, count: number): Uint32Array {
  const digest = sha256(utf8ToBytes(JSON.stringify([key.seed.toString(), key.stream, key.indices])));
  const view = new DataView(digest.buffer, digest.byteOffset, digest.byteLength);
  const philoxKey: [number, number] = [view.getUint32(0), view.getUint32(4)];
  const high: [number, number] = [view.getUint32(8), view.getUint32(12)];
  const result = new Uint32Array(Math.ceil(count / 4) * 4);
  for (let block = 0; block * 4 < count; block++) {
    result.set(philox4x32([block, 0, ...high], philoxKey), block * 4);
  }
  return result;
}

/** Uniform numbers in the open interval (0, 1) with 32-bit resolution. */
export function uniform(key: RandomKey, count: number): Float64Array {
  const bits = words(key, count);
  return Float64Array.from({ length: count }, (_, i) => (bits[i]! + 0.5) / 0x100000000);
}

/** Standard normal numbers (Box–Muller in float64; |z| ≤ 6.7). */
export function normal(key: RandomKey, count: number): Float64Array {
  const pairs = Math.ceil(count / 2);
  const bits = words(key, 2 * pairs);
  const result = new Float64Array(2 * pairs);
  for (let i = 0; i < pairs; i++) {
    const radius = Math.sqrt(-2 * Math.log((bits[2 * i]! + 0.5) / 0x100000000));
    const angle = (2 * Math.PI * (bits[2 * i + 1]! + 0.5)) / 0x100000000;
    result[2 * i] = radius * Math.cos(angle);
    result[2 * i + 1] = radius * Math.sin(angle);
  }
  return result.subarray(0, count);
}

/** A permutation of 0..count−1 (Fisher–Yates). */
export function permutation(key: RandomKey, count: number): Uint32Array {
  const draws = uniform(key, count);
  const result = Uint32Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(draws[i]! * (i + 1));
    const swapped = result[i]!;
    result[i] = result[j]!;
    result[j] = swapped;
  }
  return result;
}
