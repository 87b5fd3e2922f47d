import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { UsageError } from "@tastemaker/tensor";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { sharedPath } from "../../../tensor/src/testing/shared.ts";
import { encodeTorchZip } from "../testing/torch-zip.ts";
import { memoryFile, type RandomAccessFile } from "./random-access-file.ts";
import { readTensorBytes } from "./safetensors.ts";
import { encodeSafetensors, type TensorToStore } from "./safetensors-writer.ts";
import { readWeightFile } from "./weight-file.ts";

const runs = 10_000;
const pickles = sharedPath("golden", "rewards", "pickles", "valid");
const safetensors = sharedPath("golden", "rewards", "safetensors", "valid");

const tensors: ReadonlyMap<string, TensorToStore> = new Map([
  ["a.weight", { dtype: "F32", shape: [2, 3], data: Float32Array.from([1, 2, 3, 4, 5, 6]) }],
  ["a.bias", { dtype: "F32", shape: [3], data: Float32Array.from([7, 8, 9]) }],
  ["b", { dtype: "F32", shape: [], data: Float32Array.of(0.5) }],
]);

/** Whole files to damage: our own writers' and, where the folder is there, every small recorded one (all layouts of PyTorch). */
function originals(): { name: string; bytes: Uint8Array }[] {
  const recorded = [pickles, safetensors].flatMap((folder) => (folder === undefined ? [] : readdirSync(folder).map((name) => ({ name, bytes: new Uint8Array(readFileSync(join(folder, name))) }))));
  return [{ name: "own.pt", bytes: encodeTorchZip(tensors) }, { name: "own.safetensors", bytes: encodeSafetensors(tensors) }, ...recorded.filter(({ bytes }) => bytes.length > 0 && bytes.length < 20_000)];
}

/** A file that counts what is read of it, and refuses what lies outside. */
function countingFile(name: string, bytes: Uint8Array): RandomAccessFile & { total(): number } {
  const inner = memoryFile(name, bytes);
  let total = 0;
  return {
    ...inner,
    total: () => total,
    read: (offset, length) => {
      expect(Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0, `read(${offset}, ${length})`).toBe(true);
      total += length;
      return inner.read(offset, length);
    },
  };
}

interface Damage {
  readonly kind: "set" | "flip" | "cut" | "insert" | "repeat" | "number";
  readonly at: number;
  readonly value: number;
}

const damage: fc.Arbitrary<Damage> = fc.record({ kind: fc.constantFrom("set", "set", "flip", "number", "insert", "repeat", "cut"), at: fc.nat(), value: fc.nat() });

function damaged(bytes: Uint8Array, list: readonly Damage[]): Uint8Array {
  let result = bytes.slice();
  for (const { kind, at, value } of list) {
    if (result.length < 8) break;
    const place = at % result.length;
    if (kind === "set") result[place] = value & 255;
    else if (kind === "flip") result[place]! ^= 1 << (value & 7);
    else if (kind === "cut") result = value % 2 === 0 ? result.slice(0, place) : result.slice(place);
    else if (kind === "number") new DataView(result.buffer).setUint32(Math.min(place, result.length - 4), [0, 1, 0x7fffffff, 0x80000000, 0xffffffff, value >>> 0][value % 6]!, value % 2 === 0);
    else {
      const length = 1 + (value % Math.min(64, result.length));
      const piece = kind === "insert" ? new Uint8Array(length).fill(value & 255) : result.slice(place, place + length);
      const longer = new Uint8Array(result.length + piece.length);
      longer.set(result.subarray(0, place));
      longer.set(piece, place);
      longer.set(result.subarray(place), place + piece.length);
      result = longer;
    }
  }
  return result;
}

describe("damaged weight files", () => {
  const files = originals();

  it(`are read or refused with one clear error, ${runs} of them, and reading takes no more than a few times their bytes`, async () => {
    let [read, refused] = [0, 0];
    await fc.assert(
      fc.asyncProperty(fc.nat({ max: files.length - 1 }), fc.array(damage, { minLength: 1, maxLength: 5 }), async (which, list) => {
        const { name, bytes } = files[which]!;
        const file = countingFile(name, damaged(bytes, list));
        try {
          const { tensors: found } = await readWeightFile(file);
          // Headers and pickles once or twice, each record's own header, nothing of the data.
          expect(file.total()).toBeLessThanOrEqual(4 * file.sizeBytes + 70_000);
          for (const entry of found.values()) {
            expect(entry.offset + (entry.strides === undefined ? entry.sizeBytes : 0)).toBeLessThanOrEqual(file.sizeBytes);
            const values = await readTensorBytes(file, entry).catch((error: unknown) => {
              expect(error).toBeInstanceOf(UsageError);
            });
            if (values !== undefined) expect(values.byteLength).toBeLessThanOrEqual(Math.max(2 * file.sizeBytes, 65_536));
          }
          read++;
        } catch (error) {
          if (!(error instanceof UsageError)) throw error;
          refused++;
        }
      }),
      { numRuns: runs, seed: 4 },
    );
    // Damage of both kinds was met: what matters and what does not.
    expect(read).toBeGreaterThan(runs / 50);
    expect(refused).toBeGreaterThan(runs / 10);
  }, 120_000);
});
