import { mkdtempSync, rmSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32, deflateSync } from "node:zlib";
import sharp from "sharp";
import { afterAll, describe, expect, it } from "vitest";
import { readPicture } from "./read-picture.ts";

const folder: string = mkdtempSync(join(tmpdir(), "tastemaker-pictures-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function chunk(type: string, data: Uint8Array): Buffer {
  const body = Buffer.concat([Buffer.from(type), data]);
  const ends = Buffer.alloc(8);
  ends.writeUInt32BE(data.length, 0);
  ends.writeUInt32BE(crc32(body), 4);
  return Buffer.concat([ends.subarray(0, 4), body, ends.subarray(4)]);
}

/** A PNG of the given header, with `rows` as its only data. */
function png(width: number, height: number, bits: number, colourType: number, rows: Uint8Array, ...others: Buffer[]): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([bits, colourType], 8);
  return Buffer.concat([Buffer.from("\x89PNG\r\n\x1a\n", "latin1"), chunk("IHDR", header), ...others, chunk("IDAT", deflateSync(rows)), chunk("IEND", new Uint8Array())]);
}

describe("pictures are decoded as Pillow's convert(\"RGB\") does", () => {
  it("CMYK as inks without a profile", async () => {
    // 8×8 pixels (40, 200, 90, 60), written by Pillow 12.3, which reads them as below.
    const jpeg = Buffer.from("/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwABAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB/8AAFAgACAAIBEMRAE0RAFkRAEsRAP/EABUAAQEAAAAAAAAAAAAAAAAAAAoJ/8QAFBABAAAAAAAAAAAAAAAAAAAAAP/aAA4EQwBNAFkASwAAPwBXA26lBDD/2Q==", "base64");
    const { height, width, pixels } = await readPicture(jpeg, "cmyk.jpg");
    expect([height, width, ...pixels.subarray(0, 3)]).toEqual([8, 8, 164, 42, 126]);
    expect(new Set(pixels)).toEqual(new Set([164, 42, 126]));
  });

  it("grey of 16 bits as white from 255 on, also with a transparent grey; grey with alpha by its high bytes", async () => {
    const grey = [0, 3, 254, 255, 256, 65_535];
    const line = (samples: readonly number[]): Buffer => Buffer.from([0, ...samples.flatMap((value) => [value >> 8, value & 255])]);
    const expected = grey.flatMap((value) => Array<number>(3).fill(Math.min(value, 255)));
    const plain = png(grey.length, 1, 16, 0, line(grey));
    expect([...(await readPicture(plain, "grey")).pixels]).toEqual(expected);
    const marked = png(grey.length, 1, 16, 0, line(grey), chunk("tRNS", Buffer.from([0, 3])));
    expect([...(await readPicture(marked, "marked")).pixels]).toEqual(expected);
    const file = join(folder, "marked.png");
    await writeFile(file, marked);
    expect([...(await readPicture(file, file)).pixels]).toEqual(expected);
    const alpha = png(grey.length, 1, 16, 4, line(grey.flatMap((value) => [value, 9])));
    expect([...(await readPicture(alpha, "alpha")).pixels]).toEqual(grey.flatMap((value) => Array<number>(3).fill(value >> 8)));
  });

  it("transparent pixels keep their colour, orientation tags turn nothing", async () => {
    const rgba = await sharp(Uint8Array.of(10, 20, 30, 0, 200, 100, 50, 255), { raw: { width: 2, height: 1, channels: 4 } }).png().toBuffer();
    expect([...(await readPicture(rgba, "rgba")).pixels]).toEqual([10, 20, 30, 200, 100, 50]);
    const turned = await sharp(rgba).withMetadata({ orientation: 6 }).png().toBuffer();
    expect(await readPicture(turned, "turned")).toMatchObject({ height: 1, width: 2 });
  });
});

describe("pictures are refused", () => {
  const svg = Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"><rect width="2" height="4" fill="red"/></svg>');

  it("where Pillow would decode something else, or nothing", async () => {
    const others: readonly (readonly [string, Buffer])[] = [
      ["svg", svg],
      ["GIF with transparency", await sharp(svg).gif().toBuffer()],
      ["heif", await sharp(svg).avif().toBuffer()],
      ["TIFF", await sharp(svg).toColourspace("rgb16").tiff({ compression: "none" }).toBuffer()],
      ["unsupported", Buffer.from("no picture")],
    ];
    for (const [word, bytes] of others) await expect(readPicture(bytes, "p"), word).rejects.toMatchObject({ code: "picture-unreadable", message: expect.stringContaining(word) as string });
  });

  it("when they are cut off, or declare more pixels than a picture has", async () => {
    const whole = await sharp(svg).resize(200, 200).png().toBuffer();
    await expect(readPicture(whole.subarray(0, whole.length - 60), "cut")).rejects.toMatchObject({ code: "picture-unreadable" });
    const bomb = png(10_000, 9_000, 8, 2, new Uint8Array(100));
    await expect(readPicture(bomb, "bomb")).rejects.toMatchObject({ code: "picture-unreadable", message: expect.stringContaining("more than 89478485 pixels") as string });
  });
});
