import { type Picture } from "@tastemaker/diffusion";
import { UsageError } from "@tastemaker/tensor";
import sharp from "sharp";
import { encodePng } from "../images/contact-sheet.ts";
import { composeFigure } from "./compose.ts";
import { renderPng } from "./render-png.ts";
import { element } from "./svg.ts";
import { fitText, label, textWidth, wrapText } from "./text.ts";
import { figureWidth, margin, quiet, textSize } from "./theme.ts";

export interface PictureSheetRow {
  /** Such as `ROCM-KL`. */
  readonly label: string;
  /** A quieter second line, such as `β = 0.03`. */
  readonly note?: string;
  /** One for each prompt, 8-bit, all square and of one size. */
  readonly pictures: readonly Picture[];
}

export interface PictureSheetData {
  readonly title?: string;
  readonly caption: string;
  readonly prompts: readonly string[];
  readonly rows: readonly PictureSheetRow[];
  /** How pictures are enlarged: `nearest` shows their pixels, `lanczos3` smooths. */
  readonly kernel?: "nearest" | "lanczos3";
}

export interface PictureSheet {
  readonly png: Uint8Array;
  /** The same with the pictures inside; null above one megabyte. */
  readonly svg: string | null;
}

/** Pixels of the PNG per unit of the layout. */
const scale = 2;
const largestSvgBytes = 1_000_000;
const mostPixels = 64_000_000;
/** As browsers call it; the renderer knows SVG 1.1's word only. */
const pixelated = "image-rendering:pixelated";

/** A picture as a data URL: as it is for `nearest`, else enlarged to `side`. */
async function pictureUrl(picture: Picture, side: number, kernel: "nearest" | "lanczos3"): Promise<string> {
  // Browsers and the renderer repeat pixels themselves, which keeps files small.
  const png = kernel === "nearest" ? await encodePng(picture) : await sharp(picture.pixels, { raw: { width: picture.width, height: picture.height, channels: 3 } }).resize(side, side, { kernel }).png().toBuffer();
  return `data:image/png;base64,${Buffer.from(png).toString("base64")}`;
}

function checkRows({ prompts, rows }: PictureSheetData): number {
  const side = rows[0]?.pictures[0]?.width ?? 0;
  for (const { label: name, pictures } of rows) {
    if (pictures.length !== prompts.length) throw new UsageError("bad-figure-data", `pictures of ${name}: expected ${prompts.length}, one for each prompt, got ${pictures.length}`, "make a picture for every prompt");
    for (const { width, height, pixels } of pictures) {
      if (width !== side || height !== side || pixels.length !== side * side * 3) throw new UsageError("bad-figure-data", `pictures of ${name}: expected ${side} × ${side} with 3 channels, got ${width} × ${height} with ${pixels.length} numbers`, "use pictures of one size");
    }
  }
  if (side === 0) throw new UsageError("bad-figure-data", "picture sheet: expected at least one row with a picture, got none", "give pictures");
  return side;
}

/**
 * Pictures in a grid, a row per method and a column per prompt; small pictures are shown twice as large.
 * @throws UsageError `bad-figure-data` when pictures differ in size or a row lacks some
 */
export async function pictureSheet(data: PictureSheetData): Promise<PictureSheet> {
  const side = checkRows(data);
  const { title = "Same prompts, same noise", caption, prompts, rows, kernel = "lanczos3" } = data;
  const cell = Math.max(96, side <= 128 ? side * 2 : side);
  // Text of nine points when the whole sheet is printed seven inches wide.
  let size = textSize;
  let [labelWidth, width] = [0, 0];
  const [gap, step] = [6, () => (size * 4) / 3];
  for (let pass = 0; pass < 8; pass++) {
    labelWidth = Math.min(14 * size, Math.max(...rows.flatMap(({ label: name, note = "" }) => [textWidth(name, { size, isBold: true }), textWidth(note, { size })]))) + 12;
    width = Math.max(figureWidth, Math.ceil(2 * margin + Math.ceil(labelWidth) + prompts.length * (cell + gap) - gap));
    size = Math.max(textSize, (textSize * width) / figureWidth);
  }
  if (width * scale * rows.length * (cell + gap) * scale > mostPixels) throw new UsageError("bad-figure-data", `picture sheet: expected at most ${mostPixels} pixels, got ${prompts.length} × ${rows.length} pictures of ${side} × ${side}`, "show fewer pictures");
  const urls = await Promise.all(rows.map(({ pictures }) => Promise.all(pictures.map((picture) => pictureUrl(picture, cell, kernel)))));
  const heads = prompts.map((prompt) => {
    const lines = wrapText(prompt, cell, { size });
    // Four lines say what a prompt is; longer ones end with an ellipsis.
    return (lines.length > 4 ? [...lines.slice(0, 3), `${lines[3]} …`] : lines).map((text) => fitText(text, cell, { size }));
  });
  const headLines = Math.max(1, ...heads.map(({ length }) => length));
  const svg = composeFigure({
    title,
    width,
    textSize: size,
    description: `Pictures of ${rows.map(({ label: name, note }) => (note === undefined ? name : `${name} (${note})`)).join(", ")} for the prompts: ${prompts.join("; ")}.`,
    caption,
    body: (top) => {
      // Whole numbers, so that pixels of pictures are pixels of the PNG.
      const start = Math.ceil(top + 8 + headLines * step());
      const left = margin + Math.ceil(labelWidth);
      const captions = heads.map((lines, column) => lines.map((text, index) => label(text, left + column * (cell + gap), start - 8 - (lines.length - 1 - index) * step(), { size, colour: quiet })).join(""));
      const drawn = rows.map(({ label: name, note }, row) => {
        const y = start + row * (cell + gap);
        const middle = y + cell / 2 + size * 0.36;
        const name1 = label(fitText(name, labelWidth - 8, { size, isBold: true }), margin, note === undefined ? middle : middle - step() / 2, { size, isBold: true });
        const note1 = note === undefined ? "" : label(fitText(note, labelWidth - 8, { size }), margin, middle + step() / 2, { size, colour: quiet });
        const images = urls[row]!.map((href, column) =>
          element("image", { x: left + column * (cell + gap), y, width: cell, height: cell, href, style: kernel === "nearest" ? pixelated : undefined }),
        );
        return name1 + note1 + images.join("");
      });
      return { markup: captions.join("") + drawn.join("\n"), bottom: start + rows.length * (cell + gap) };
    },
  });
  return { png: await renderPng(svg.replaceAll(pixelated, "image-rendering:optimizeSpeed"), { scale }), svg: svg.length > largestSvgBytes ? null : svg };
}
