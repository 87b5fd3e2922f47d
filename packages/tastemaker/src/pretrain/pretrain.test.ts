import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { openDiffusersDirectory, readSafetensorsHeader } from "@tastemaker/diffusion";
import { readCurves, readEvents } from "../logs/testing/read-events.ts";
import { openNodeFile, openNodeFolder } from "../platform/node-files.ts";
import { nodeBackend } from "../platform/runtime.ts";
import { openReward } from "../rewards/open-reward.ts";
import { runTastemaker, startTastemaker, withTemporaryFolder } from "../testing/child.ts";

const blocks = { down_block_types: ["DownEncoderBlock2D", "DownEncoderBlock2D"], up_block_types: ["UpDecoderBlock2D", "UpDecoderBlock2D"] };
const vaeConfig = { in_channels: 3, out_channels: 3, latent_channels: 4, block_out_channels: [8, 8], layers_per_block: 1, norm_num_groups: 4, ...blocks };
const textConfig = { hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1, num_attention_heads: 2, hidden_act: "quick_gelu" };
const unetConfig = {
  sample_size: 8,
  block_out_channels: [8, 16],
  down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D"],
  up_block_types: ["CrossAttnUpBlock2D", "UpBlock2D"],
  layers_per_block: 1,
  attention_head_dim: 2,
  cross_attention_dim: 16,
  norm_num_groups: 4,
};

/** Twelve 16×16 pictures of three colours with captions. */
async function writePictures(folder: string): Promise<string> {
  const pictures = join(folder, "pictures");
  mkdirSync(pictures);
  const lines: string[] = [];
  const colors = { red: [200, 30, 30], green: [30, 180, 60], blue: [40, 60, 220] };
  for (let i = 0; i < 12; i++) {
    const [word, [r, g, b]] = Object.entries(colors)[i % 3]! as [string, [number, number, number]];
    const shade = 10 * Math.floor(i / 3);
    await sharp({ create: { width: 16, height: 16, channels: 3, background: { r: r - shade, g, b } } }).png().toFile(join(pictures, `${i}.png`));
    lines.push(JSON.stringify({ file_name: `${i}.png`, text: `a ${word} square` }));
  }
  writeFileSync(join(pictures, "captions.jsonl"), lines.join("\n"));
  return pictures;
}

const set = (values: Readonly<Record<string, unknown>>): string[] => Object.entries(values).flatMap(([key, value]) => ["--set", `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`]);
const vaeSettings = set({ imageSize: 16, config: vaeConfig, cropSide: 8, cropBatch: 4, batch: 4, samples: 240 });

const readRows = <Row>(file: string): Row[] =>
  readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Row);
const losses = (run: string): number[] => readRows<{ loss: number }>(join(run, "metrics.jsonl")).map(({ loss }) => loss);
const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/** Starts a command and kills it once its run holds a checkpoint whose name is not before `name`. */
async function killAfterCheckpoint(run: string, name: string, ...command: string[]): Promise<void> {
  const killed = startTastemaker(...command);
  const checkpoints = join(run, "checkpoints");
  const isThere = (): boolean => existsSync(checkpoints) && readdirSync(checkpoints).some((found) => found.startsWith("step-") && found >= name);
  while (!isThere() && killed.child.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 20));
  killed.child.kill("SIGKILL");
  await killed.finished;
}

