import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { writeFileAtomic } from "../storage/atomic-file.ts";
import { renderPng, type RenderOptions } from "./render-png.ts";

export interface WrittenFigure {
  readonly svgPath: string;
  readonly pngPath: string;
}

/**
 * Writes a figure as SVG and PNG, each atomically; folders are made.
 * @param path With or without `.svg` or `.png`.
 * @throws UsageError `bad-svg`, and as `writeFileAtomic`
 */
export async function writeFigure(path: string, svg: string, options: RenderOptions = {}): Promise<WrittenFigure> {
  const stem = path.replace(/\.(svg|png)$/i, "");
  const png = await renderPng(svg, options);
  await mkdir(dirname(stem), { recursive: true });
  const written = { svgPath: `${stem}.svg`, pngPath: `${stem}.png` };
  await writeFileAtomic(written.svgPath, svg);
  await writeFileAtomic(written.pngPath, png);
  return written;
}
