import { readdir } from "node:fs/promises";
import { type Picture, planarOf, type Preprocessing } from "@tastemaker/diffusion";
import { type Backend, gradients, input, reshape, sum, type Tensor } from "@tastemaker/tensor";
import { z } from "zod";

import { type CaseFile, type CaseTensor, caseError, type ReplayedTensor } from "./case-file.ts";
import { runOnce } from "./run-once.ts";

/** Fields that every case of a reward has. */
export const rewardCaseFields = {
  prompts: z.array(z.string()).min(1),
  /** One [prompt, image] per image. */
  pairs: z.array(z.tuple([z.int().min(0), z.int().min(0)])).min(1),
};

/** Kinds of reward cases; their folders hold `config.json` instead of `case.json`. */
export const rewardCaseKinds = ["pickscore", "hpsv2", "clipscore", "aesthetic", "blip", "imagereward"] as const;

/**
 * The pictures `image.0`, `image.1`, … of a case, `[H, W, 3]` with values 0 to 255.
 * @throws UsageError `case-invalid`
 */
export function picturesOf(kase: Pick<CaseFile, "directory" | "inputs">): Picture[] {
  const pictures: Picture[] = [];
  for (let n = 0; ; n++) {
    const found = kase.inputs.get(`image.${n}`);
    if (found === undefined) break;
    const [height, width, channels] = found.shape;
    if (found.shape.length !== 3 || channels !== 3 || !found.data.every((value) => Number.isInteger(value) && value >= 0 && value <= 255)) {
      throw caseError(kase, `image.${n} as [H, W, 3] of 0 to 255`, `[${found.shape.join(", ")}]`);
    }
    pictures.push({ height: height!, width: width!, pixels: Uint8Array.from(found.data) });
  }
  if (pictures.length === 0) throw caseError(kase, "pictures image.0, image.1, …", "none");
  return pictures;
}

/** Names of the checkpoints that lie in a case's folder, PyTorch's before safetensors. */
export async function checkpointNames(directory: string): Promise<string[]> {
  const names = (await readdir(directory)).sort();
  const isTensors = (name: string): boolean => name.endsWith(".safetensors") && name !== "inputs.safetensors" && name !== "expected.safetensors";
  return [...names.filter((name) => /\.(?:pt|pth|bin)$/.test(name)), ...names.filter(isTensors)];
}

/** Checks that every pair names a prompt and a picture. @throws UsageError `case-invalid` */
export function checkPairs(kase: CaseFile, pairs: readonly (readonly [number, number])[], prompts: number, pictures: number): void {
  for (const [prompt, picture] of pairs) {
    if (prompt >= prompts || picture >= pictures) throw caseError(kase, `pairs of ${prompts} prompts and ${pictures} pictures`, `[${prompt}, ${picture}]`);
  }
}

/** A list of numbers as a tensor. */
export function real(shape: readonly number[], data: ArrayLike<number>): CaseTensor {
  return { shape, data: Float64Array.from(data), dtype: "float32" };
}

/** A list of whole numbers as a tensor. */
export function whole(shape: readonly number[], data: ArrayLike<number>): CaseTensor {
  return { shape, data: Float64Array.from(data), dtype: "int32" };
}

/** Library pixel values of every picture, `[N, 3, S, S]`. */
export function libraryPixels(pictures: readonly Picture[], { size, pixelValues }: Preprocessing): CaseTensor {
  const count = 3 * size * size;
  const data = new Float64Array(pictures.length * count);
  for (const [n, picture] of pictures.entries()) data.set(pixelValues(picture), n * count);
  return real([pictures.length, 3, size, size], data);
}

/** Pixel values that the case records (`pixel_values`), so that preprocessing and network can be wrong one at a time; else those of the library path. */
export function pixelsOf({ inputs }: Pick<CaseFile, "inputs">, pictures: readonly Picture[], preprocessing: Preprocessing): CaseTensor {
  return inputs.get("pixel_values") ?? libraryPixels(pictures, preprocessing);
}

