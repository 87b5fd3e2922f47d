// One ROCM iteration at Stable Diffusion 1.5's size (LCM_Dreamshaper_v7 and PickScore shapes, random weights, 512×512, N = 8, KL with the exact reference, LoRA 16): seconds
// and peak memory of every part. Then the same through the command line, watched from outside.
// Run: npx tsx --conditions=@tastemaker/source scripts/make-random-model.ts /tmp/full
//      nice npx tsx --conditions=@tastemaker/source bench/full-size-iteration.ts --folder /tmp/full [--checkpointing step] [--steps 8] [--size 512] [--iterations 1]
//        [--command-line RUN_DIRECTORY] [--result bench/results/full-size-iteration.json]
import { spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { guidanceEmbedding, latentToImage } from "@tastemaker/diffusion";
import { type Backend, describeMemory, type Executable, gradients, input, program, type Program, sum } from "@tastemaker/tensor";
import { openModel } from "../packages/tastemaker/src/models/open-model.ts";
import { TextContexts } from "../packages/tastemaker/src/models/text-contexts.ts";
import { collectGarbage } from "../packages/tastemaker/src/platform/collect-garbage.ts";
import { nodeBackend } from "../packages/tastemaker/src/platform/runtime.ts";
import { openReward } from "../packages/tastemaker/src/rewards/open-reward.ts";
import { createAdamW, updateAdamW } from "../packages/tastemaker/src/train/adamw.ts";
import { compileRocmStep } from "../packages/tastemaker/src/train/rocm-step.ts";
import { countMemory, type MemorySample, MemoryWatch, sampleMemory } from "./support/memory-sampler.ts";
import { median, writeResult } from "./support/result.ts";
import { rocmInputs, rocmOptions } from "./support/rocm-options.ts";

const { values: options } = parseArgs({
  options: {
    folder: { type: "string", default: "/tmp/full" },
    size: { type: "string", default: "512" },
    steps: { type: "string", default: "8" },
    checkpointing: { type: "string", default: "step" },
    iterations: { type: "string", default: "1" },
    threads: { type: "string", default: "2" },
    "command-line": { type: "string" },
    result: { type: "string" },
  },
});
const [imageSize, steps, iterations, threads] = [options.size, options.steps, options.iterations, options.threads].map(Number) as [number, number, number, number];
const checkpointing = options.checkpointing === "block" ? "block" : options.checkpointing === "none" ? "none" : "step";
const paths = { model: join(options.folder, "lcm"), clip: join(options.folder, "pickscore") };
const prompt = "a small cottage beside a river in the morning light";

interface Part {
  readonly seconds: number[];
  /** Of all threads: what the work takes where others work too. */
  readonly cpuSeconds: number[];
  /** Seconds to write the program and open it the first time. */
  compileS: number;
  readonly estimate: string | undefined;
  peak: MemorySample;
}
const parts: Record<string, Part> = {};
const watch = new MemoryWatch();
const clock = (): number => performance.now() / 1000;
const larger = (a: MemorySample, b: MemorySample): MemorySample => ({ rss: Math.max(a.rss, b.rss), anonymous: Math.max(a.anonymous, b.anonymous), file: Math.max(a.file, b.file) });
const note = (text: string): void => void process.stderr.write(`${text}\n`);

/** What a program is, by the names of its inputs and outputs. */
function kindOf({ inputs, outputs }: Program): string {
  const has = (ports: Program["inputs"], name: string): boolean => ports.some((port) => port.name === name);
  const rows = has(outputs, "reference") || has(inputs, "cotangent.divergence") ? "policy and reference" : "policy";
  if (has(outputs, "grad.sample")) return "tail: decoder and reward, forwards and backwards";
  if (has(inputs, "cotangent.next")) return `U-Net, ${rows}: recomputed and backwards`;
  if (has(outputs, "next")) return `U-Net, ${rows}: forwards`;
  if (has(outputs, "hidden")) return "text encoder";
  if (has(outputs, "embedding")) return "reward's text tower";
  return outputs.map(({ name }) => name).join();
}

/** The same backend, with every program's runs timed under its kind. A run includes opening the session again after a rest. */
function timed(backend: Backend): Backend {
  return {
    name: backend.name,
    compile: async (traced, compileOptions): Promise<Executable> => {
      const kind = kindOf(traced);
      const start = clock();
      const executable = await backend.compile(traced, compileOptions);
      const part: Part = { seconds: [], cpuSeconds: [], compileS: clock() - start, estimate: executable.memory && describeMemory(executable.memory), peak: watch.lap() };
      parts[kind] = part;
      note(`${kind}: compiled in ${part.compileS.toFixed(1)} s; ${part.estimate}`);
      return {
        ...executable,
        run: async (inputs) => {
          watch.lap();
          const from = clock();
          const before = process.cpuUsage();
          const results = await executable.run(inputs);
          const { user, system } = process.cpuUsage(before);
          part.cpuSeconds.push((user + system) / 1e6);
          part.seconds.push(clock() - from);
          const peak = watch.lap();
          part.peak = larger(part.peak, peak);
          note(`${kind}: ${part.seconds.at(-1)!.toFixed(1)} s (${part.cpuSeconds.at(-1)!.toFixed(1)} s of processors), anonymous ${peak.anonymous.toFixed(0)} MiB, mapped ${peak.file.toFixed(0)} MiB`);
          return results;
        },
      };
    },
  };
}

const inner = nodeBackend({ threads });
const backend = timed(inner);
const startMemory = watch.lap();
const startedAt = clock();
const model = await openModel(paths.model, { imageSize });
const reward = await openReward({ name: "pick-score", path: paths.clip }, backend, paths.model);
const contexts = new TextContexts(model, backend, note);
const stepOptions = await rocmOptions({ model: paths.model, clip: paths.clip, steps, batch: 1, checkpointing, hasDivergence: true, rank: 16, imageSize }, backend);
const openS = clock() - startedAt;
const compileStart = clock();
const step = await compileRocmStep(stepOptions);
const compileS = clock() - compileStart;
collectGarbage();
const random = rocmInputs(stepOptions, 1);
const adapter = new Map([...random.adapter].map(([name, values]) => [name, name.endsWith("lora_B.weight") ? new Float32Array(values.length) : Float32Array.from(values)]));
const adam = createAdamW(adapter);
const iterationS: number[] = [];
const optimizerS: number[] = [];
const losses: { loss: number; reward: number; divergence: number; gradientNorm: number }[] = [];
let whole = watch.lap();
for (let i = 0; i < iterations; i++) {
  const from = clock();
  const result = await step.run({
    ...random,
    adapter,
    context: await contexts.of(prompt),
    cond: guidanceEmbedding(8, model.unet.timeCondProjDim!),
    rewardInputs: { "pick-score": await reward.gradient!.inputsFor([prompt]) },
  });
  const beforeUpdate = clock();
  const gradientNorm = updateAdamW(adapter, result.gradients, adam, 1e-4, { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 1e-4, maxGradNorm: 1 });
  optimizerS.push(clock() - beforeUpdate);
  iterationS.push(clock() - from);
  losses.push({ loss: result.loss, reward: result.rewards["pick-score"]![0]!, divergence: result.divergenceTotal[0]!, gradientNorm });
  note(JSON.stringify(losses.at(-1)));
}
for (const { peak } of Object.values(parts)) whole = larger(whole, peak);
// The kernel's counters against a walk over all pages.
const [counted, walked] = [countMemory("self"), sampleMemory("self")];
await step.dispose();
await contexts.dispose();
await reward.dispose();

/** Parts of the tail, each by itself: what it is made of. */
async function timeAlone(traced: Program): Promise<number> {
  const executable = await inner.compile(traced, { memory: "low" });
  const feeds = Object.fromEntries(traced.inputs.map(({ name, tensor: { shape } }) => [name, new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(0.5)]));
  const from = clock();
  await executable.run(feeds);
  const seconds = clock() - from;
  await executable.dispose();
  return seconds;
}
const latent = input("latent", [1, ...model.latentShape]);
const picture = input("picture", [1, 3, imageSize, imageSize]);
const term = stepOptions.rewards[0]!;
const score = sum(term.score(picture, Object.fromEntries(Object.entries(term.inputs).map(([name, { shape, dtype }]) => [name, input(name, shape, dtype)]))));
const alone = {
  "decoder, forwards": await timeAlone(program({ image: latentToImage(stepOptions.model.vae.scope, stepOptions.model.vae.config, latent).image })),
  "reward, forwards": await timeAlone(program({ score })),
  "reward, forwards and backwards": await timeAlone(program({ score, slope: gradients(score, [picture])[0]! })),
};
await watch.stop();

/** The same iteration by `tastemaker train`, in a process of its own that is watched from outside. */
async function byCommandLine(out: string): Promise<Record<string, unknown>> {
  const prompts = join(options.folder, "prompts.txt");
  writeFileSync(prompts, `${prompt}\n`);
  const rewards = JSON.stringify([{ name: "pick-score", path: paths.clip }]);
  const args = [
    "train", "--model", paths.model, "--set", `rewards=${rewards}`, "--prompts", prompts, "--size", `${imageSize}`, "--steps", `${steps}`, "--checkpointing", checkpointing, "--iterations", "1",
    "--threads", `${threads}`, "--set", "evaluation.every=0", "--set", "evaluation.count=1", "--set", 'evaluation.prompts=["a red boat on a lake"]', "--out", out,
  ];
  const main = fileURLToPath(new URL("../packages/tastemaker/src/cli/main.ts", import.meta.url));
  const from = clock();
  const child = spawn(process.execPath, ["--import", "tsx", "--conditions=@tastemaker/source", main, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  const log: { atS: number; text: string }[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      for (const line of text.split("\n")) if (line.trim() !== "") log.push({ atS: Math.round(clock() - from), text: line });
      note(text.trimEnd());
    });
  }
  let peak: MemorySample = { rss: 0, anonymous: 0, file: 0 };
  const timer = setInterval(() => (peak = larger(peak, countMemory(child.pid!) ?? peak)), 50);
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  clearInterval(timer);
  if (code !== 0) throw new Error(`tastemaker train ended with ${code}`);
  const lines = (name: string): unknown[] => readFileSync(join(out, name), "utf8").trim().split("\n").map((line) => JSON.parse(line) as unknown);
  return { command: `tastemaker ${args.join(" ")}`, seconds: clock() - from, peakMiB: peak, metrics: lines("metrics.jsonl"), timings: lines("timings.jsonl"), log };
}
const commandLine = options["command-line"] === undefined ? undefined : await byCommandLine(options["command-line"]);

writeResult(options.result, {
  what: "one ROCM iteration at Stable Diffusion 1.5's size: random weights, PickScore on ViT-H/14, KL, exact reference, LoRA rank 16, batch 1",
  imageSize, steps, checkpointing, threads, openS, compileS, iterationS, optimizerS, losses,
  expectedPeakMiB: step.peakBytes === undefined ? undefined : step.peakBytes / 2 ** 20,
  startMiB: startMemory, peakMiB: whole, atEndMiB: { counted, walked },
  parts: Object.fromEntries(Object.entries(parts).map(([kind, part]) => [kind, { runs: part.seconds.length, medianS: part.seconds.length === 0 ? undefined : median(part.seconds), ...part }])),
  alone,
  ...(commandLine === undefined ? {} : { commandLine }),
});
