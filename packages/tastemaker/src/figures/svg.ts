import { InternalError } from "@tastemaker/tensor";

/** A rectangle in the figure's units: CSS pixels, 96 to the inch. */
export interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export type Attributes = Readonly<Record<string, string | number | undefined>>;

const entities: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

/** Text as XML, safe in elements and quoted attributes; characters that XML forbids become `?`. */
export function escapeXml(text: string): string {
  // oxlint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]|\p{Surrogate}/gu, "?").replace(/[&<>"]/g, (character) => entities[character]!);
}

/** A coordinate in hundredths of a pixel, so that files stay small and equal on every machine. */
export function round(value: number): string {
  if (!Number.isFinite(value)) throw new InternalError(`figure: expected a finite coordinate, got ${value}`);
  return String(Math.round(value * 100) / 100 + 0);
}

/** An SVG element; attributes that are undefined are left out. `children` is markup. */
export function element(name: string, attributes: Attributes, children = ""): string {
  const written = Object.entries(attributes)
    .filter((entry): entry is [string, string | number] => entry[1] !== undefined)
    .map(([key, value]) => ` ${key}="${typeof value === "number" ? round(value) : escapeXml(value)}"`);
  return children === "" ? `<${name}${written.join("")}/>` : `<${name}${written.join("")}>${children}</${name}>`;
}

export function line(x1: number, y1: number, x2: number, y2: number, attributes: Attributes): string {
  return element("line", { x1, y1, x2, y2, ...attributes });
}

export function rectangle({ x, y, width, height }: Box, attributes: Attributes): string {
  return element("rect", { x, y, width: Math.max(0, width), height: Math.max(0, height), ...attributes });
}
