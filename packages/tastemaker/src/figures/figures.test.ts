import fc from "fast-check";
import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { bestBeta, betaFigure, hackedBetas } from "./beta-figure.ts";
import { calibrationError, calibrationFigure } from "./calibration-figure.ts";
import { matchedRewardFigure } from "./matched-reward-figure.ts";
import { methodStyles, metricLabel } from "./method-style.ts";
import { pictureSheet } from "./picture-sheet.ts";
import { overlaps } from "./place-labels.ts";
import { renderPng } from "./render-png.ts";
import { spreadLabels } from "./spread-labels.ts";
import { allMethods, betaData, calibrationData, disc, matchedData, rewardTitles, sheetData, timeData, winData } from "./testing/figure-data.ts";
import { readSvg } from "./testing/read-svg.ts";
import { label, textWidth, wrapText } from "./text.ts";
import { type TimeCurve, timeFigure, timeToReach } from "./time-figure.ts";
import { winRateFigure } from "./win-rate-figure.ts";

const methodLabels = allMethods.map((method) => methodStyles[method].label);
const shown = (text: string): string => text.replaceAll("\u00a0", " ");

/** A curve whose gains are multiplied. */
const scaled = ({ method, points }: TimeCurve, factor: number): TimeCurve => ({ method, points: points.map(({ seconds, value, low, high }) => ({ seconds, value: factor * value, low: factor > 0 ? factor * low : factor * high, high: factor > 0 ? factor * high : factor * low })) });

/** A curve of a longer training. */
const longer = ({ method, points }: TimeCurve, times: number): TimeCurve => ({ method, points: points.map((point) => ({ ...point, seconds: times * point.seconds })) });

const figures: Readonly<Record<string, { readonly svg: string; readonly labels: readonly string[] }>> = {
  beta: { svg: betaFigure(betaData), labels: [...rewardTitles.map((title) => `${title}, KL`), "predicted (trained reward)", "actual (gold)", "best β by gold", "reward hacking", "β (weight of the divergence)", "Preference for tuned", "500 held-out", "1 to 3 training runs per point", "95 % bootstrap"] },
  "beta, 12 panels": { svg: betaFigure({ ...betaData, panels: ["KL", "JS", "Fisher"].flatMap((divergence) => betaData.panels.map((panel) => ({ ...panel, title: panel.title.replace("KL", divergence) }))) }), labels: ["PickScore, KL", "Aesthetic, Fisher", "best β = 0.03"] },
  time: { svg: timeFigure(timeData), labels: [...methodLabels, ...rewardTitles.flatMap((title) => [`Trained on ${title}`, `Gain in ${title}`]), "Training time (s)", "64 held-out prompts", "3 seeds", "95 % intervals over seeds", "ROCM-KL reaches RLCM’s end at"] },
  "time, one panel": { svg: timeFigure({ ...timeData, panels: timeData.panels.slice(0, 1) }), labels: [...methodLabels, "Training time (s)"] },
  "time, long names": { svg: timeFigure({ ...timeData, leader: "rocm-hellinger", panels: timeData.panels.map((panel) => ({ ...panel, curves: panel.curves.map((curve) => ({ ...curve, points: curve.points.map((point) => ({ ...point, seconds: point.seconds * 31.7 })) })) })) }), labels: ["RLCM’s end at", "what another method ends with", "1000"] },
  "time, longer baselines": { svg: timeFigure({ ...timeData, panels: timeData.panels.slice(0, 1).map((panel) => ({ ...panel, curves: panel.curves.flatMap((curve) => (curve.method === "rocm-kl" ? [curve] : curve.method === "rlcm" ? [longer(curve, 8)] : curve.method === "ddpo" ? [longer(curve, 20)] : [])) })) }), labels: ["ROCM-KL", "RLCM", "DDPO", "Training time (s, logarithmic)", "0", "10", "1000"] },
  "time, a curve that leaves": { svg: timeFigure({ ...timeData, panels: timeData.panels.map((panel) => ({ ...panel, curves: panel.curves.map((curve) => scaled(curve, curve.method === "rocm-none" ? -40 : curve.method === "ddpo" || curve.method === "rlcm" ? -1 : 1)) })) }), labels: ["ROCM, β = 0: −", "RLCM and DDPO gain nothing", "may leave its panel"] },
  "matched, betas of each reward": { svg: matchedRewardFigure({ ...matchedData, panels: matchedData.panels.map((panel, index) => ({ ...panel, curves: panel.curves.map((one) => ({ ...one, beta: one.beta !== null && index > 1 ? one.beta * 100 : one.beta })) })) }), labels: ["β = 0.003 · 0.3", "β = 0.3 · 30"] },
  matched: { svg: matchedRewardFigure(matchedData), labels: ["β = 0", "β = 0.003", "β = 0.01", "β = 0.03", "β = 0.1", "β = 0.3", "RLCM", "DDPO", "Gain in PickScore", "Gain in gold", "Gain in judge", "Trained on HPSv2: judge", "64 held-out"] },
  win: { svg: winRateFigure(winData), labels: [...rewardTitles, "win", "tie", "loss", "against base", "against RLCM", "Which do you prefer?", "Which fits the prompt", "62 %", "500 held-out"] },
  calibration: { svg: calibrationFigure(calibrationData), labels: [...rewardTitles, "Predicted", "Observed", "n = 1,722, error", "95 % Wilson"] },
};

