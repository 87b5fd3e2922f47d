// Time and memory of one U-Net step of Stable Diffusion 1.5's size, forwards and backwards (gradients of the latents and of a rank-16 adapter), with random weights.
// Run: npx tsx --conditions=@tastemaker/source bench/sd15-unet-step.ts [--size 64] [--scale 1] [--runs 3] [--dtype F32|F16] [--keep] [--result FILE.json]
// --keep: keeps every intermediate value, as PyTorch does, instead of recomputing blocks. CPU seconds (of all threads) tell more than seconds where others work too.
// In turns with PyTorch: --keep --python /tmp/torch/bin/python [--peer ../shared/bench/torch_unet_step.py] [--rounds 3]
import { execFileSync } from "node:child_process";
import { closeSync, existsSync, ftruncateSync, openSync, readFileSync, statSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { adapted, loraTargets, parseUNetConfig, scopeOf, unet, unetParameters } from "@tastemaker/diffusion";
import { describeMemory, gradients, input, mean, normal, onnxBackend, type OnnxRuntime, program, square, type Tensor, weight } from "@tastemaker/tensor";
import * as ort from "onnxruntime-node";
import { median, writeResult } from "./support/result.ts";

const { values: options } = parseArgs({
  options: {
    size: { type: "string", default: "64" },
    scale: { type: "string", default: "1" },
    runs: { type: "string", default: "3" },
    dtype: { type: "string", default: "F32" },
    keep: { type: "boolean", default: false },
    python: { type: "string" },
    peer: { type: "string", default: "../shared/bench/torch_unet_step.py" },
    rounds: { type: "string", default: "1" },
    result: { type: "string" },
  },
});
const [size, scale, runs, rounds] = [options.size, options.scale, options.runs, options.rounds].map(Number) as [number, number, number, number];
const dtype = options.dtype === "F16" ? "F16" : "F32";
const width = dtype === "F16" ? 2 : 4;

const config = parseUNetConfig({
  sample_size: size, in_channels: 4, out_channels: 4, cross_attention_dim: 768, attention_head_dim: 8, time_cond_proj_dim: 256, norm_num_groups: scale < 1 ? 16 : 32,
  block_out_channels: [320, 640, 1280, 1280].map((channels) => Math.round(channels * scale)), layers_per_block: 2,
  down_block_types: ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
  up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
});
const parameters = unetParameters(config);
const count = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
const offsets = new Map<string, number>();
let bytes = 0;
for (const { key, shape } of parameters) {
  offsets.set(key, bytes);
  bytes += count(shape) * width;
}

/** Random weights, made block by block so that this process needs no memory for them. What is measured does not depend on the values. */
function writeWeights(file: string): void {
  if (existsSync(file) && statSync(file).size === bytes) return;
  const handle = openSync(file, "w");
  ftruncateSync(handle, bytes);
  const block = normal({ seed: 1, stream: "weights", indices: [] }, 1 << 18);
  for (const { key, shape, initial } of parameters) {
    const total = count(shape);
    const deviation = initial.kind === "uniform" ? initial.bound / Math.sqrt(3) : initial.kind === "normal" ? initial.std : 0;
    const center = initial.kind === "constant" ? initial.value : 0;
    const floats = Float32Array.from(block.subarray(0, total), (value) => center + deviation * value);
    // Half precision: the exponent and ten bits of the fraction, rounded towards zero.
    const toHalf = (bits: number): number => {
      const exponent = ((bits >>> 23) & 255) - 112;
      return exponent <= 0 ? 0 : ((bits >>> 16) & 0x8000) | (exponent << 10) | ((bits >>> 13) & 1023);
    };
    const stored = dtype === "F16" ? Uint16Array.from(new Uint32Array(floats.buffer), toHalf) : floats;
    for (let done = 0; done < total; done += block.length) {
      const length = Math.min(block.length, total - done);
      const part = stored.subarray(0, length);
      writeSync(handle, part, 0, part.byteLength, offsets.get(key)! + done * width);
    }
  }
  closeSync(handle);
}

/** Anonymous memory of this process in MiB, with its peak since the last call. */
class AnonymousMemory {
  #peak = 0;
  readonly #timer = setInterval(() => this.sample(), 50);
  sample(): number {
    const kibibytes = Number(/^Anonymous:\s+(\d+)/m.exec(readFileSync("/proc/self/smaps_rollup", "utf8"))?.[1] ?? 0);
    this.#peak = Math.max(this.#peak, kibibytes / 1024);
    return kibibytes / 1024;
  }
  peak(): number {
    this.sample();
    return this.#peak;
  }
  stop(): void {
    clearInterval(this.#timer);
  }
}

const file = join(tmpdir(), `bench-sd15-${dtype}-${scale}.bin`);
writeWeights(file);
const memory = new AnonymousMemory();
const startMiB = memory.sample();
let last = performance.now();
const lap = (): number => {
  const now = performance.now();
  const seconds = (now - last) / 1000;
  last = now;
  return seconds;
};

const targets = new Map(loraTargets(config).map((target) => [target.module, target]));
const leaves = new Map<string, Tensor>();
const leaf = (key: string, shape: readonly number[]): Tensor => {
  const known = leaves.get(key) ?? input(key, shape);
  leaves.set(key, known);
  return known;
};
const frozen = scopeOf((key, shape) => weight({ key, file, offset: offsets.get(key)!, sizeBytes: count(shape) * width, dtype, shape }));
const scope = adapted(frozen, (module) => {
  const target = targets.get(module);
  return target && { down: leaf(`${module}.down`, [16, target.in]), up: leaf(`${module}.up`, [target.out, 16]), scale: [1], factor: 2 };
});
const sample = input("sample", [1, 4, size, size]);
const prediction = unet(
  scope,
  config,
  { sample, sinusoid: input("sinusoid", [1, config.down[0]!.channels]), context: input("context", [1, 77, 768]), cond: input("cond", [1, 256]) },
  { recompute: !options.keep },
);
const wanted = [sample, ...leaves.values()];
const slopes = gradients(mean(square(prediction)), wanted);
const traced = program({ prediction, sample: slopes[0]!, ...Object.fromEntries([...leaves.keys()].map((key, i) => [`d:${key}`, slopes[i + 1]!])) });
const traceS = lap();
const executable = await onnxBackend(ort as unknown as OnnxRuntime).compile(traced);
const compileS = lap();
const compiledMiB = memory.sample();
const feeds = Object.fromEntries(traced.inputs.map(({ name, tensor: { shape } }) => [name, Float32Array.from(normal({ seed: 1, stream: name, indices: [] }, count(shape)), (v) => (leaves.has(name) ? 0.02 * v : v))]));
const seconds: number[] = [];
const cpuSeconds: number[] = [];
let gradientNorm = 0;

interface PeerRound {
  readonly torch: string;
  readonly forwardS: number;
  readonly forwardBackwardS: number;
  readonly peakRssMiB: number;
}
const peerRounds: PeerRound[] = [];
/** PyTorch's median of so many runs, in a process of its own; its first run warms up and is not counted. */
function runPeer(): void {
  if (options.python === undefined) return;
  const args = [options.peer, "--threads", "2", "--size", `${size}`, "--scale", `${scale}`, "--iterations", `${runs}`];
  const text = execFileSync(options.python, args, { encoding: "utf8", env: { ...process.env, OMP_WAIT_POLICY: "PASSIVE", OMP_NUM_THREADS: "2" }, stdio: ["ignore", "pipe", "ignore"] });
  peerRounds.push(JSON.parse(text.trim().split("\n").at(-1)!) as PeerRound);
}

/** Seconds of this side's runs but the first, which reads the weights into memory. */
const warm = (all: readonly number[]): readonly number[] => (all.length > 1 ? all.slice(1) : all);
for (let i = 0; i < runs * rounds + 1; i++) {
  if (i > 0 && (i - 1) % runs === 0) runPeer();
  lap();
  const before = process.cpuUsage();
  const results = await executable.run(feeds);
  seconds.push(lap());
  const { user, system } = process.cpuUsage(before);
  cpuSeconds.push((user + system) / 1e6);
  memory.sample();
  gradientNorm = Math.hypot(...results["sample"]!.data);
}
// onnxruntime blocks the event loop while it runs, so the peak of a run is read from what its arena still holds afterwards.
const peakAnonymousMiB = memory.peak();
memory.stop();
await executable.dispose();
writeResult(options.result, {
  what: "one U-Net step of Stable Diffusion 1.5's size, forwards and backwards, batch 1",
  recomputed: !options.keep,
  size, scale, dtype, parameters: bytes / width, weightsMiB: bytes / 2 ** 20,
  traceS, compileS, startS: traceS + compileS,
  forwardBackwardS: median(warm(seconds)), bestS: Math.min(...seconds), secondsOfEachRun: seconds, cpuSecondsOfEachRun: cpuSeconds,
  anonymousMiB: { start: startMiB, compiled: compiledMiB, afterRuns: peakAnonymousMiB },
  estimate: describeMemory(executable.memory!), gradientNorm,
  ...(peerRounds.length === 0
    ? {}
    : {
        torch: { medianS: median(peerRounds.map(({ forwardBackwardS }) => forwardBackwardS)), rounds: peerRounds },
        // Where others work too, the shortest runs compare better than the medians.
        ratio: {
          time: median(warm(seconds)) / median(peerRounds.map(({ forwardBackwardS }) => forwardBackwardS)),
          bestTime: Math.min(...seconds) / Math.min(...peerRounds.map(({ forwardBackwardS }) => forwardBackwardS)),
        },
      }),
});
