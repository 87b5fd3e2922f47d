import type { Picture } from "@tastemaker/diffusion";
import { methods, type Method } from "../../experiment/run-record.ts";
import type { BetaFigureData } from "../beta-figure.ts";
import type { CalibrationFigureData } from "../calibration-figure.ts";
import type { Estimate } from "../estimate.ts";
import type { MatchedRewardFigureData } from "../matched-reward-figure.ts";
import type { PictureSheetData } from "../picture-sheet.ts";
import type { TimeFigureData } from "../time-figure.ts";
import type { WinRateFigureData } from "../win-rate-figure.ts";

/* Data of the shape and noise of real experiments; every number is a function of its place. */

/** A fixed, noisy number in [−1, 1]. */
export function wobble(...keys: readonly number[]): number {
  const phase = keys.reduce((sum, key, index) => sum + Math.sin(key * (12.9898 + 7.3 * index)) * 43.758, 0);
  return (phase - Math.floor(phase)) * 2 - 1;
}

function share(value: number, half: number): Estimate {
  const clamp = (one: number): number => Math.max(0, Math.min(1, one));
  return { value: clamp(value), low: clamp(value - half), high: clamp(value + half) };
}

export const rewardTitles = ["PickScore", "HPSv2", "CLIPScore", "Aesthetic"] as const;

export const betaData: BetaFigureData = {
  prompts: 500,
  seeds: [1, 3],
  intervals: "95 % bootstrap intervals over prompts",
  panels: rewardTitles.map((title, panel) => ({
    title: `${title}, KL`,
    points: [0, 0.003, 0.01, 0.03, 0.1, 0.3].map((beta, index) => ({
      beta,
      predicted: share(0.97 - 0.004 * index ** 2.6 - 0.02 * panel + 0.01 * wobble(panel, index), 0.02 + 0.003 * index),
      actual: share(0.42 + 0.15 * index - 0.022 * index ** 2 - 0.1 * (panel === 3 && index < 2 ? 1 : 0) + 0.012 * wobble(panel, index, 2), 0.042),
    })),
  })),
};

export const allMethods: readonly Method[] = methods;

const speeds: Readonly<Record<Method, readonly [rate: number, top: number]>> = {
  "rocm-none": [0.16, 1],
  "rocm-js": [0.12, 0.93],
  "rocm-kl": [0.13, 0.96],
  "rocm-hellinger": [0.115, 0.9],
  "rocm-fisher": [0.09, 0.86],
  rlcm: [0.03, 0.5],
  ddpo: [0.012, 0.42],
  d3po: [0.01, 0.2],
  dpok: [0.011, 0.33],
};

export const timeData: TimeFigureData = {
  prompts: 64,
  seeds: 3,
  intervals: "95 % intervals over seeds",
  panels: rewardTitles.map((title, panel) => ({
    title: `Trained on ${title}`,
    metric: `Gain in ${title}`,
    curves: methods.map((method, order) => {
      const size = [1.6, 0.03, 0.08, 1.3][panel]!;
      return {
        method,
        points: Array.from({ length: 13 }, (_, index) => {
          const seconds = index * 5;
          const [rate, top] = speeds[method];
          const value = size * (top * (1 - Math.exp(-rate * seconds)) + (index === 0 ? 0 : 0.035 * wobble(panel, order, index)));
          const half = index === 0 ? 0 : size * (0.04 + 0.02 * Math.abs(wobble(index, order)));
          return { seconds, value, low: value - half, high: value + half };
        }),
      };
    }),
  })),
};

function near(value: number, half: number): Estimate {
  return { value, low: value - half, high: value + half };
}