describe("pretraining on a folder of captioned pictures", () => {
  it("makes an autoencoder, a diffusion model and a consistency model that load as one diffusers directory", () =>
    withTemporaryFolder(async (folder) => {
      const pictures = await writePictures(folder);
      const vae = await runTastemaker("pretrain", "vae", "--data", pictures, "--out", join(folder, "vae"), ...vaeSettings);
      expect(vae.code, vae.stderr).toBe(0);
      const vaeLosses = losses(join(folder, "vae"));
      expect(mean(vaeLosses.slice(-5))).toBeLessThan(0.8 * mean(vaeLosses.slice(0, 5)));

      const unetArguments = set({ imageSize: 16, config: unetConfig, textConfig, vae: join(folder, "vae/model/vae"), batch: 6, samples: 360, cache: 12 });
      const unet = await runTastemaker("pretrain", "unet", "--data", pictures, "--out", join(folder, "unet"), ...unetArguments);
      expect(unet.code, unet.stderr).toBe(0);
      const unetLosses = losses(join(folder, "unet"));
      expect(mean(unetLosses.slice(-5))).toBeLessThan(mean(unetLosses.slice(0, 5)));

      const teacher = join(folder, "unet/model");
      const distillArguments = ["--data", pictures, ...set({ imageSize: 16, batch: 4, samples: 320, trajectories: 8, visits: 1, cache: 12, condWidth: 16 })];
      const distill = await runTastemaker("distill", teacher, "--out", join(folder, "lcm"), ...distillArguments);
      expect(distill.code, distill.stderr).toBe(0);
      const distillLosses = losses(join(folder, "lcm"));
      expect(mean(distillLosses.slice(-5))).toBeLessThan(mean(distillLosses.slice(0, 5)));

      // Killed within a later round of trajectories, it goes on to the same bytes.
      await killAfterCheckpoint(join(folder, "killed"), "step-000024", "distill", teacher, "--out", join(folder, "killed"), ...distillArguments);
      const resumed = await runTastemaker("distill", teacher, "--out", join(folder, "killed"), ...distillArguments);
      expect(resumed.code, resumed.stderr).toBe(0);
      const weights = "model/unet/diffusion_pytorch_model.safetensors";
      expect(readFileSync(join(folder, "killed", weights)).equals(readFileSync(join(folder, "lcm", weights)))).toBe(true);

      const other = await runTastemaker("distill", teacher, "--out", join(folder, "lcd"), "--set", "method=consistency", "--data", pictures, ...set({ imageSize: 16, batch: 4, samples: 64, cache: 12, condWidth: 16 }));
      expect(other.code, other.stderr).toBe(0);
      expect(losses(join(folder, "lcd")).every(Number.isFinite)).toBe(true);

      const student = join(folder, "lcm/model");
      const model = await openDiffusersDirectory(await openNodeFolder(student));
      expect(model.scheduler.className).toBe("LCMScheduler");
      const generated = await runTastemaker("generate", "a red square", "--model", student, "--out", join(folder, "red.png"), "--steps", "2", "--guidance", "2");
      expect(generated.code, generated.stderr).toBe(0);
      expect((await sharp(join(folder, "red.png")).metadata()).width).toBe(16);
    }));

  it("continues after a kill to the same bytes as an uninterrupted run", () =>
    withTemporaryFolder(async (folder) => {
      const pictures = await writePictures(folder);
      const command = (out: string): string[] => ["pretrain", "vae", "--data", pictures, "--out", join(folder, out), ...vaeSettings];
      const whole = await runTastemaker(...command("whole"));
      expect(whole.code, whole.stderr).toBe(0);
      await killAfterCheckpoint(join(folder, "killed"), "step-", ...command("killed"));
      const resumed = await runTastemaker(...command("killed"));
      expect(resumed.code, resumed.stderr).toBe(0);
      for (const file of ["metrics.jsonl", "model/vae/diffusion_pytorch_model.safetensors"]) {
        expect(readFileSync(join(folder, "killed", file)).equals(readFileSync(join(folder, "whole", file))), file).toBe(true);
      }
      const [curves, expected] = [readCurves(join(folder, "killed")), readCurves(join(folder, "whole"))];
      expect(expected["training/loss"]!.map(([, loss]) => loss)).toEqual(losses(join(folder, "whole")).map(Math.fround));
      for (const [tag, curve] of Object.entries(expected)) if (tag.startsWith("training/")) expect(curves[tag], tag).toEqual(curve);
      const sheets = readEvents(join(folder, "killed")).flatMap(({ step, images }) => Object.keys(images).map((tag) => ({ step, tag })));
      expect(sheets.at(-1)).toEqual({ step: 240, tag: "samples/sheet" });
      expect(new Set(sheets.map(({ step }) => step)).size).toBe(sheets.length);
    }));

  it("trains a CLIP that tells the captions apart", () =>
    withTemporaryFolder(async (folder) => {
      const pictures = await writePictures(folder);
      const vision_config = { hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1, num_attention_heads: 2, image_size: 16, patch_size: 8 };
      const config = { projection_dim: 8, text_config: textConfig, vision_config };
      const out = join(folder, "clip");
      const done = await runTastemaker("pretrain", "clip", "--data", pictures, "--out", out, ...set({ imageSize: 16, config, batch: 6, samples: 480, learningRate: 3e-3 }));
      expect(done.code, done.stderr).toBe(0);
      const values = losses(out);
      expect(mean(values.slice(-10))).toBeLessThan(0.9 * mean(values.slice(0, 10)));
      const { tensors } = await readSafetensorsHeader(await openNodeFile(join(out, "model/clip/model.safetensors")));
      expect(tensors.has("visual_projection.weight")).toBe(true);
    }));

  it("trains a BLIP whose two heads tell the captions apart, that opens as blip-score, to the same bytes after a kill", () =>
    withTemporaryFolder(async (folder) => {
      const pictures = await writePictures(folder);
      const config = { embed_dim: 8, vision: { width: 16, layers: 1, heads: 2, patch_size: 8, image_size: 16 }, text: { hidden_size: 16, layers: 1, heads: 2 } };
      const command = (out: string): string[] => ["pretrain", "blip", "--data", pictures, "--out", join(folder, out), ...set({ imageSize: 16, config, batch: 6, samples: 1200, learningRate: 3e-3 })];
      const done = await runTastemaker(...command("whole"));
      expect(done.code, done.stderr).toBe(0);
      const rows = readRows<{ loss_contrastive: number; loss_matching: number }>(join(folder, "whole", "metrics.jsonl"));
      for (const name of ["loss_contrastive", "loss_matching"] as const) {
        const values = rows.map((row) => row[name]);
        expect(mean(values.slice(-10)), name).toBeLessThan(0.8 * mean(values.slice(0, 10)));
      }
      // Chance: 1/3 of the captions, and 1/2.
      const scores = readRows<{ retrieval: number; reranked: number; matching: number }>(join(folder, "whole", "timings.jsonl")).at(-1)!;
      expect(Math.min(scores.retrieval, scores.reranked)).toBeGreaterThan(0.8);
      expect(scores.matching).toBeGreaterThan(0.8);

      const blip = join(folder, "whole/model/blip");
      const reward = await openReward({ name: "blip-score", path: blip }, nodeBackend({ threads: 1 }), undefined);
      const red = { width: 16, height: 16, pixels: Uint8Array.from({ length: 768 }, (_, i) => [190, 30, 30][i % 3]!) };
      const [right, wrong] = await reward.score([red, red], ["a red square", "a blue square"]);
      await reward.dispose();
      expect(right! - wrong!).toBeGreaterThan(0.2);

      await killAfterCheckpoint(join(folder, "killed"), "step-", ...command("killed"));
      const resumed = await runTastemaker(...command("killed"));
      expect(resumed.code, resumed.stderr).toBe(0);
      for (const file of ["config.json", "model.safetensors", "vocab.txt"]) {
        expect(readFileSync(join(folder, "killed/model/blip", file)).equals(readFileSync(join(blip, file))), file).toBe(true);
      }

      // Begun with what it made, it goes on from there.
      const more = await runTastemaker(...command("more"), ...set({ from: blip, samples: 60, learningRate: 1e-4 }));
      expect(more.code, more.stderr).toBe(0);
      expect(losses(join(folder, "more"))[0]).toBeLessThan(0.8 * losses(join(folder, "whole"))[0]!);
    }));

  it.each([
    ["an unknown setting", ["--set", "bach=4"], /bach/],
    ["a picture size that the world does not have", ["--data", "emoji", "--set", "imageSize=32"], /imageSize/],
    ["a folder without pictures", ["--data", "."], /picture|caption/],
  ])("answers %s with one clear error", async (_, more, message) =>
    withTemporaryFolder(async (folder) => {
      const { code, stderr } = await runTastemaker("pretrain", "vae", "--out", join(folder, "run"), ...more.map((value) => (value === "." ? folder : value)));
      expect(code).toBe(2);
      expect(stderr).toMatch(message);
    }),
  );
});
