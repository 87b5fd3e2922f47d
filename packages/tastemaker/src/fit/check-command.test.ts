import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileWriter, parquetWrite } from "hyparquet-writer";
import { describe, expect, it } from "vitest";
import { withTemporaryFolder } from "../testing/child.ts";
import { type Ended, runInProcess } from "../testing/in-process.ts";
import { writePictures } from "../testing/pair-pictures.ts";

const check = (pairs: string, ...more: string[]): Promise<Ended> => runInProcess("reward", "check", "--reward", "compressibility", "--pairs", pairs, "--threads", "1", ...more);

describe("reward check", () => {
  it("names the row of a damaged picture, not the place that it was copied to", () =>
    withTemporaryFolder(async (folder) => {
      await writePictures(folder, 2);
      const [first, second] = [0, 1].map((i) => new Uint8Array(readFileSync(join(folder, `pictures/${i}.png`)))) as [Uint8Array, Uint8Array];
      const pairs = join(folder, "pairs.parquet");
      await parquetWrite({
        writer: fileWriter(pairs),
        columnData: [
          { name: "prompt", data: ["a cat", "a dog"], type: "STRING" },
          { name: "image_a", data: [first, first], type: "BYTE_ARRAY" },
          { name: "image_b", data: [second, second.slice(0, 60)], type: "BYTE_ARRAY" },
          { name: "label", data: [1, 0], type: "DOUBLE" },
        ],
      });
      const { code, stderr } = await check(pairs);
      expect(code).toBe(2);
      expect(stderr).toMatch(/\(at the second picture of .*pairs\.parquet, row 2\)/);
    }));

  it("creates the folders of its files, and refuses places where nothing can be written before it judges", () =>
    withTemporaryFolder(async (folder) => {
      await writePictures(folder, 2);
      const pairs = join(folder, "pairs.csv");
      writeFileSync(pairs, "prompt,image_a,image_b,label\na cat,pictures/0.png,pictures/1.png,1\n");
      const [out, chart] = [join(folder, "new/deep/check.json"), join(folder, "new/chart.svg")];
      const done = await check(pairs, "--out", out, "--chart", chart);
      expect(done).toMatchObject({ code: 0, stdout: expect.stringMatching(/^1 pairs\n/) as string });
      expect(JSON.parse(readFileSync(out, "utf8"))).toMatchObject({ pairs: 1 });
      expect(existsSync(chart)).toBe(true);
      for (const option of ["--out", "--chart"]) {
        for (const [place, message] of [[join(pairs, "check.json"), "expected a folder, got a file"], [folder, "it is a folder, not a file"]] as const) {
          const { code, stdout, stderr } = await check(pairs, option, place);
          expect([code, stdout]).toEqual([2, ""]);
          expect(stderr).toMatch(new RegExp(`^error: .*${message}`));
          expect(stderr).not.toContain("judging");
        }
      }
    }));
});