describe.each(Object.entries(figures))("the figure %s", (_, { svg, labels }) => {
  const read = readSvg(svg);

  it("is XML with a title, a description, and finite numbers only", () => {
    expect(read.title.length).toBeGreaterThan(5);
    expect(read.description.length).toBeGreaterThan(60);
    expect(svg).not.toMatch(/NaN|undefined|Infinity|null/);
    expect(read.width).toBe(672);
    for (const element of read.elements.filter(({ tagName }) => tagName === "path")) expect(element.getAttribute("d")).toMatch(/^M[-\d.,MLZ]+$/);
  });

  it("loads nothing from elsewhere", () => {
    expect(read.elements.map(({ tagName }) => tagName)).not.toContain("script");
    expect(svg.replace('xmlns="http://www.w3.org/2000/svg"', "")).not.toMatch(/https?:|@import|@font-face/);
    // What is referred to by id is there.
    for (const [, id] of svg.matchAll(/url\(#([^)]+)\)/g)) expect(svg).toContain(`id="${id}"`);
  });

  it("says everything that a reader needs", () => {
    const text = shown(read.texts.map((one) => one.text).join(" "));
    for (const wanted of labels) expect(text).toContain(wanted);
  });

  it("has text of at least nine points that neither overlaps nor leaves the card", () => {
    for (const [index, { text, size, box }] of read.texts.entries()) {
      expect(size, text).toBeGreaterThanOrEqual(12);
      expect([box.x >= 4, box.y >= 4, box.x + box.width <= read.width - 4, box.y + box.height <= read.height - 4], `${text} ${JSON.stringify(box)}`).toEqual([true, true, true, true]);
      for (const other of read.texts.slice(index + 1)) expect(overlaps(box, other.box), `“${text}” and “${other.text}”`).toBe(false);
    }
  });

  it("becomes a PNG of its size that is not blank", async () => {
    const { data, info } = await sharp(await renderPng(svg, { scale: 1 })).ensureAlpha().raw().toBuffer({ resolveWithObject: true });
    expect([info.width, info.height]).toEqual([read.width, read.height]);
    let [ink, card] = [0, 0];
    for (let at = 0; at < data.length; at += 4) {
      if (data[at + 3]! < 250) continue;
      if (data[at]! + data[at + 1]! + data[at + 2]! < 300) ink++;
      if (data[at]! > 250 && data[at + 1]! > 250 && data[at + 2]! > 250) card++;
    }
    const pixels = info.width * info.height;
    expect(ink / pixels).toBeGreaterThan(0.004);
    // An opaque card, legible on a dark page.
    expect(card / pixels).toBeGreaterThan(0.5);
  });
});

describe("text", () => {
  it("is as wide as the font says", async () => {
    const characters = [...Array.from({ length: 94 }, (_, index) => String.fromCharCode(33 + index)), ..."·−–—×±≥≤’‘“”…βλσΔ→≈²Σ"];
    // One at a time between strokes that kern with nothing.
    const [size, row] = [60, 80];
    for (const isBold of [false, true]) {
      const lines = characters.map((character, index) => label(`|${character}|`, 20, row * index + 60, { size, isBold }));
      const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="160" height="${row * characters.length}" font-family="Arimo"><rect width="160" height="100%" fill="#fff"/>${lines.join("")}</svg>`;
      const { data, info } = await sharp(await renderPng(svg)).greyscale().raw().toBuffer({ resolveWithObject: true });
      for (const [index, character] of characters.entries()) {
        const dark = Array.from({ length: info.width }, (_, x) => x).filter((x) => {
          for (let y = index * row * 2; y < (index + 1) * row * 2; y++) if (data[(y * info.width + x) * info.channels]! < 128) return true;
          return false;
        });
        // From the left edge of the first stroke to that of the last.
        const lastStart = dark.findLast((x, at) => dark[at - 1] !== x - 1)!;
        const expected = textWidth(`|${character}`, { size, isBold });
        expect(Math.abs((lastStart - dark[0]!) / 2 - expected), `${character}${isBold ? " bold" : ""}`).toBeLessThan(0.8);
      }
    }
  });

  it("is wrapped within its width without losing words", () => {
    fc.assert(
      fc.property(fc.array(fc.stringMatching(/^[a-z%=β]{1,12}$/), { maxLength: 40 }), fc.integer({ min: 90, max: 400 }), (words, width) => {
        const lines = wrapText(words.join(" "), width);
        expect(lines.join(" ")).toBe(words.join(" "));
        for (const one of lines) expect(one.includes(" ") ? textWidth(one) : 0).toBeLessThanOrEqual(width);
      }),
    );
  });

  it("of data cannot become markup", () => {
    const svg = calibrationFigure({ ...calibrationData, panels: calibrationData.panels.map((panel) => ({ ...panel, title: '</text><script>"&\u0000' })) });
    const read = readSvg(svg);
    expect(read.elements.map(({ tagName }) => tagName)).not.toContain("script");
    expect(read.texts.map(({ text }) => text)).toContain('</text><script>"&?');
  });
});

describe("labels", () => {
  it("are moved apart in order, inside their range where there is room", () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: -50, max: 250, noNaN: true }), { maxLength: 12 }), (wanted) => {
        const placed = spreadLabels(wanted, 14, 0, 200);
        const order = wanted.map((_, index) => index).sort((a, b) => wanted[a]! - wanted[b]! || a - b);
        for (const [place, index] of order.entries()) {
          expect(placed[index]!).toBeGreaterThanOrEqual(-1e-9);
          expect(placed[index]!).toBeLessThanOrEqual(200 + 1e-9);
          if (place > 0) expect(placed[index]! - placed[order[place - 1]!]!).toBeGreaterThanOrEqual(14 - 1e-6);
        }
      }),
    );
  });

  it("that have room stay where they are", () => {
    expect(spreadLabels([150, 20, 80], 14, 0, 200)).toEqual([150, 20, 80]);
  });
});

describe("methods", () => {
  it("differ in colour, and without it in dash or marker", () => {
    const styles = Object.values(methodStyles);
    expect(new Set(styles.map(({ colour }) => colour)).size).toBe(9);
    expect(new Set(styles.map(({ dash, marker, isHollow }) => `${dash} ${marker} ${isHollow}`)).size).toBe(9);
  });

  it("have a contrast of at least 3:1 on the card", () => {
    for (const { colour, label: name } of Object.values(methodStyles)) {
      const [r, g, b] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) / 255).map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
      expect(1.05 / (0.2126 * r! + 0.7152 * g! + 0.0722 * b! + 0.05), name).toBeGreaterThan(3);
    }
  });

  it("have colours that stay apart without red, green or blue cones", () => {
    // Machado, Oliveira, Fernandes 2009, full severity, on linear light.
    const sights = {
      all: [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
      "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
      "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
      "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
    };
    const labOf = ([r, g, b]: readonly number[]): number[] => {
      const f = (t: number): number => (t > 0.008856 ? Math.cbrt(t) : 7.787 * t + 16 / 116);
      const [x, y, z] = [f((0.4124 * r! + 0.3576 * g! + 0.1805 * b!) / 0.9505), f(0.2126 * r! + 0.7152 * g! + 0.0722 * b!), f((0.0193 * r! + 0.1192 * g! + 0.9505 * b!) / 1.089)];
      return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
    };
    for (const [sight, matrix] of Object.entries(sights)) {
      const seen = Object.values(methodStyles).map(({ colour, label: name }) => {
        const linear = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) / 255).map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
        return { name, lab: labOf(matrix.map((row) => Math.max(0, Math.min(1, row.reduce((sum, weight, index) => sum + weight * linear[index]!, 0))))) };
      });
      for (const [index, a] of seen.entries()) for (const b of seen.slice(index + 1)) expect(Math.hypot(...a.lab.map((value, axis) => value - b.lab[axis]!)), `${sight}: ${a.name} and ${b.name}`).toBeGreaterThan(20);
    }
  });

  it("and metrics are called as papers call them, unknown ones as they are", () => {
    expect([metricLabel("clip-score"), metricLabel("my-metric"), metricLabel("constructor")]).toEqual(["CLIPScore", "my-metric", "constructor"]);
  });
});

describe("what figures compute", () => {
  const sure = (value: number, half = 0.02): { value: number; low: number; high: number } => ({ value, low: value - half, high: value + half });

  it("hacking is where the reward promises as much as at the optimum and gold is surely below it", () => {
    const points = [
      { beta: 0, predicted: sure(0.95), actual: sure(0.4) },
      { beta: 0.01, predicted: sure(0.93), actual: sure(0.64) },
      { beta: 0.03, predicted: sure(0.9), actual: sure(0.65) },
      { beta: 0.1, predicted: sure(0.7), actual: sure(0.5) },
    ];
    expect(bestBeta(points)?.beta).toBe(0.03);
    // 0.01 is within its interval of the optimum; 0.1 is no hacking: the reward falls as well.
    expect(hackedBetas(points)).toEqual([0]);
    expect(hackedBetas(points.map((point) => ({ ...point, predicted: sure(0.5 + point.beta) })))).toEqual([]);
    const shaded = (svg: string): number => readSvg(svg).elements.filter((one) => one.getAttribute("fill") === "url(#beta-hatch)").length - 1;
    expect(shaded(betaFigure({ ...betaData, panels: [{ title: "x", points }] }))).toBe(1);
  });

  it("a curve that leaves its panel is cut there, and presses the others together no more", () => {
    const { elements } = readSvg(figures["time, a curve that leaves"]!.svg);
    expect(elements.filter(({ tagName, parentNode }) => tagName === "svg" && parentNode?.nodeName !== "#document").length).toBe(2 * timeData.panels.length);
    expect(readSvg(figures["time"]!.svg).elements.filter(({ tagName }) => tagName === "svg")).toHaveLength(1);
  });

  it("the time to a level is between the points around it", () => {
    const points = [0, 1, 3].map((value, index) => ({ seconds: index * 10, ...sure(value) }));
    expect(timeToReach(points, 2)).toBeCloseTo(15, 12);
    expect(timeToReach(points, 3)).toBe(20);
    expect(timeToReach(points, 3.1)).toBeUndefined();
    expect(timeToReach([], 0)).toBeUndefined();
  });

  it("the calibration error weighs bins by n", () => {
    expect(calibrationError([{ predicted: 0.2, observed: sure(0.3), count: 3 }, { predicted: 0.8, observed: sure(0.8), count: 1 }])).toBeCloseTo(0.075, 12);
    expect(calibrationError([])).toBe(0);
  });
});

describe("incomplete data", () => {
  it("leaves out points that are no number", () => {
    const broken = timeData.panels.map((panel) => ({ ...panel, curves: panel.curves.map((curve) => ({ ...curve, points: curve.points.map((point, index) => (index === 4 ? { ...point, value: Number.NaN } : point)) })) }));
    const read = readSvg(timeFigure({ ...timeData, panels: broken }));
    expect(read.texts.map(({ text }) => text)).toContain("ROCM-KL");
  });

  it("draws axes where there are no points, one point, or equal values", () => {
    expect(readSvg(timeFigure({ ...timeData, panels: [{ title: "nothing yet", metric: "Gain", curves: [] }] })).texts.map(({ text }) => text)).toContain("nothing yet");
    expect(readSvg(betaFigure({ ...betaData, panels: [{ title: "one", points: betaData.panels[0]!.points.slice(0, 1) }, { title: "none", points: [] }] })).title).not.toBe("");
    expect(readSvg(matchedRewardFigure({ ...matchedData, panels: matchedData.panels.map((panel) => ({ ...panel, curves: panel.curves.map((one) => ({ ...one, points: one.points.slice(0, 1) })) })) })).title).not.toBe("");
    expect(readSvg(calibrationFigure({ ...calibrationData, panels: [{ title: "none", bins: [] }] })).title).not.toBe("");
    expect(readSvg(winRateFigure({ ...winData, rows: winData.rows.map((row) => ({ ...row, rates: row.rates.map((rates, index) => (index === 1 ? null : rates)) })) })).texts.map(({ text }) => text)).toContain("not asked");
  });
});

describe("picture sheets", () => {
  it("show every picture in its place with its row and prompt", async () => {
    const { png, svg } = await pictureSheet({ ...sheetData, kernel: "nearest" });
    const read = readSvg(svg!);
    const text = shown(read.texts.map((one) => one.text).join(" "));
    for (const wanted of ["Base model", "ROCM-KL", "β = 0.03", "ROCM, β = 0", "RLCM", "two blue cats", "<dog>", "n = 6"]) expect(text).toContain(wanted);
    for (const [index, { text: own, box }] of read.texts.entries()) for (const other of read.texts.slice(index + 1)) expect(overlaps(box, other.box), `“${own}” and “${other.text}”`).toBe(false);
    const { data, info } = await sharp(png).removeAlpha().raw().toBuffer({ resolveWithObject: true });
    expect([info.width, info.height]).toEqual([2 * read.width, 2 * read.height]);
    const images = read.elements.filter(({ tagName }) => tagName === "image");
    expect(images).toHaveLength(24);
    const [columns, side] = [6, 64];
    for (const [index, image] of images.entries()) {
      const [x, y, width] = ["x", "y", "width"].map((name) => Number(image.getAttribute(name)) * 2) as [number, number, number];
      const picture = sheetData.rows[Math.floor(index / columns)]!.pictures[index % columns]!;
      for (const [px, py] of [[32, 32], [5, 60], [40, 25]] as const) {
        const at = (Math.round(y + ((py + 0.5) * width) / side) * info.width + Math.round(x + ((px + 0.5) * width) / side)) * 3;
        for (let channel = 0; channel < 3; channel++) expect(Math.abs(data[at + channel]! - picture.pixels[(py * side + px) * 3 + channel]!)).toBeLessThanOrEqual(1);
      }
    }
  });

  it("too large for an SVG are PNG only", async () => {
    const noisy = (index: number) => {
      const picture = disc(128, index);
      picture.pixels.forEach((_, at) => (picture.pixels[at] = Math.imul((at + index * 65_537) ^ (at >>> 7), 0x9e3779b1) >>> 13));
      return picture;
    };
    const { png, svg } = await pictureSheet({ caption: "n = 8", prompts: ["a", "b", "c", "d"], rows: [0, 1].map((row) => ({ label: `row ${row}`, pictures: [0, 1, 2, 3].map((column) => noisy(row * 4 + column)) })) });
    expect(svg === null).toBe(true);
    expect((await sharp(png).metadata()).width).toBeGreaterThan(2000);
  });

  it("refuse rows without a picture for each prompt, and pictures of other sizes", async () => {
    const [first] = sheetData.rows;
    await expect(pictureSheet({ ...sheetData, rows: [{ label: "short", pictures: first!.pictures.slice(1) }] })).rejects.toThrow("pictures of short: expected 6, one for each prompt, got 5");
    await expect(pictureSheet({ ...sheetData, rows: [{ label: "mixed", pictures: [...first!.pictures.slice(1), disc(32, 1)] }] })).rejects.toThrow("expected 64 × 64 with 3 channels, got 32 × 32");
    await expect(pictureSheet({ ...sheetData, rows: [] })).rejects.toThrow("at least one row");
  });
});

describe("figures", () => {
  it("are equal every time", async () => {
    expect(timeFigure(timeData)).toBe(figures.time!.svg);
    expect(await renderPng(figures.win!.svg)).toEqual(await renderPng(figures.win!.svg));
  });
});
