import { existsSync } from "node:fs";
import { truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { withTemporaryFolder } from "../testing/child.ts";
import type { Pair } from "./pairs.ts";
import { labelWarnings } from "./label-warnings.ts";
import { type Ended, runInProcess } from "../testing/in-process.ts";
import { writePictures } from "../testing/pair-pictures.ts";
import { tinyPrompts, writeTinyWorld } from "../testing/tiny-world.ts";

/** A table of pairs of plain pictures, two pairs of each prompt. */
async function writePairs(folder: string, labelOf: (pair: number) => number = (pair) => pair % 2): Promise<string> {
  await writePictures(folder, 4);
  const rows = tinyPrompts.flatMap((prompt, p) => [0, 1].map((i) => `${prompt},pictures/${i}.png,pictures/${i + 2}.png,${labelOf(2 * p + i)}`));
  const table = join(folder, "pairs.csv");
  await writeFile(table, ["prompt,image_a,image_b,label", ...rows].join("\n"));
  return table;
}

const fit = (folder: string, pairs: string, from: string, ...more: string[]): Promise<Ended> => runInProcess("reward", "fit", "--kind", "pick-score", "--from", from, "--pairs", pairs, "--out", join(folder, "out"), "--threads", "1", "--held-out-share", "0.2", ...more);

describe("reward fit", () => {
  it.each(["pick-score", "hpsv2", "image-reward", "aesthetic"])("says in one line that there is nothing to begin with: %s", (kind) =>
    withTemporaryFolder(async (folder) => {
      const pairs = await writePairs(folder);
      expect(await fit(folder, pairs, join(folder, "nix"), "--kind", kind)).toMatchObject({ code: 2, stderr: `error: reward fit: expected an existing folder or file, got nothing (at ${join(folder, "nix")}); check --from\n` });
      expect(await fit(folder, pairs, "owner/nope:x", "--kind", kind)).toMatchObject({ code: 2, stderr: "error: reward fit: expected an existing folder or file, got nothing (at owner/nope:x); run `tastemaker fetch owner/nope:x`, and give the path that it prints\n" });
    }),
  );

  it("names the row of a damaged picture before it trains", () =>
    withTemporaryFolder(async (folder) => {
      const { clip } = await writeTinyWorld(folder, 1);
      const pairs = await writePairs(folder);
      const damaged = join(folder, "pictures/3.png");
      await truncate(damaged, 60);
      const { code, stderr } = await fit(folder, pairs, clip);
      expect(code).toBe(2);
      expect(stderr).toMatch(/^error: picture: expected a readable PNG, .* \(at .*pictures\/3\.png, the second picture of .*pairs\.csv, row \d+\)/m);
      expect(existsSync(join(folder, "out/run"))).toBe(false);
    }));

  it.each(["0", "-1e-3", "1.5", "fast"])("needs a learning rate above 0 and at most 1, not %s", async (rate) => {
    const { code, stderr } = await fit("/nowhere", "/nowhere/pairs.csv", "/nowhere/clip", "--learning-rate", rate);
    expect([code, stderr]).toEqual([2, expect.stringMatching(/--learning-rate.*expected a number above 0 and at most 1/)]);
  });

  it("says once what it sees at the end", () =>
    withTemporaryFolder(async (folder) => {
      const { clip } = await writeTinyWorld(folder, 1);
      const { code, stderr } = await fit(folder, await writePairs(folder), clip, "--batch-size", "4", "--pictures-seen", "16");
      expect(code, stderr).toBe(0);
      expect(stderr.match(/^pick-score \d+: accuracy/gm)).toEqual(["pick-score 8: accuracy", "pick-score 16: accuracy"]);
    }));

  it("warns of training pairs that are all ties", () =>
    withTemporaryFolder(async (folder) => {
      const { clip } = await writeTinyWorld(folder, 1);
      const { code, stderr } = await fit(folder, await writePairs(folder, () => 0.5), clip, "--batch-size", "4", "--pictures-seen", "8");
      expect(code, stderr).toBe(0);
      expect(stderr).toContain("warning: all 12 training pairs are ties: ");
    }));
});

describe("warnings about labels", () => {
  const warningsOf = (...labels: number[]): readonly string[] => labelWarnings(labels.map((label): Pair => ({ prompt: "", first: "", second: "", isCopied: false, label, probability: undefined, where: "" })));

  it("are given where nothing or one side alone is preferred, ties aside", () => {
    expect(warningsOf(0.5, 0.5)).toEqual([expect.stringMatching(/^all 2 training pairs are ties: /)]);
    expect(warningsOf(1, 1, 0.5)).toEqual([expect.stringMatching(/^the first picture is the better one in all 2 training pairs that are no ties: /)]);
    expect(warningsOf(0, 0)).toEqual([expect.stringMatching(/^the second picture is the better one in all 2 training pairs: /)]);
    expect(warningsOf(1, 0, 0.5)).toEqual([]);
  });
});
