import { existsSync, readdirSync, readFileSync } from "node:fs";
import { rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileWriter, parquetWrite } from "hyparquet-writer";
import { describe, expect, it } from "vitest";
import { uniform } from "@tastemaker/tensor";
import { runTastemaker, startTastemaker, withTemporaryFolder } from "../testing/child.ts";
import { writePictures } from "../testing/pair-pictures.ts";
import { tinyBlipWeights, tinyOpenClipWeights, writeTinyReward } from "../testing/tiny-rewards.ts";
import { tinyPrompts, writeTinyWorld } from "../testing/tiny-world.ts";

interface Row {
  readonly prompt: string;
  readonly image_a: string;
  readonly image_b: string;
  readonly label: number | string;
}

/** Pairs in which the redder picture wins, and some ties of a picture with itself. */
async function redPairs(folder: string, count = 320): Promise<Row[]> {
  const pictures = 64;
  const redness = await writePictures(folder, pictures);
  const draws = uniform({ seed: 4, stream: "pairs", indices: [] }, 2 * count);
  return Array.from({ length: count }, (_, i): Row => {
    const a = Math.floor(draws[2 * i]! * pictures);
    const b = i % 20 === 0 ? a : (a + 1 + Math.floor(draws[2 * i + 1]! * (pictures - 1))) % pictures;
    const label = a === b ? "tie" : redness[a]! > redness[b]! ? "a" : "b";
    return { prompt: tinyPrompts[i % tinyPrompts.length]!, image_a: `pictures/${a}.png`, image_b: `pictures/${b}.png`, label };
  });
}

const jsonLines = (rows: readonly object[]): string => rows.map((row) => JSON.stringify(row)).join("\n");

interface Fit {
  readonly settings: { readonly pairs: { readonly training: number }; readonly heldOut: { readonly pairs: number } };
  readonly scale: { readonly factor: number; readonly from: string };
  readonly heldOut: { readonly pairs: number; readonly ties: number; readonly accuracy: { readonly share: number; readonly low: number; readonly high: number }; readonly logLoss: number; readonly calibration: readonly { readonly n: number }[] };
  readonly curve: readonly { readonly picturesSeen: number; readonly accuracy: number }[];
}

const readFit = (out: string): Fit => JSON.parse(readFileSync(join(out, "fit.json"), "utf8")) as Fit;

const common = ["--threads", "1", "--batch-size", "16", "--held-out-share", "0.2"];

