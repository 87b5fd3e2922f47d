import type { Picture } from "@tastemaker/diffusion";
import { describe, expect, it } from "vitest";
import { nodeBackend } from "../platform/runtime.ts";
import { openReward } from "./open-reward.ts";

const backend = nodeBackend({ threads: 1 });

type Value = (y: number, x: number, c: number, width: number) => number;
const hash: Value = (y, x, c) => (x * x * 7 + y * 131 + x * y * 13 + c * 57) % 256;
const mixed: Value = (y, x, c, width) => (x < Math.floor(width / 2) ? 200 - 20 * c : hash(y, x, c, width));

function picture(value: Value, height: number, width: number): Picture {
  return { height, width, pixels: Uint8Array.from({ length: height * width * 3 }, (_, i) => value(Math.floor(i / (3 * width)), Math.floor(i / 3) % width, i % 3, width)) };
}

describe("JPEG rewards", () => {
  it("count the bytes that Pillow 13 saves at quality 95", async () => {
    // Image.fromarray(picture).save(buffer, format="JPEG", quality=95); buffer.tell()
    const rows: readonly (readonly [Picture, number])[] = [
      [picture(() => 90, 64, 64), 691],
      [picture((_y, x, _c, width) => Math.floor((x * 255) / (width - 1)), 64, 64), 1145],
      [picture(hash, 64, 64), 5275],
      [picture(mixed, 48, 80), 2960],
      [picture(hash, 17, 23), 1205],
      [picture(mixed, 512, 512), 152_462],
    ];
    const reward = await openReward({ name: "incompressibility" }, backend, undefined);
    const prompts = rows.map(() => "a cat");
    const pictures = rows.map(([shown]) => shown);
    expect(await reward.score(pictures, prompts)).toEqual(rows.map(([, bytes]) => bytes / 1000));
    expect(reward).toMatchObject({ unit: "kB of the JPEG at quality 95", needsText: false, files: [] });
    const opposite = await openReward({ name: "compressibility" }, backend, undefined);
    expect(await opposite.score(pictures, prompts)).toEqual(rows.map(([, bytes]) => -bytes / 1000));
  });

  it("have no weights and no gradient", async () => {
    await expect(openReward({ name: "compressibility", path: "somewhere" }, backend, undefined)).rejects.toMatchObject({ name: "UsageError", message: expect.stringContaining("expected no path, because it has no weights, got somewhere") as string });
    expect((await openReward({ name: "compressibility" }, backend, undefined)).gradient).toBeUndefined();
  });
});
