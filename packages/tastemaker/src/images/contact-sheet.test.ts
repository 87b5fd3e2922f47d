import { pictureOf } from "@tastemaker/diffusion";
import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { contactSheet, cutSheet, sheetColumns } from "./contact-sheet.ts";

/** Picture n: noise of its own, with a white first column as many pictures on white have. */
const picture = (side: number, n: number): number[] => Array.from({ length: 3 * side * side }, (_, i) => (i % side === 0 ? 1 : ((i * 7919 + n * 104_729) % 251) / 255));

describe("a sheet of pictures", () => {
  it.each([1, 2, 3, 4, 5, 7, 8, 16].flatMap((count) => [1, 2].flatMap((zoom) => [6, 7].map((side) => ({ count, zoom, side })))))("gives its pictures back: %j", async ({ count, zoom, side }) => {
    const pictures = Array.from({ length: count }, (_, n) => picture(side, n));
    const { data, info } = await sharp(await contactSheet(pictures, side, sheetColumns(count), zoom)).raw().toBuffer({ resolveWithObject: true });
    const sheet = { pixels: new Uint8Array(data), width: info.width, height: info.height };
    expect(cutSheet(sheet, count, sheetColumns(count))).toEqual(pictures.map((one) => pictureOf(one, side, side)));
    expect(cutSheet(sheet, count, sheetColumns(count), 3)).toHaveLength(Math.min(3, count));
    expect(() => cutSheet(sheet, count + 4, sheetColumns(count))).toThrow(/expected \d+ square pictures/);
  });
});
