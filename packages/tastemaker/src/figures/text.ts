import { element, escapeXml } from "./svg.ts";
import { ink, textSize } from "./theme.ts";

/*
 * Advance widths of Arimo (equal to Arial's and Helvetica's) in thousandths of the text size. `figures.test.ts` compares them with the font's own.
 */
// prettier-ignore
const regular = [
  278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556,
  1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556,
  333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, 556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
] as const;
// prettier-ignore
const bold = [
  278, 333, 474, 556, 556, 889, 722, 238, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 333, 333, 584, 584, 584, 611,
  975, 722, 722, 722, 722, 667, 611, 778, 722, 278, 556, 722, 611, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 333, 278, 333, 584, 556,
  333, 556, 611, 556, 611, 556, 333, 611, 611, 278, 278, 556, 278, 889, 611, 611, 611, 611, 389, 556, 333, 611, 556, 778, 556, 556, 500, 389, 280, 389, 584,
] as const;
/** Beyond ASCII: regular, bold. */
const others: Readonly<Record<string, readonly [number, number]>> = {
  "·": [333, 333], "−": [584, 584], "–": [556, 556], "—": [1000, 1000], "×": [584, 584], "±": [549, 549], "≥": [549, 549], "≤": [549, 549], "’": [222, 278], "‘": [222, 278],
  "“": [333, 500], "”": [333, 500], "…": [1000, 1000], β: [575, 610], λ: [500, 556], σ: [617, 684], Δ: [668, 719], "→": [1000, 1000], "≈": [549, 549], "²": [333, 333], "\u00a0": [278, 278], Σ: [618, 600],
};

export interface TextStyle {
  readonly size?: number;
  readonly isBold?: boolean;
}

/** Width of a line of text in pixels; characters without an entry count as wide ones. */
export function textWidth(text: string, { size = textSize, isBold = false }: TextStyle = {}): number {
  const table = isBold ? bold : regular;
  let thousandths = 0;
  for (const character of text) thousandths += table[character.codePointAt(0)! - 32] ?? others[character]?.[isBold ? 1 : 0] ?? 1000;
  return (thousandths * size) / 1000;
}

/** Text in lines of at most `width` pixels, broken at spaces (not at no-break spaces); longer words stand alone. */
export function wrapText(text: string, width: number, style: TextStyle = {}): string[] {
  const lines: string[] = [];
  let current = "";
  for (const word of text.split(/[ \n\t]+/).filter((part) => part !== "")) {
    const longer = current === "" ? word : `${current} ${word}`;
    if (current !== "" && textWidth(longer, style) > width) {
      lines.push(current);
      current = word;
    } else current = longer;
  }
  return current === "" ? lines : [...lines, current];
}

/** Text cut to `width` pixels, with an ellipsis where something is missing. */
export function fitText(text: string, width: number, style: TextStyle = {}): string {
  if (textWidth(text, style) <= width) return text;
  const characters = [...text];
  while (characters.length > 1 && textWidth(`${characters.join("").trimEnd()}…`, style) > width) characters.pop();
  return `${characters.join("").trimEnd()}…`;
}

export interface LabelOptions extends TextStyle {
  readonly anchor?: "start" | "middle" | "end";
  readonly colour?: string;
  /** A white outline that keeps text readable on lines. */
  readonly hasHalo?: boolean;
  /** Reads from below to above, turned around (x, y). */
  readonly isUpright?: boolean;
}

/** One line of text with its baseline at `y`. */
export function label(text: string, x: number, y: number, { size = textSize, isBold = false, anchor = "start", colour = ink, hasHalo = false, isUpright = false }: LabelOptions = {}): string {
  return element(
    "text",
    {
      x,
      y,
      "font-size": size === textSize ? undefined : size,
      "font-weight": isBold ? "700" : undefined,
      "text-anchor": anchor === "start" ? undefined : anchor,
      fill: colour,
      transform: isUpright ? `rotate(-90 ${Math.round(x * 100) / 100} ${Math.round(y * 100) / 100})` : undefined,
      ...(hasHalo ? { stroke: "#ffffff", "stroke-width": 3, "stroke-linejoin": "round", "paint-order": "stroke" } : {}),
    },
    escapeXml(text),
  );
}
