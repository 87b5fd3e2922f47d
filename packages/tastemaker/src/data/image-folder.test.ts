import { mkdtemp, mkdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { VisitOrder } from "./captioned-images.ts";
import { ImageFolder } from "./image-folder.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "captioned-"));
});
afterEach(() => rm(folder, { recursive: true }));

async function picture(
  name: string,
  width: number,
  height: number,
  background: string,
): Promise<void> {
  await sharp({ create: { width, height, channels: 3, background } }).toFile(join(folder, name));
}

describe("image folder", () => {
  it("reads captions from text files beside the pictures, in order of name", async () => {
    await mkdir(join(folder, "more"));
    await picture("b.png", 40, 20, "#ff0000");
    await picture("more/a.jpg", 20, 20, "#0000ff");
    await writeFile(join(folder, "b.txt"), "red\n");
    await writeFile(join(folder, "more/a.txt"), "blue");
    const images = await ImageFolder.open(folder, 16);
    expect([images.size, images.imageSize, images.captions()]).toEqual([2, 16, ["red", "blue"]]);
    const { captions, pixels } = await images.batch([1, 0]);
    expect(captions).toEqual(["blue", "red"]);
    expect(pixels).toHaveLength(2 * 3 * 256);
    expect(pixels[3 * 256]).toBe(1);
    expect(pixels[4 * 256]).toBe(0);
    expect(pixels[2 * 256]).toBeGreaterThan(0.95);
  });

  it("cuts out the centre after resizing the shortest side", async () => {
    const wide = Buffer.alloc(60 * 20 * 3);
    for (let y = 0; y < 20; y++) for (let x = 20; x < 40; x++) wide[3 * (y * 60 + x) + 1] = 255;
    await sharp(wide, { raw: { width: 60, height: 20, channels: 3 } })
      .png()
      .toFile(join(folder, "wide.png"));
    await writeFile(
      join(folder, "captions.jsonl"),
      '{"file_name": "wide.png", "text": "green in the middle"}\n',
    );
    const { pixels } = await (await ImageFolder.open(folder, 20)).get(0);
    expect(Array.from(pixels.subarray(400, 800)).every((green) => green > 0.99)).toBe(true);
  });

  it("puts white behind transparent pictures", async () => {
    await sharp({
      create: { width: 8, height: 8, channels: 4, background: { r: 0, g: 0, b: 0, alpha: 0 } },
    })
      .png()
      .toFile(join(folder, "clear.png"));
    await writeFile(join(folder, "metadata.jsonl"), '{"file_name":"clear.png","text":"nothing"}');
    expect((await (await ImageFolder.open(folder, 8)).get(0)).pixels[0]).toBe(1);
  });

  it("names what is wrong with its captions", async () => {
    await expect(ImageFolder.open(join(folder, "absent"), 8)).rejects.toThrow(/ENOENT/);
    await expect(ImageFolder.open(folder, 8)).rejects.toThrow(/expected pictures/);
    await picture("x.png", 8, 8, "#000000");
    await expect(ImageFolder.open(folder, 8)).rejects.toThrow(/none for 1 \(first: x\.png\)/);
    const list = join(folder, "captions.jsonl");
    await writeFile(list, '{"file_name":"x.png","text":"x"}\nnot json\n');
    await expect(ImageFolder.open(folder, 8)).rejects.toThrow(/captions\.jsonl:2/);
    await writeFile(list, '{"file_name":"x.png"}');
    await expect(ImageFolder.open(folder, 8)).rejects.toThrow(/"text"/);
    await writeFile(list, '{"file_name":"y.png","text":"y"}');
    await expect(ImageFolder.open(folder, 8)).rejects.toThrow(/got "y\.png"/);
  });

  it("names a picture that cannot be read", async () => {
    await writeFile(join(folder, "broken.png"), "not a picture");
    await writeFile(join(folder, "broken.txt"), "broken");
    const images = await ImageFolder.open(folder, 8);
    await expect(images.get(0)).rejects.toThrow(/broken\.png.*readable PNG/);
  });
});

describe("visit order", () => {
  it("visits each picture once per epoch, in another order each time, and can start anywhere", () => {
    const order = new VisitOrder(4, 50);
    const [first, second] = [order.indices(0, 50), order.indices(50, 50)];
    expect(first.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, i) => i));
    expect(second).not.toEqual(first);
    expect(new VisitOrder(4, 50).indices(37, 20)).toEqual([...first, ...second].slice(37, 57));
  });

  it("reads a generator in order", () => {
    expect(new VisitOrder(4, Infinity).indices(1000, 3)).toEqual([1000, 1001, 1002]);
  });
});
