import { readFileSync } from "node:fs";

import { describe, expect, it } from "vitest";

import { sharedPath } from "../../../tensor/src/testing/shared.ts";
import { memoryFile } from "../files/random-access-file.ts";
import { readSafetensorsHeader, readTensorFloat64 } from "../files/safetensors.ts";
import { antialiasedCubicMatrix, type CroppedAxis, type Matrix, plainCubicMatrix, shorterSideAxes, shorterSideSize } from "./resize-matrix.ts";

interface ResizeJson {
  readonly cases: readonly { readonly case: number; readonly in: readonly [number, number]; readonly out: readonly [number, number] }[];
  readonly antialias_taps: Readonly<Record<string, readonly { readonly first: number; readonly weights: readonly number[] }[]>>;
  readonly sizes: readonly {
    readonly in: readonly [number, number];
    readonly target: number;
    readonly shortest_edge: readonly [number, number];
    readonly crop_floor: readonly [number, number];
    readonly crop_half_even: readonly [number, number];
  }[];
}

const folder = sharedPath("golden", "rewards", "resize");
const golden = folder === undefined ? undefined : (JSON.parse(readFileSync(`${folder}/resize.json`, "utf8")) as ResizeJson);

/** rows · image · columnsᵀ of one channel. */
function apply(rows: Matrix, columns: Matrix, image: Float64Array): Float64Array {
  const half = new Float64Array(rows.rows * columns.columns);
  for (let i = 0; i < rows.rows; i++) {
    for (let k = 0; k < rows.columns; k++) {
      for (let j = 0; j < columns.columns; j++) half[i * columns.columns + j]! += rows.data[i * rows.columns + k]! * image[k * columns.columns + j]!;
    }
  }
  const result = new Float64Array(rows.rows * columns.rows);
  for (let i = 0; i < rows.rows; i++) {
    for (let j = 0; j < columns.rows; j++) {
      for (let k = 0; k < columns.columns; k++) result[i * columns.rows + j]! += columns.data[j * columns.columns + k]! * half[i * columns.columns + k]!;
    }
  }
  return result;
}

/** Index in `whole` of the first output of `part`. */
function firstRow(whole: Matrix, { start, end, matrix }: CroppedAxis): number {
  for (let i = 0; i < whole.rows; i++) {
    const row = whole.data.subarray(i * whole.columns, (i + 1) * whole.columns);
    if (row.every((x, j) => x === (j >= start && j < end ? matrix.data[j - start] : 0))) return i;
  }
  return -1;
}

describe("resize matrices", () => {
  it("have rows that sum to one and are the identity when the size stays", () => {
    for (const [from, to] of [[5, 3], [3, 5], [64, 14], [14, 64]] as const) {
      for (const matrix of [antialiasedCubicMatrix(from, to), plainCubicMatrix(from, to)]) {
        for (let i = 0; i < to; i++) {
          const row = matrix.data.slice(i * from, (i + 1) * from);
          expect(row.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 12);
        }
      }
    }
    expect([...antialiasedCubicMatrix(4, 4).data].map((x) => x + 0)).toEqual([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]);
  });

  it.skipIf(golden === undefined)("have the taps of the reference", () => {
    for (const [name, rows] of Object.entries(golden!.antialias_taps)) {
      const [from, to] = name.split("->").map(Number) as [number, number];
      const matrix = antialiasedCubicMatrix(from, to);
      for (const [i, { first, weights }] of rows.entries()) {
        for (let j = 0; j < from; j++) expect(Math.abs(matrix.data[i * from + j]! - (weights[j - first] ?? 0))).toBeLessThan(1e-13);
      }
    }
  });

  it.skipIf(golden === undefined)("give the reference's pictures with and without antialiasing", async () => {
    const bytes = readFileSync(`${folder}/resize.safetensors`);
    const file = memoryFile("resize.safetensors", bytes);
    const { tensors } = await readSafetensorsHeader(file);
    let compared = 0;
    for (const { case: name, in: [height, width], out: [tall, wide] } of golden!.cases) {
      const image = await readTensorFloat64(file, tensors.get(`${name}.image`)!);
      const plane = Float64Array.from({ length: height * width }, (_, i) => image[3 * i]!);
      for (const [kind, make] of [["antialias", antialiasedCubicMatrix], ["plain", plainCubicMatrix]] as const) {
        const entry = tensors.get(`${name}.${kind}`);
        if (entry === undefined) continue;
        const expected = (await readTensorFloat64(file, entry)).subarray(0, tall * wide);
        const got = apply(make(height, tall), make(width, wide), plane);
        expect(Math.max(...got.map((x, i) => Math.abs(x - expected[i]!)))).toBeLessThan(1e-9);
        compared++;
      }
    }
    expect(compared).toBeGreaterThan(4);
  });

  it.skipIf(golden === undefined)("resize the shorter side and crop where transformers and torchvision do", () => {
    for (const { in: [height, width], target, shortest_edge, crop_floor, crop_half_even } of golden!.sizes) {
      expect(shorterSideSize(height, width, target)).toEqual(shortest_edge);
      const [tall, wide] = shortest_edge;
      for (const [rule, [top, left]] of [["floor", crop_floor], ["half-even", crop_half_even]] as const) {
        const { rows, columns } = shorterSideAxes(height, width, target, rule);
        expect([firstRow(antialiasedCubicMatrix(height, tall), rows), firstRow(antialiasedCubicMatrix(width, wide), columns)]).toEqual([top, left]);
      }
    }
  });
});
