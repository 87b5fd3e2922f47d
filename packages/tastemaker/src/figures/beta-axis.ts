import { scaleLog } from "d3-scale";
import { formatNumber } from "../report/html.ts";
import type { Axis, Tick } from "./axes.ts";
import { type Box, line } from "./svg.ts";
import { card, faint } from "./theme.ts";

export interface BetaAxis extends Axis {
  /** Two strokes through the axis between 0 and the first β; empty without β = 0. */
  readonly breakMarkup: string;
}

/** Room for β = 0 left of the logarithmic part. */
const zeroRoom = 34;

function logTicks(low: number, high: number, at: (value: number) => number): Tick[] {
  const powers: number[] = [];
  for (let power = Math.ceil(Math.log10(low) - 1e-9); power <= Math.floor(Math.log10(high) + 1e-9); power++) powers.push(Number(`1e${power}`));
  const values = powers.length >= 2 ? powers : [low, high];
  return [...new Set(values)].map((value) => ({ at: at(value), label: formatNumber(value, 2) }));
}

/** β on a logarithmic axis; β = 0, which has no place there, stands left of a break. */
export function betaAxis(betas: readonly number[], box: Box): BetaAxis {
  const positive = betas.filter((beta) => beta > 0);
  const hasZero = betas.some((beta) => beta === 0);
  const [low, high] = positive.length === 0 ? [0.1, 1] : [Math.min(...positive), Math.max(...positive)];
  const left = box.x + 12 + (hasZero ? zeroRoom : 0);
  const right = box.x + box.width - 12;
  const scale = high > low ? scaleLog([low, high], [left, right]) : () => (left + right) / 2;
  const at = (beta: number): number => (beta > 0 ? scale(beta) : box.x + 12);
  const [middle, bottom] = [box.x + 12 + zeroRoom / 2, box.y + box.height];
  const strokes = [-2.5, 2.5].map((shift) => line(middle + shift - 2, bottom + 5, middle + shift + 2, bottom - 5, { stroke: faint, "stroke-width": 1 })).join("");
  return {
    at,
    ticks: [...(hasZero ? [{ at: at(0), label: "0" }] : []), ...(positive.length === 0 ? [] : logTicks(low, high, at))],
    breakMarkup: hasZero && positive.length > 0 ? line(middle - 2.5, bottom, middle + 2.5, bottom, { stroke: card, "stroke-width": 3 }) + strokes : "",
  };
}
