// The U-Net stage of pretraining against PyTorch: same starting weights, pictures, noise and learning rates; loss curves and pictures per second.
// Run: npx tsx --conditions=@tastemaker/source bench/pretrain-unet.ts --python PYTHON [--steps 30] [--batch 8] [--result FILE.json]
// PYTHON needs torch, diffusers and transformers. Without --python only this side runs.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { encodeSafetensors, initialise, type TensorToStore } from "@tastemaker/diffusion";
import { type HostData, normal } from "@tastemaker/tensor";
import { openAutoencoder } from "../packages/tastemaker/src/pretrain/open-component.ts";
import { runPretraining } from "../packages/tastemaker/src/pretrain/pretrain-loop.ts";
import { openOrCreateRun } from "../packages/tastemaker/src/pretrain/run-stage.ts";
import { loadSettings, unetSettings } from "../packages/tastemaker/src/pretrain/settings.ts";
import { sinusoids } from "../packages/tastemaker/src/pretrain/sinusoids.ts";
import { captionTokens, vocabularyOf } from "../packages/tastemaker/src/pretrain/text-ids.ts";
import { tensorsOf, unetStage } from "../packages/tastemaker/src/pretrain/unet-stage.ts";
import { nodeBackend } from "../packages/tastemaker/src/platform/runtime.ts";
import { median, writeResult } from "./support/result.ts";
import { writeRandomWorld } from "./support/world-model.ts";

const { values: options } = parseArgs({
  options: { steps: { type: "string", default: "30" }, batch: { type: "string", default: "8" }, python: { type: "string" }, result: { type: "string" } },
});
const [steps, batch, seed] = [Number(options.steps), Number(options.batch), 1];
const folder = mkdtempSync(join(tmpdir(), "bench-pretrain-"));
const world = await writeRandomWorld(folder);

const nouns = ["cat", "dog", "house", "tree", "ship", "star", "fish", "cake"];
const captions = Array.from({ length: 160 }, (_, i) => `a ${["red", "blue", "green", "small", "big"][i % 5]} ${nouns[i % 8]} on a ${["white", "yellow", "pink"][i % 3]} background`);
const shape = [4, 16, 16] as const;
const cache = { count: captions.length, captions, shape, data: Float32Array.from(normal({ seed, stream: "latents", indices: [] }, captions.length * 1024)) };
const settings = await loadSettings(unetSettings, undefined, ["vae=unused", `batch=${batch}`]);
const backend = nodeBackend({ threads: 2 });
const tokens = captionTokens(vocabularyOf(captions), 20);
const stage = unetStage(settings, cache, await openAutoencoder(join(world.model, "vae")), tokens, ["a red cat"], seed, backend);
const [phase] = stage.phases;

/** Everything of a run that PyTorch needs to repeat it. */
async function record(): Promise<void> {
  const initial = initialise(stage.parameters, seed);
  const files = await stage.finish(initial);
  for (const part of ["unet", "text_encoder"]) {
    mkdirSync(join(folder, part));
    writeFileSync(join(folder, part, "config.json"), files.get(`${part}/config.json`)!);
    const name = part === "unet" ? "diffusion_pytorch_model" : "model";
    writeFileSync(join(folder, part, `${name}.safetensors`), encodeSafetensors(tensorsOf(initial, stage.parameters, `${part}.`), new Map([["format", "pt"]])));
  }
  const width = phase!.program.inputs.find(({ name }) => name === "sinusoid")!.tensor.shape[1]!;
  const timesteps = Array.from({ length: 1000 }, (_, t) => t);
  const table = sinusoids(timesteps, width);
  const stored = new Map<string, TensorToStore>();
  for (let step = 0; step < steps; step++) {
    const feeds = (await phase!.feeds(step * batch, step)) as Record<"sample" | "noise" | "weight" | "sinusoid" | "ids", HostData>;
    const shapes = { sample: [batch, ...shape], noise: [batch, ...shape], weight: [batch], ids: [batch, tokens.length] } as const;
    for (const name of ["sample", "noise", "weight", "ids"] as const) stored.set(`${step}.${name}`, { dtype: "F32", shape: shapes[name], data: Float32Array.from(feeds[name]) });
    // The timestep is the row of the table that the step was fed with.
    const found = Array.from({ length: batch }, (_, row) => timesteps.find((t) => [0, 1, width / 2, width - 1].every((i) => table[t * width + i] === feeds.sinusoid[row * width + i]))!);
    stored.set(`${step}.timestep`, { dtype: "F32", shape: [batch], data: Float32Array.from(found) });
  }
  writeFileSync(join(folder, "steps.safetensors"), encodeSafetensors(stored, new Map()));
}
await record();

const starts: number[] = [];
const timed = { ...stage, phases: [{ ...phase!, feeds: (seen: number, step: number) => { starts.push(performance.now()); return phase!.feeds(seen, step); } }] };
const run = await openOrCreateRun(join(folder, "run"), "pretrain unet", settings, 2);
const never = steps * batch * 10;
await runPretraining(timed, { samples: steps * batch, seed, workers: 1, checkpointEvery: never, sampleEvery: never }, run, backend, { signal: new AbortController().signal, note: () => {} });
await run.close();
const lines = readFileSync(join(folder, "run", "metrics.jsonl"), "utf8").trim().split("\n").map((line) => JSON.parse(line) as { loss: number; learningRate: number; gradNorm: number });
// The first two steps warm up.
const secondsPerStep = starts.slice(1).map((start, i) => (start - starts[i]!) / 1000).slice(2);
const own = { secondsPerStep: median(secondsPerStep), picturesPerSecond: batch / median(secondsPerStep), peakRssMiB: process.resourceUsage().maxRSS / 1024 };

let peer: { losses: number[]; gradNorms: number[]; secondsPerStep: number; peakRssMiB: number; torch: string } | undefined;
if (options.python !== undefined) {
  const { optimizer } = stage;
  writeFileSync(join(folder, "plan.json"), JSON.stringify({ steps, batch, learningRates: lines.map(({ learningRate }) => learningRate), ...optimizer }));
  const script = new URL("peer/pretrain_unet.py", import.meta.url).pathname;
  const text = execFileSync(options.python, [script, folder], { encoding: "utf8", env: { ...process.env, OMP_WAIT_POLICY: "PASSIVE", OMP_NUM_THREADS: "2" }, stdio: ["ignore", "pipe", "ignore"] });
  peer = JSON.parse(text.trim().split("\n").at(-1)!);
}
const losses = lines.map(({ loss }) => loss);
const difference = (a: readonly number[], b: readonly number[]): number => Math.max(...a.map((value, i) => Math.abs(value - b[i]!) / Math.abs(b[i]!)));
writeResult(options.result, {
  what: "U-Net stage of pretraining: steps from the same weights on the same data",
  steps, batch, parameters: stage.parameters.reduce((total, p) => total + p.shape.reduce((a, b) => a * b, 1), 0),
  tastemaker: own,
  ...(peer === undefined
    ? { losses }
    : {
        torch: { version: peer.torch, secondsPerStep: peer.secondsPerStep, picturesPerSecond: batch / peer.secondsPerStep, peakRssMiB: peer.peakRssMiB },
        largestRelativeDifference: { loss: difference(losses, peer.losses), gradientNorm: difference(lines.map(({ gradNorm }) => gradNorm), peer.gradNorms) },
        losses: { tastemaker: losses, torch: peer.losses },
      }),
});