export const matchedData: MatchedRewardFigureData = {
  prompts: 64,
  seeds: 3,
  intervals: "95 % intervals over seeds",
  panels: rewardTitles.slice(0, 2).flatMap((reward, row) =>
    ["Gold", "Judge"].map((other, column) => ({
      title: `Trained on ${reward}: ${other.toLowerCase()}`,
      trainedAxis: `Gain in ${reward}`,
      otherAxis: `Gain in ${other.toLowerCase()}`,
      curves: [
        ...[0, 0.003, 0.01, 0.03, 0.1, 0.3].map((beta, index) => ({ method: beta === 0 ? ("rocm-none" as const) : ("rocm-kl" as const), beta, reach: 2.1 - 0.28 * index, fall: 0.5 - 0.07 * index })),
        { method: "rlcm" as const, beta: null, reach: 0.9, fall: 0.55 },
        { method: "ddpo" as const, beta: null, reach: 0.5, fall: 0.7 },
      ].map(({ method, beta, reach, fall }, order) => ({
        method,
        beta,
        points: Array.from({ length: 9 }, (_, index) => {
          const x = reach * (1 - Math.exp(-index / 3)) + (index === 0 ? 0 : 0.02 * wobble(order, index, row));
          const y = (0.6 * x - fall * 0.5 * x ** 2) * (column === 0 ? 1 : 0.5) + (index === 0 ? 0 : 0.012 * wobble(order, index, column));
          return { iteration: index * 8, trained: near(x, 0.05), other: near(y, 0.04) };
        }),
      })),
    })),
  ),
};

export const winData: WinRateFigureData = {
  prompts: 500,
  intervals: "95 % bootstrap intervals over prompts",
  comparison: "ROCM-KL against the base model and RLCM",
  questions: ["Which do you prefer?", "Which is more appealing?", "Which fits the prompt better?"],
  rows: rewardTitles.flatMap((reward, row) =>
    ["against base", "against RLCM"].map((note, second) => ({
      label: reward,
      note,
      rates: [0, 1, 2].map((question) => {
        const win = 0.68 - 0.05 * row - 0.08 * second + 0.06 * wobble(row, second, question);
        const tie = 0.08 + 0.04 * question + 0.02 * wobble(question, row);
        return { win: near(win, 0.042), tie, loss: near(1 - win - tie, 0.038) };
      }),
    })),
  ),
};

export const calibrationData: CalibrationFigureData = {
  intervals: "95 % Wilson intervals",
  event: "that gold prefers the first of two pictures",
  panels: rewardTitles.map((title, panel) => ({
    title,
    bins: Array.from({ length: 10 }, (_, index) => {
      const predicted = (index + 0.5) / 10;
      const count = Math.round(60 + 240 * Math.exp(-(((predicted - 0.5) / 0.25) ** 2)) + 30 * wobble(index, panel));
      const observed = 0.5 + (predicted - 0.5) * (0.95 - 0.15 * panel) + 0.03 * wobble(index, panel, 3);
      const half = 1.96 * Math.sqrt((observed * (1 - observed)) / count);
      return { predicted, observed: share(observed, half), count };
    }),
  })),
};

/** A disc on a gradient with some noise, 8-bit. */
export function disc(side: number, ...keys: readonly number[]): Picture {
  const pixels = new Uint8Array(side * side * 3);
  const centre = [0.5 + 0.15 * wobble(...keys, 1), 0.5 + 0.15 * wobble(...keys, 2)] as const;
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const isInside = Math.hypot(x / side - centre[0], y / side - centre[1]) < 0.28;
      for (let channel = 0; channel < 3; channel++) {
        const base = isInside ? 150 + 100 * wobble(...keys, channel, 7) : 235 - (60 * y) / side + 15 * wobble(...keys, channel);
        pixels[(y * side + x) * 3 + channel] = Math.max(0, Math.min(255, base + 6 * wobble(x, y, channel)));
      }
    }
  }
  return { width: side, height: side, pixels };
}

export const sheetData: PictureSheetData = {
  caption: "One picture per prompt, the same noise for all rows of a kind; n = 6 of 500 held-out prompts, the first six.",
  prompts: ["a red apple on a table", "two blue cats", "a pirate ship in a storm, watercolour", "a green car & a <dog>", "three balloons above a house", "a robot"],
  rows: [
    { label: "Base model", pictures: Array.from({ length: 6 }, (_, column) => disc(64, 0, column)) },
    { label: "ROCM-KL", note: "β = 0.03", pictures: Array.from({ length: 6 }, (_, column) => disc(64, 1, column)) },
    { label: "ROCM, β = 0", pictures: Array.from({ length: 6 }, (_, column) => disc(64, 2, column)) },
    { label: "RLCM", pictures: Array.from({ length: 6 }, (_, column) => disc(64, 3, column)) },
  ],
};
