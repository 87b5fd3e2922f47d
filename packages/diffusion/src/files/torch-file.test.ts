import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { sharedPath } from "../../../tensor/src/testing/shared.ts";
import { encodeTorchZip } from "../testing/torch-zip.ts";
import { memoryFile } from "./random-access-file.ts";
import { readTensorBytes } from "./safetensors.ts";
import type { TensorToStore } from "./safetensors-writer.ts";
import { readTorchFile } from "./torch-file.ts";
import { readWeightFile } from "./weight-file.ts";

const folder = sharedPath("golden", "rewards", "pickles");

interface Expectation {
  readonly expect: "load" | "reject" | "either";
  readonly tensors?: Readonly<Record<string, { readonly dtype: string; readonly shape: readonly number[]; readonly sha256: string }>>;
}
const expectations = folder === undefined ? {} : (JSON.parse(readFileSync(join(folder, "expectations.json"), "utf8")) as { files: Record<string, Expectation> }).files;
const names = (...outcomes: readonly string[]): string[] => Object.keys(expectations).filter((name) => outcomes.includes(expectations[name]!.expect));

describe.skipIf(folder === undefined)("PyTorch files (recorded; needs ../shared)", () => {
  const open = (name: string): ReturnType<typeof memoryFile> => memoryFile(name, readFileSync(join(folder ?? "", name)));
  /** Reads everything of a file and compares it with what PyTorch wrote. */
  const check = async (name: string, hasMore = false): Promise<void> => {
    const file = open(name);
    const { tensors } = await readWeightFile(file);
    const expected = expectations[name]!.tensors ?? {};
    if (!hasMore) expect([...tensors.keys()].sort()).toEqual(Object.keys(expected).sort());
    for (const [path, { dtype, shape, sha256 }] of Object.entries(expected)) {
      const tensor = tensors.get(path)!;
      expect([tensor.dtype, tensor.shape]).toEqual([dtype, shape]);
      expect(createHash("sha256").update(await readTensorBytes(file, tensor)).digest("hex"), path).toBe(sha256);
    }
  };

  it.each(names("load"))("%s gives PyTorch's tensors", (name) => check(name));

  it.each(names("reject"))("%s is refused in one sentence", async (name) => {
    await expect(readTorchFile(open(name))).rejects.toMatchObject({ name: "UsageError", message: expect.stringContaining(name) as string });
  });

  it.each(names("either"))("%s is refused or read rightly", async (name) => {
    try {
      if (expectations[name]!.tensors === undefined) await readTorchFile(open(name));
      else await check(name, true);
    } catch (error) {
      expect((error as Error).name, String(error)).toBe("UsageError");
    }
  });

  it("covers every recorded file", () => {
    const files = ["valid", "malicious", "broken", "mutated"].flatMap((part) => readdirSync(join(folder ?? "", part)).map((name) => `${part}/${name}`));
    expect(files.sort()).toEqual(Object.keys(expectations).sort());
  });
});

describe("damaged PyTorch files", () => {
  const whole = encodeTorchZip(
    new Map<string, TensorToStore>([
      ["a.weight", { dtype: "F32", shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, 5, 6) }],
      ["a.bias", { dtype: "F32", shape: [2], data: Float32Array.of(7, 8) }],
    ]),
  );

  it("are read or refused, never anything else", async () => {
    const place = fc.nat({ max: whole.length - 1 });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(place, fc.nat({ max: 255 })), { minLength: 1, maxLength: 4 }), fc.option(place), async (changes, cut) => {
        const bytes = whole.slice(0, cut ?? whole.length);
        for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
        const file = memoryFile("damaged.pt", bytes);
        try {
          const { tensors } = await readWeightFile(file);
          for (const entry of tensors.values()) await readTensorBytes(file, entry);
        } catch (error) {
          expect((error as Error).name, String(error)).toBe("UsageError");
        }
      }),
      { numRuns: 500, seed: 7 },
    );
  });
});
