import { formatPercent, thinTicks } from "./axes.ts";
import { composeFigure } from "./compose.ts";
import { type Estimate, formatCount } from "./estimate.ts";
import { flatErrorBar } from "./marks.ts";
import { element, line, rectangle } from "./svg.ts";
import { fitText, label, textWidth, wrapText } from "./text.ts";
import { faint, figureWidth, gain, grid, ink, margin, quiet, textSize } from "./theme.ts";

/** Shares of prompts in [0, 1]; win + tie + loss = 1. */
export interface WinRates {
  readonly win: Estimate;
  readonly tie: number;
  readonly loss: Estimate;
}

export interface WinRateRow {
  /** Such as `PickScore`. */
  readonly label: string;
  /** A quieter second line, such as `against RLCM`. */
  readonly note?: string;
  /** One for each question; null where it was not asked. */
  readonly rates: readonly (WinRates | null)[];
}

export interface WinRateFigureData {
  readonly title?: string;
  /** What was asked, such as `Which is prettier?`; at most three stand side by side. */
  readonly questions: readonly string[];
  readonly rows: readonly WinRateRow[];
  readonly prompts: number;
  readonly intervals: string;
  /** Who is compared, such as `ROCM-KL against the base model`. */
  readonly comparison: string;
}

const tieColour = "#d5dae0";
const lossColour = "#e8863a";
const [barHeight, rowHeight, gap] = [18, 44, 22];

const stripes = element("pattern", { id: "loss-stripes", width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, rectangle({ x: 0, y: 0, width: 5, height: 5 }, { fill: lossColour }) + line(0, 0, 0, 5, { stroke: "#ffffff", "stroke-width": 1.5, "stroke-opacity": 0.55 }));

/** A bar of wins, ties and losses with intervals at its inner ends, and the three numbers above it. */
function barMarkup({ win, tie, loss }: WinRates, left: number, top: number, width: number): string {
  const at = (share: number): number => left + Math.max(0, Math.min(1, share)) * width;
  const y = top + textSize + 4;
  const middle = y + barHeight / 2;
  const percent = (share: number): string => `${Math.round(share * 100)}`;
  const numbers =
    label(`${percent(win.value)} %`, left, y - 4, { isBold: true, colour: gain }) +
    label(percent(tie), left + width / 2, y - 4, { anchor: "middle", colour: quiet }) +
    label(`${percent(loss.value)} %`, left + width, y - 4, { anchor: "end", colour: "#a8480b", isBold: true });
  const bars =
    rectangle({ x: left, y, width: at(win.value) - left, height: barHeight }, { fill: gain }) +
    rectangle({ x: at(win.value), y, width: at(1 - loss.value) - at(win.value), height: barHeight }, { fill: tieColour }) +
    rectangle({ x: at(1 - loss.value), y, width: left + width - at(1 - loss.value), height: barHeight }, { fill: "url(#loss-stripes)" });
  // The white ground keeps intervals visible on dark bars; that of wins is above that of losses, for where ties are few they overlap.
  const intervals = [[win.low, win.high, -4.5], [1 - loss.high, 1 - loss.low, 4.5]].map(([low, high, shift]) => {
    const [from, to] = [at(low!), at(high!)];
    return rectangle({ x: from - 1.5, y: middle + shift! - 3.5, width: to - from + 3, height: 7 }, { fill: "#ffffff", "fill-opacity": 0.9, rx: 1.5 }) + flatErrorBar(middle + shift!, from, to, ink, 2.5);
  });
  const centre = left + width / 2;
  const half = line(centre, y, centre, y + barHeight + 3, { stroke: "#ffffff", "stroke-width": 3 }) + line(centre, y, centre, y + barHeight + 3, { stroke: ink, "stroke-width": 1 });
  return numbers + bars + half + intervals.join("");
}

/** Wins, ties and losses by question (columns) and reward (rows). */
export function winRateFigure({ title = "Which picture is better?", questions, rows, prompts, intervals, comparison }: WinRateFigureData): string {
  const labelWidth = Math.min(150, Math.max(60, ...rows.flatMap(({ label: name, note = "" }) => [textWidth(name, { isBold: true }), textWidth(note)])) + 12);
  const width = (figureWidth - 2 * margin - labelWidth - Math.max(0, questions.length - 1) * gap - 4) / Math.max(1, questions.length);
  const sentences = rows.map((row) => `${row.label}${row.note === undefined ? "" : ` ${row.note}`}: ${row.rates.map((rates, index) => (rates === null ? "" : `${questions[index]} win ${formatPercent(rates.win.value)}, tie ${formatPercent(rates.tie)}, loss ${formatPercent(rates.loss.value)}`)).filter((text) => text !== "").join("; ")}`);
  return composeFigure({
    title,
    description: `Wins, ties and losses of ${comparison}. ${sentences.join(". ")}.`,
    caption: `${comparison}, on ${formatCount(prompts)} held-out prompts with equal noise; numbers are percent. Bars on the boundaries are ${intervals} of the shares of wins and of losses; the line in the middle is one half.`,
    definitions: stripes,
    legend: [
      { draw: (x, y) => rectangle({ x, y: y - 6, width: 18, height: 12 }, { fill: gain }), width: 18, label: "win" },
      { draw: (x, y) => rectangle({ x, y: y - 6, width: 18, height: 12 }, { fill: tieColour }), width: 18, label: "tie" },
      { draw: (x, y) => rectangle({ x, y: y - 6, width: 18, height: 12 }, { fill: "url(#loss-stripes)" }), width: 18, label: "loss" },
    ],
    body: (top) => {
      const heads = questions.map((question) => wrapText(question, width, { isBold: true, size: 13 }));
      const headLines = Math.max(1, ...heads.map(({ length }) => length));
      const start = top + 12 + headLines * 16;
      const end = start + rows.length * rowHeight;
      const columns = heads.map((lines, index) => {
        const left = margin + labelWidth + index * (width + gap);
        const words = lines.map((text, at) => label(text, left, top + 16 + (headLines - lines.length + at) * 16, { isBold: true, size: 13 }));
        const ticks = thinTicks([0, 0.5, 1].map((share) => ({ at: left + share * width, label: formatPercent(share) }))).map(({ at, label: text }) => label(text, at, end + 18, { anchor: text === "0 %" ? "start" : text === "100 %" ? "end" : "middle", colour: quiet }));
        const bars = rows.map(({ rates }, row) => (rates[index] === null || rates[index] === undefined ? label("not asked", left, start + row * rowHeight + 28, { colour: faint }) : barMarkup(rates[index], left, start + row * rowHeight, width)));
        return words.join("") + bars.join("") + ticks.join("");
      });
      const names = rows.map(({ label: name, note }, row) => {
        const y = start + row * rowHeight + textSize + 4 + barHeight / 2 + 4;
        // Rows of one reward stand together: its name once, lines between rewards.
        const isFirst = row === 0 || rows[row - 1]!.label !== name;
        const separator = row === 0 || !isFirst ? "" : line(margin, start + row * rowHeight - 4, figureWidth - margin, start + row * rowHeight - 4, { stroke: grid, "stroke-width": 1 });
        const first = isFirst ? label(fitText(name, labelWidth - 8, { isBold: true }), margin, note === undefined ? y : y - 14, { isBold: true }) : "";
        return separator + first + (note === undefined ? "" : label(fitText(note, labelWidth - 8), margin, y, { colour: quiet }));
      });
      return { markup: names.join("") + columns.join("\n"), bottom: end + 28 };
    },
  });
}
