import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { gradients } from "../gradient.ts";
import { encodeProgram } from "../onnx/encode.ts";
import { add, mul } from "../ops/elementwise.ts";
import { conv2d } from "../ops/convolution.ts";
import { input, weight } from "../ops/leaves.ts";
import { matmul } from "../ops/matmul.ts";
import { sum } from "../ops/reductions.ts";
import { recompute } from "../ops/segment.ts";
import { reshape } from "../ops/shaping.ts";
import { program } from "../program.ts";
import { normal } from "../random.ts";
import { type Shape, sizeOf } from "../shape.ts";
import type { WeightSource } from "../tensor.ts";
import { difference } from "../testing/difference.ts";
import { runOnnx, runtime } from "../testing/run-program.ts";
import { onnxBackend } from "./onnx-backend.ts";
import { referenceBackend } from "./reference-backend.ts";

const folder = realpathSync(mkdtempSync(join(tmpdir(), "tensor-weights-")));
afterAll(() => rmSync(folder, { recursive: true }));

/** Bits of a half-precision number; the values used here are small integers divided by 8, exact in both formats. */
function halfBits(value: number, dtype: "F16" | "BF16"): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer)[0]!;
  if (dtype === "BF16" || value === 0) return bits >>> 16;
  const exponent = ((bits >>> 23) & 0xff) - 127 + 15;
  return ((bits >>> 16) & 0x8000) | (exponent << 10) | ((bits >>> 13) & 0x3ff);
}

/** Eighths between −2 and 2. */
const values = (stream: string, shape: Shape): Float64Array =>
  normal({ seed: 5, stream, indices: [] }, sizeOf(shape)).map((v) => Math.max(-2, Math.min(2, Math.round(8 * v) / 8)));

/** Writes tensors as a `.safetensors` file would hold them (header, then data) and says where they are. */
function writeWeights(file: string, specs: readonly (readonly [string, WeightSource["dtype"], Shape])[], header: string): WeightSource[] {
  const parts: Uint8Array[] = [new TextEncoder().encode(header)];
  let offset = parts[0]!.length;
  const sources = specs.map(([key, dtype, shape]) => {
    const numbers = values(key, shape);
    const bytes = new Uint8Array(dtype === "F32" ? Float32Array.from(numbers).buffer : Uint16Array.from(numbers, (v) => halfBits(v, dtype)).buffer);
    const source: WeightSource = { key, file, offset, sizeBytes: bytes.length, dtype, shape };
    parts.push(bytes);
    offset += bytes.length;
    return source;
  });
  writeFileSync(file, Buffer.concat(parts));
  return sources;
}

/** Reads stored numbers for the float64 interpreter. */
function readWeight({ file, offset, sizeBytes, dtype }: WeightSource): Float64Array {
  const bytes = Uint8Array.from(readFileSync(file).subarray(offset, offset + sizeBytes));
  if (dtype === "F32") return Float64Array.from(new Float32Array(bytes.buffer));
  return Float64Array.from(new Uint16Array(bytes.buffer), (bits) => {
    if (dtype === "BF16") return new Float32Array(Uint32Array.of(bits << 16).buffer)[0]!;
    const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
    return exponent === 0 ? (sign * fraction) / 2 ** 24 : sign * 2 ** (exponent - 15) * (1 + fraction / 1024);
  });
}

mkdirSync(join(folder, "unet"));
mkdirSync(join(folder, "vae"));
const [kernel, rows] = writeWeights(
  join(folder, "unet", "model.safetensors"),
  [["conv.weight", "F32", [3, 2, 3, 3]], ["linear.weight", "F16", [4, 6]]],
  "odd header....",
) as [WeightSource, WeightSource];
const [bias, scale] = writeWeights(join(folder, "vae", "model.safetensors"), [["bias", "BF16", [4]], ["scale", "F32", []]], "{}......") as [WeightSource, WeightSource];

/** Convolution, projection and affine map by weights of three types in two files, with the input's gradient. */
function build() {
  const x = input("x", [2, 2, 4, 4]);
  const features = reshape(conv2d(x, weight(kernel), { padding: 1 }), [-1, 6]);
  const [y] = recompute((v) => [mul(add(matmul(v, weight(rows), { transposeB: true }), weight(bias)), weight(scale))], [features]);
  return program({ y: y!, dx: gradients(sum(mul(y!, y!)), [x])[0]!, copy: weight(rows), kernel: weight(kernel) });
}

describe("frozen weights in files", () => {
  const inputs = { x: Float32Array.from(values("x", [2, 2, 4, 4])) };

  it.each(["fast", "low"] as const)("are used in place in F32, F16 and BF16 (%s)", async (memory) => {
    const exact = await (await referenceBackend(readWeight).compile(build())).run(inputs);
    expect(exact["copy"]!.data).toEqual(values("linear.weight", [4, 6]));
    const actual = await runOnnx(build(), inputs, {}, { memory });
    expect(Array.from(actual["copy"]!.data)).toEqual(Array.from(exact["copy"]!.data));
    expect(Array.from(actual["kernel"]!.data)).toEqual(Array.from(exact["kernel"]!.data));
    for (const name of ["y", "dx"]) expect(difference(actual[name]!.data, exact[name]!.data), name).toBeLessThan(1e-6);
  });

  it("give the same numbers after a rest, and none after the end", async () => {
    for (const memory of ["fast", "low"] as const) {
      const executable = await onnxBackend(runtime).compile(build(), { memory });
      const before = await executable.run(inputs);
      await executable.rest();
      await executable.rest();
      expect(await executable.run(inputs)).toEqual(before);
      const [left, right] = await Promise.all([executable.rest(), executable.run(inputs)]);
      expect([left, right]).toEqual([undefined, before]);
      await executable.dispose();
      await expect(executable.run(inputs)).rejects.toThrow("disposed of");
    }
  });

  it("stay out of the model's bytes", () => {
    const encoded = encodeProgram(build(), { provider: "cpu", convInputGradient: "transpose" });
    expect(encoded.folder).toBe(`${folder}/`);
    for (const { file, offset } of [kernel, rows]) {
      expect(Buffer.from(encoded.model).includes(readFileSync(file).subarray(offset, offset + 16))).toBe(false);
    }
  });

  it("are found through a link when its real path is given", async () => {
    const link = join(folder, "link.safetensors");
    symlinkSync(kernel.file, link);
    const { w } = await runOnnx(program({ w: weight({ ...kernel, file: realpathSync(link) }) }), {});
    expect(Array.from(w!.data)).toEqual(Array.from(values("conv.weight", [3, 2, 3, 3])));
  });

  it("may be viewed in two shapes", async () => {
    const traced = program({ a: add(weight(kernel), 0.5), b: add(weight({ ...kernel, shape: [54] }), 0.5) });
    const { a, b } = await runOnnx(traced, {});
    expect(b!.shape).toEqual([54]);
    expect(Array.from(b!.data)).toEqual(Array.from(a!.data));
  });
});
