import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { sharedPath } from "../../../tensor/src/testing/shared.ts";
import { memoryFile } from "../files/random-access-file.ts";
import { readSafetensorsHeader, readTensor } from "../files/safetensors.ts";
import { resizePillow } from "./pillow-resize.ts";

const folder = sharedPath("golden", "rewards", "resize");

type Size = readonly [number, number];
interface Recorded {
  readonly cases: readonly { readonly case: number; readonly in: Size; readonly out: Size; readonly pillow13_differs: boolean }[];
  readonly patterns: readonly { readonly in: Size; readonly out: Size; readonly input_sha256: string; readonly pillow_sha256: string; readonly pillow13_sha256: string }[];
}
const { cases, patterns }: Recorded = folder === undefined ? { cases: [], patterns: [] } : (JSON.parse(readFileSync(`${folder}/resize.json`, "utf8")) as Recorded);

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

describe.skipIf(folder === undefined)("Pillow's bicubic resize, bit for bit (recorded; needs ../shared)", () => {
  it.each(cases.map((kase) => [kase.case, kase] as const))("case %d", async (_, { case: index, in: from, out: to, pillow13_differs }) => {
    const file = memoryFile("resize", readFileSync(`${folder}/resize.safetensors`));
    const { tensors } = await readSafetensorsHeader(file);
    const read = async (name: string): Promise<Uint8Array> => (await readTensor(file, tensors.get(`${index}.${name}`)!)) as Uint8Array;
    const image = await read("image");
    expect(Buffer.compare(resizePillow(image, from, to), await read("pillow"))).toBe(0);
    expect(Buffer.compare(resizePillow(image, from, to, "pillow-13"), await read(pillow13_differs ? "pillow13" : "pillow"))).toBe(0);
  });

  it.each(patterns.map((pattern) => [`${pattern.in.join("×")} to ${pattern.out.join("×")}`, pattern] as const))("pattern %s", (_, { in: from, out: to, input_sha256, pillow_sha256, pillow13_sha256 }) => {
    const [height, width] = from;
    const image = new Uint8Array(height * width * 3);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        for (let c = 0; c < 3; c++) image[(y * width + x) * 3 + c] = (7 * x + 13 * y + 29 * c + ((x * y) >> 3) + 40 * (((x >> 4) ^ (y >> 4)) & 1)) & 255;
      }
    }
    expect(sha256(image)).toBe(input_sha256);
    expect(sha256(resizePillow(image, from, to))).toBe(pillow_sha256);
    expect(sha256(resizePillow(image, from, to, "pillow-13"))).toBe(pillow13_sha256);
  });
});
