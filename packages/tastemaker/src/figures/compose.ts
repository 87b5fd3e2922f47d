import { axisRoom } from "./axes.ts";
import { type Box, element, escapeXml, rectangle, round } from "./svg.ts";
import { label, textWidth, wrapText } from "./text.ts";
import { card, cardBorder, figureWidth, fontFamily, lineHeight, margin, quiet, textSize, titleSize } from "./theme.ts";

/** A line of a legend: what is drawn (from its left end at the text's middle), how wide that is, and what it means. */
export interface LegendEntry {
  readonly draw: (x: number, y: number) => string;
  readonly width: number;
  readonly label: string;
}

export interface FigureParts {
  /** What the figure shows, as one line above it. */
  readonly title: string;
  /** For people who cannot see it: what is drawn and the main numbers. */
  readonly description: string;
  /** Below it: n, what intervals are, what marks mean. */
  readonly caption: string;
  readonly legend?: readonly LegendEntry[];
  /** Content of `<defs>`. */
  readonly definitions?: string;
  /** Draws everything below `top` and says where it ends. */
  readonly body: (top: number) => { readonly markup: string; readonly bottom: number };
  readonly width?: number;
  readonly textSize?: number;
}

function legendMarkup(entries: readonly LegendEntry[], top: number, width: number): { markup: string; bottom: number } {
  let [x, y] = [margin, top];
  const drawn = entries.map((entry) => {
    const needed = entry.width + 6 + textWidth(entry.label);
    if (x > margin && x + needed > width - margin) [x, y] = [margin, y + 20];
    const markup = entry.draw(x, y + 8) + label(entry.label, x + entry.width + 6, y + 8 + textSize * 0.36);
    x += needed + 15;
    return markup;
  });
  return { markup: drawn.join(""), bottom: entries.length === 0 ? top : y + 22 };
}

/** Numbers stay on the line of what follows or precedes them. */
function keepUnits(text: string): string {
  return text.replace(/(\d) %/g, "$1\u00a0%").replace(/([\wβ|]) (=) /g, "$1\u00a0$2\u00a0");
}

/** A figure as an SVG document: title, legend, body, caption on an opaque card; no scripts, no files, no fonts from elsewhere. */
export function composeFigure({ title, description, caption, legend = [], definitions = "", body, width = figureWidth, textSize: size = textSize }: FigureParts): string {
  const scale = size / textSize;
  const [titleStyle, captionStyle] = [{ size: titleSize * scale, isBold: true }, { size, colour: quiet }];
  const titleLines = wrapText(title, width - 2 * margin, titleStyle);
  let y = margin + 12 * scale;
  const head = titleLines.map((text, index) => label(text, margin, y + index * 19 * scale, titleStyle));
  y += (titleLines.length - 1) * 19 * scale + 12 * scale;
  const keys = legendMarkup(legend, y, width);
  const { markup, bottom } = body(keys.bottom);
  const lines = wrapText(keepUnits(caption), width - 2 * margin, captionStyle);
  const foot = lines.map((text, index) => label(text, margin, bottom + (lineHeight + index * lineHeight) * scale, captionStyle));
  const height = Math.ceil(bottom + lines.length * lineHeight * scale + margin);
  const background = rectangle({ x: 0.5, y: 0.5, width: width - 1, height: height - 1 }, { fill: card, stroke: cardBorder, "stroke-width": 1, rx: 6 });
  return `${element(
    "svg",
    { xmlns: "http://www.w3.org/2000/svg", width: round(width), height: round(height), viewBox: `0 0 ${round(width)} ${round(height)}`, role: "img", "font-family": fontFamily, "font-size": size },
    `<title>${escapeXml(title)}</title><desc>${escapeXml(description)}</desc>${definitions === "" ? "" : `<defs>${definitions}</defs>`}\n${background}\n${head.join("")}${keys.markup}\n${markup}\n${foot.join("")}`,
  )}\n`;
}

export interface PanelGrid {
  readonly count: number;
  readonly columns: number;
  readonly top: number;
  readonly plotHeight: number;
  /** Pixels left of each plot, for the vertical axis. */
  readonly left?: number;
  /** Pixels right of each plot, for labels. */
  readonly right?: number;
  readonly hasSubtitle?: boolean;
  /** Every panel, not only the last of a column, has a horizontal title. */
  readonly hasAxisTitles?: boolean;
  /** All panels have one vertical scale, so only the first of a row has room for its numbers. */
  readonly sharesScale?: boolean;
}

/** A plot's area, and whether it is the first of its row (vertical title) and the last of its column (horizontal title). */
export interface Panel {
  readonly box: Box;
  readonly isLeft: boolean;
  readonly isBottom: boolean;
}

/** Plot areas of equal panels in rows, and where they end. */
export function panelGrid({ count, columns, top, plotHeight, left = axisRoom.left, right = 8, hasSubtitle = false, hasAxisTitles = false, sharesScale = false }: PanelGrid): { readonly panels: readonly Panel[]; readonly bottom: number } {
  const [across, gap] = [Math.max(1, Math.min(columns, count)), 14];
  const outer = sharesScale ? left : 0;
  const inner = left - outer;
  const cell = (figureWidth - 2 * margin - outer - (across - 1) * gap) / across;
  const above = axisRoom.title + (hasSubtitle ? axisRoom.subtitle : 0) + 6;
  const below = hasAxisTitles ? axisRoom.bottom : axisRoom.ticks;
  const rowHeight = above + plotHeight + below;
  const panels = Array.from({ length: count }, (_, index) => ({
    box: { x: margin + outer + (index % across) * (cell + gap) + inner, y: top + Math.floor(index / across) * rowHeight + above, width: cell - inner - right, height: plotHeight },
    isLeft: index % across === 0,
    isBottom: index + across >= count,
  }));
  return { panels, bottom: top + Math.ceil(count / across) * rowHeight + axisRoom.bottom - below };
}