describe("a reward fitted to pairs in which the redder picture wins", () => {
  it.each([
    ["pick-score", ["--learning-rate", "0.01", "--pictures-seen", "4800"]],
    ["hpsv2", ["--learning-rate", "0.01", "--pictures-seen", "4800"]],
    ["aesthetic", ["--learning-rate", "0.02", "--pictures-seen", "9600"]],
  ])("predicts held-out choices: %s", (kind, more) =>
    withTemporaryFolder(async (folder) => {
      const { clip } = await writeTinyWorld(folder, 1);
      const pairs = join(folder, "pairs.jsonl");
      await writeFile(pairs, jsonLines(await redPairs(folder)));
      const out = join(folder, "fitted");
      const done = await runTastemaker("reward", "fit", "--kind", kind, "--from", clip, "--pairs", pairs, "--out", out, ...common, ...more);
      expect(done.code, done.stderr).toBe(0);
      const { heldOut, curve, settings, scale } = readFit(out);
      expect(heldOut.accuracy.share).toBeGreaterThan(0.9);
      expect(heldOut.accuracy.low).toBeLessThan(heldOut.accuracy.share);
      expect(heldOut.ties).toBeGreaterThan(0);
      expect(heldOut.pairs).toBe(settings.heldOut.pairs);
      expect(settings.pairs.training + heldOut.pairs).toBe(320);
      expect(heldOut.calibration.reduce((total, { n }) => total + n, 0)).toBe(heldOut.pairs);
      expect(scale.from).toBe("own");
      expect(curve.length).toBeGreaterThan(10);
      expect(curve.at(-1)!.accuracy).toBeGreaterThan(curve[0]!.accuracy - 0.05);
      expect(readFileSync(join(out, "calibration.svg"), "utf8")).toContain("</svg>");

      // The folder alone is a reward, for `check` as for training.
      const checked = await runTastemaker("reward", "check", "--reward", kind, "--path", out, "--pairs", pairs, "--threads", "1", "--out", join(folder, "check.json"));
      expect(checked.code, checked.stderr).toBe(0);
      const check = JSON.parse(readFileSync(join(folder, "check.json"), "utf8")) as Fit["heldOut"];
      expect(check.pairs).toBe(320);
      expect(check.accuracy.share).toBeGreaterThan(0.9);
    }),
  );

  it("reads pairs of BLIP's kind: image-reward", () =>
    withTemporaryFolder(async (folder) => {
      await writeTinyReward(join(folder, "blip"), tinyBlipWeights(5, 2), { vision: { image_size: 8 } });
      const pairs = join(folder, "pairs.jsonl");
      await writeFile(pairs, jsonLines(await redPairs(folder)));
      const out = join(folder, "fitted");
      const done = await runTastemaker("reward", "fit", "--kind", "image-reward", "--from", join(folder, "blip"), "--pairs", pairs, "--out", out, ...common, "--learning-rate", "0.01", "--pictures-seen", "9600");
      expect(done.code, done.stderr).toBe(0);
      const first = readFit(out);
      expect(first.heldOut.accuracy.share).toBeGreaterThan(0.9);
      expect(first.scale.factor).toBeCloseTo(1.0333394966054072, 12);
      // A fitted reward is a start for the next: with next to no learning it stays what it is.
      const again = await runTastemaker("reward", "fit", "--kind", "image-reward", "--from", out, "--pairs", pairs, "--out", join(folder, "again"), ...common, "--learning-rate", "1e-9", "--pictures-seen", "64");
      expect(again.code, again.stderr).toBe(0);
      expect(readFit(join(folder, "again")).heldOut.logLoss).toBeCloseTo(first.heldOut.logLoss, 4);
    }));
});