/** Rows of a tensor in another order. */
export function rowsOf({ shape, data, dtype }: CaseTensor, rows: readonly number[]): CaseTensor {
  const size = data.length / shape[0]!;
  const picked = new Float64Array(rows.length * size);
  for (const [i, row] of rows.entries()) picked.set(data.subarray(row * size, (row + 1) * size), i * size);
  return { shape: [rows.length, ...shape.slice(1)], data: picked, dtype };
}

/** What a replay computed, as the input of the next program. */
export function asInput({ shape, data }: ReplayedTensor): CaseTensor {
  return real(shape, data as ArrayLike<number>);
}

/** How a reward scores prepared pictures with the text that each belongs to. */
export interface PairScore {
  readonly preprocessing: Preprocessing;
  /** What it needs of the texts, one row per prompt. */
  readonly texts: Readonly<Record<string, CaseTensor>>;
  /** `pixels [B, 3, S, S]` and B rows of every text value → `[B]` */
  score(pixels: Tensor, texts: Readonly<Record<string, Tensor>>): Tensor;
}

/** Leaves for B rows of the texts. */
function textLeaves(texts: PairScore["texts"], rows: number): Record<string, Tensor> {
  return Object.fromEntries(Object.entries(texts).map(([name, { shape, dtype }]) => [name, input(name, [rows, ...shape.slice(1)], dtype)]));
}

function pairedTexts(texts: PairScore["texts"], prompts: readonly number[]): [string, CaseTensor][] {
  return Object.entries(texts).map(([name, tensor]) => [name, rowsOf(tensor, prompts)]);
}

/** Scores of the pairs by library pixels, and their gradient by these, `[N, 3, S, S]`. */
export async function pixelGradients(pair: PairScore, pixels: CaseTensor, pairs: readonly (readonly [number, number])[], backend: Backend): Promise<{ scores: ReplayedTensor; gradient: ReplayedTensor }> {
  const leaf = input("pixels", [pairs.length, ...pixels.shape.slice(1)]);
  const scores = pair.score(leaf, textLeaves(pair.texts, pairs.length));
  const gradient = gradients(sum(scores), [leaf])[0]!;
  const inputs = new Map([["pixels", rowsOf(pixels, pairs.map(([, picture]) => picture))], ...pairedTexts(pair.texts, pairs.map(([prompt]) => prompt))]);
  const results = await runOnce({ scores, gradient }, inputs, backend);
  return { scores: results.get("scores")!, gradient: results.get("gradient")! };
}

/**
 * The differentiable path of every pair: `float.pixel_values.n`, `float.<name>.n`, `float.grad_image.n` and, with `clamped`, the score of the resized picture clamped to [0, 1].
 */
export async function floatPaths(pair: PairScore, pictures: readonly Picture[], pairs: readonly (readonly [number, number])[], name: string, clamped: string | undefined, backend: Backend): Promise<Map<string, ReplayedTensor>> {
  const found = new Map<string, ReplayedTensor>();
  for (const [prompt, n] of pairs) {
    const picture = pictures[n]!;
    const { size } = pair.preprocessing;
    const image = input("image", [1, 3, picture.height, picture.width]);
    const texts = textLeaves(pair.texts, 1);
    const pixels = pair.preprocessing.trace(image);
    const score = reshape(pair.score(pixels, texts), []);
    const outputs: Record<string, Tensor> = {
      [`float.pixel_values.${n}`]: reshape(pixels, [3, size, size]),
      [`float.${name}.${n}`]: score,
      [`float.grad_image.${n}`]: reshape(gradients(score, [image])[0]!, [3, picture.height, picture.width]),
    };
    if (clamped !== undefined) outputs[`float.${clamped}.${n}`] = reshape(pair.score(pair.preprocessing.trace(image, true), texts), []);
    // In float64, whose 255ths planarOf would round.
    const values = Float64Array.from(planarOf(picture), (value) => Math.round(value * 255) / 255);
    const inputs = new Map<string, CaseTensor>([["image", real([1, 3, picture.height, picture.width], values)], ...pairedTexts(pair.texts, [prompt])]);
    for (const [key, value] of await runOnce(outputs, inputs, backend)) found.set(key, value);
  }
  return found;
}
