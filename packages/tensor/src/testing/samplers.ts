import { normal, permutation, type RandomKey, uniform } from "../random.ts";

/** Draws numbers of an operator's domain: away from kinks and poles, so that derivatives exist at every point drawn. */
export type Sampler = (key: RandomKey, count: number) => Float64Array;

/** Numbers of a normal distribution. */
export const anyReal: Sampler = (key, count) => normal(key, count);

/** Uniform numbers between two bounds. */
export const between =
  (low: number, high: number): Sampler =>
  (key, count) =>
    uniform(key, count).map((u) => low + u * (high - low));

/** Magnitudes between 0.3 and 2, of either sign. */
export const nonZero: Sampler = (key, count) => uniform(key, count).map((u) => (u < 0.5 ? -2 + 3.4 * u : 0.3 + 3.4 * (u - 0.5)));

/** Numbers at least 0.1 from each other: no ties, whatever the step of a numeric derivative. */
export const distinct: Sampler = (key, count) => Float64Array.from(permutation(key, count), (position) => (position - count / 2) * 0.2 + 0.05);

/** Integers 0 … size − 1, with repetitions. */
export const integers =
  (size: number): Sampler =>
  (key, count) =>
    uniform(key, count).map((u) => Math.floor(u * size));

/** 0 and 1. */
export const truthValues: Sampler = integers(2);

/** Always these numbers. */
export const exactly =
  (...values: readonly number[]): Sampler =>
  () =>
    Float64Array.from(values);
