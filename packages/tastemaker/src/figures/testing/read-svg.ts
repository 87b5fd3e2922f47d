import { DOMParser, type Element } from "@xmldom/xmldom";
import { type Box } from "../svg.ts";
import { textWidth } from "../text.ts";

/** A text of a figure with the room it takes. */
export interface SvgText {
  readonly text: string;
  readonly size: number;
  readonly box: Box;
}

export interface ReadSvg {
  readonly width: number;
  readonly height: number;
  readonly title: string;
  readonly description: string;
  readonly texts: readonly SvgText[];
  readonly elements: readonly Element[];
}

function number(element: Element, name: string): number {
  return Number(element.getAttribute(name));
}

function readText(element: Element, defaultSize: number): SvgText {
  const text = element.textContent ?? "";
  const size = Number(element.getAttribute("font-size") ?? defaultSize);
  const [x, y, width] = [number(element, "x"), number(element, "y"), textWidth(text, { size, isBold: element.getAttribute("font-weight") === "700" })];
  const anchor = element.getAttribute("text-anchor") ?? "start";
  const before = anchor === "start" ? 0 : anchor === "middle" ? width / 2 : width;
  // Capitals and digits reach 0.72 above the baseline, descenders 0.21 below it.
  const [up, down] = [size * 0.72, size * 0.21];
  const isUpright = (element.getAttribute("transform") ?? "").startsWith("rotate(-90");
  const box = isUpright ? { x: x - up, y: y - (width - before), width: up + down, height: width } : { x: x - before, y: y - up, width, height: up + down };
  return { text, size, box };
}

/** Parses a figure, strictly; throws what is wrong with the XML. */
export function readSvg(svg: string): ReadSvg {
  const document = new DOMParser({
    onError: (level, message) => {
      throw new Error(`${level}: ${message}`);
    },
  }).parseFromString(svg, "image/svg+xml");
  const root = document.documentElement!;
  const elements = Array.from(document.getElementsByTagName("*"));
  const named = (name: string): Element[] => elements.filter(({ tagName }) => tagName === name);
  return {
    width: number(root, "width"),
    height: number(root, "height"),
    title: named("title")[0]?.textContent ?? "",
    description: named("desc")[0]?.textContent ?? "",
    texts: named("text").map((element) => readText(element, number(root, "font-size"))),
    elements,
  };
}