describe("reward fit", () => {
  it("begins with a file of OpenAI's names, and takes its tokenizer along under any name, with several workers", () =>
    withTemporaryFolder(async (folder) => {
      const clip = join(folder, "clip");
      await writeTinyReward(clip, new Map([...tinyOpenClipWeights(3), ["logit_scale", { dtype: "F32", shape: [], data: Float32Array.of(2.5) }]]));
      await rename(join(clip, "bpe.txt"), join(folder, "my-merges.txt"));
      const vocabulary = ["--vocabulary", join(folder, "my-merges.txt")];
      const pairs = join(folder, "pairs.jsonl");
      await writeFile(pairs, jsonLines(await redPairs(folder, 80)));
      const out = join(folder, "fitted");
      const done = await runTastemaker("reward", "fit", "--kind", "hpsv2", "--from", clip, ...vocabulary, "--pairs", pairs, "--out", out, "--learning-rate", "1e-12", "--pictures-seen", "256", "--workers", "2", "--train-layers", "1", ...common);
      expect(done.code, done.stderr).toBe(0);
      // With next to no learning the scores are the old ones, but for float16.
      const logLossOf = async (path: string, ...more: string[]): Promise<number> => {
        const file = join(folder, "check.json");
        const checked = await runTastemaker("reward", "check", "--reward", "hpsv2", "--path", path, "--pairs", pairs, "--threads", "1", "--out", file, ...more);
        expect(checked.code, checked.stderr).toBe(0);
        return (JSON.parse(readFileSync(file, "utf8")) as { logLoss: number }).logLoss;
      };
      expect(await logLossOf(out)).toBeCloseTo(await logLossOf(clip, ...vocabulary), 3);
    }));

  it("goes on after a kill to the same bytes as without", () =>
    withTemporaryFolder(async (folder) => {
      const { clip } = await writeTinyWorld(folder, 1);
      const pairs = join(folder, "pairs.jsonl");
      await writeFile(pairs, jsonLines(await redPairs(folder)));
      const command = (out: string): string[] => ["reward", "fit", "--kind", "pick-score", "--from", clip, "--pairs", pairs, "--out", join(folder, out), ...common, "--pictures-seen", "3200"];
      const whole = await runTastemaker(...command("whole"));
      expect(whole.code, whole.stderr).toBe(0);
      const killed = startTastemaker(...command("killed"));
      const checkpoints = join(folder, "killed/run/checkpoints");
      while (!(existsSync(checkpoints) && readdirSync(checkpoints).some((name) => name.startsWith("step-"))) && killed.child.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 10));
      killed.child.kill("SIGKILL");
      await killed.finished;
      expect(existsSync(join(folder, "killed/fit.json"))).toBe(false);
      const resumed = await runTastemaker(...command("killed"));
      expect(resumed.code, resumed.stderr).toBe(0);
      for (const name of ["model.safetensors", "config.json", "fit.json", "calibration.svg", "run/metrics.jsonl"]) {
        expect(readFileSync(join(folder, "killed", name)).equals(readFileSync(join(folder, "whole", name))), name).toBe(true);
      }
      const other = await runTastemaker(...command("killed"), "--seed", "1");
      expect(other.code).toBe(2);
      expect(other.stderr).toMatch(/expected the settings and files that the run was begun with/);
      const onto = await runTastemaker("reward", "fit", "--kind", "pick-score", "--from", clip, "--pairs", pairs, "--out", clip);
      expect(onto.code).toBe(2);
      expect(onto.stderr).toMatch(/--out: expected a new or empty folder/);
    }));

  it("leaves out training pairs whose prompts are held out in a file of their own, and reads parquet with its pictures", () =>
    withTemporaryFolder(async (folder) => {
      const { clip } = await writeTinyWorld(folder, 1);
      const rows = await redPairs(folder, 160);
      const bytes = (image: string): Uint8Array => new Uint8Array(readFileSync(join(folder, image)));
      const table = join(folder, "elsewhere.parquet");
      const columnData = [
        { name: "prompt", data: rows.map(({ prompt }) => prompt), type: "STRING" as const },
        { name: "image_a", data: rows.map(({ image_a: image }) => bytes(image)), type: "BYTE_ARRAY" as const },
        { name: "image_b", data: rows.map(({ image_b: image }) => bytes(image)), type: "BYTE_ARRAY" as const },
        { name: "label", data: rows.map(({ label }) => (label === "tie" ? 0.5 : label === "a" ? 1 : 0)), type: "DOUBLE" as const },
        { name: "probability", data: rows.map(({ label }) => (label === "tie" ? 0.5 : label === "a" ? 0.8 : 0.1)), type: "DOUBLE" as const },
      ];
      await parquetWrite({ writer: fileWriter(table), columnData });
      const heldOut = join(folder, "held-out.jsonl");
      await writeFile(heldOut, jsonLines(rows.filter(({ prompt }) => prompt === tinyPrompts[0])));
      const out = join(folder, "fitted");
      const done = await runTastemaker("reward", "fit", "--kind", "pick-score", "--from", clip, "--pairs", table, "--held-out", heldOut, "--out", out, "--threads", "1", "--pictures-seen", "128");
      expect(done.code, done.stderr).toBe(0);
      expect(done.stderr).toContain("left out 20 training pairs whose prompts are held out");
      const { settings } = readFit(out);
      expect([settings.pairs.training, settings.heldOut.pairs]).toEqual([140, 20]);
      const checked = await runTastemaker("reward", "check", "--reward", "clip-score", "--path", clip, "--pairs", table, "--threads", "1", "--out", join(folder, "check.json"));
      expect(checked.code, checked.stderr).toBe(0);
      const check = JSON.parse(readFileSync(join(folder, "check.json"), "utf8")) as { scale: { from: string }; noiseCeiling: number; logLoss: number; ofCeiling: number; accuracy: { share: number } };
      expect(check.scale.from).toBe("fitted");
      expect(check.logLoss).toBeLessThanOrEqual(Math.log(2) + 1e-9);
      expect(check.noiseCeiling).toBeGreaterThan(0.8);
      expect(check.noiseCeiling).toBeLessThan(0.9);
      expect(check.ofCeiling).toBeCloseTo(check.accuracy.share / check.noiseCeiling, 12);
    }));
});
