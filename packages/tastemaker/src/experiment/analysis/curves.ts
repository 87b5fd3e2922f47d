import { meanOf, standardErrorOf } from "../../report/paired-statistics.ts";
import type { Estimate } from "../../evaluate/cluster-statistics.ts";
import type { CurvePoint, RunRecord } from "../run-record.ts";
import { quantileFor, satterthwaite } from "./resample.ts";

/** A line through points of increasing x. */
export interface Line {
  readonly x: readonly number[];
  readonly y: readonly number[];
}

/** y at x by straight lines between the points; the ends' values beyond them; NaN without points. */
export function interpolate({ x, y }: Line, at: number): number {
  if (x.length === 0) return Number.NaN;
  if (at <= x[0]!) return y[0]!;
  for (let i = 1; i < x.length; i++) {
    if (at > x[i]!) continue;
    const share = x[i]! === x[i - 1]! ? 1 : (at - x[i - 1]!) / (x[i]! - x[i - 1]!);
    return y[i - 1]! + share * (y[i]! - y[i - 1]!);
  }
  return y.at(-1)!;
}

/** The first x at which the line through the points is at `level` or above; Infinity when it never is. */
export function firstReach({ x, y }: Line, level: number): number {
  for (let i = 0; i < x.length; i++) {
    if (!(y[i]! >= level)) continue;
    if (i === 0) return x[0]!;
    return x[i - 1]! + ((level - y[i - 1]!) / (y[i]! - y[i - 1]!)) * (x[i]! - x[i - 1]!);
  }
  return Number.POSITIVE_INFINITY;
}

/** Mean of several lines at the x of the first one that are within all of them. */
export function meanLine(lines: readonly Line[]): Line {
  const end = Math.min(...lines.map(({ x }) => x.at(-1)!));
  const x = lines[0]!.x.filter((at) => at <= end * (1 + 1e-9));
  return { x, y: x.map((at) => meanOf(lines.map((line) => interpolate(line, at)))) };
}

/** A number of every point of a run's curve against another; points that lack it are left out. */
export function lineOf({ curve }: Pick<RunRecord, "curve">, abscissa: (point: CurvePoint) => number, value: (point: CurvePoint, first: CurvePoint) => number | undefined): Line {
  const points = curve.flatMap((point) => {
    const y = value(point, curve[0]!);
    return y === undefined ? [] : [[abscissa(point), y] as const];
  });
  return { x: points.map(([x]) => x), y: points.map(([, y]) => y) };
}

/**
 * Mean over seeds of numbers that are means over prompts themselves. All seeds share the prompts, so the prompts' part of the error does not shrink with the number of seeds.
 *
 * @param errors Each seed's standard error between prompts. Variance = s²(seeds)/S + mean(errors²), as if the prompts moved every seed alike: on the wide side.
 * @param prompts Number of prompts behind each error, for the degrees of freedom; unknown counts as many.
 */
export function estimateSeeds(values: readonly number[], errors: readonly number[], prompts: number = Number.POSITIVE_INFINITY): Estimate {
  const mean = meanOf(values);
  const ofPrompts = { variance: meanOf(errors.map((error) => error ** 2)), degrees: prompts - 1 };
  const parts = values.length > 1 ? [{ variance: standardErrorOf(values) ** 2, degrees: values.length - 1 }, ofPrompts] : [ofPrompts];
  const standardError = Math.sqrt(parts.reduce((sum, { variance }) => sum + variance, 0));
  const reach = quantileFor(satterthwaite(parts)) * standardError;
  return { mean, standardError, low: mean - reach, high: mean + reach };
}
