// One ROCM iteration (N = 8, KL, exact reference, LoRA 16) by `tastemaker train` against PyTorch: seconds, peak memory, seconds until the first iteration begins.
// Run: npm run build && npx tsx --conditions=@tastemaker/source bench/rocm-iteration.ts --python PYTHON [--peer ../shared/bench/torch_rocm_step.py]
//        [--model LCM_DIR --reward CLIP_DIR] [--batches 1,4] [--iterations 12] [--rounds 3] [--result FILE.json]
// PYTHON needs torch, diffusers, transformers and peft; without --python only this side runs. Without --model: random weights of the embedded world's sizes.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { measureCommand } from "./support/command-line.ts";
import { median, writeResult } from "./support/result.ts";
import { writeRandomWorld } from "./support/world-model.ts";

const { values: options } = parseArgs({
  options: {
    python: { type: "string" },
    peer: { type: "string", default: "../shared/bench/torch_rocm_step.py" },
    model: { type: "string" },
    reward: { type: "string" },
    batches: { type: "string", default: "1,4" },
    iterations: { type: "string", default: "12" },
    rounds: { type: "string", default: "3" },
    checkpointing: { type: "string", default: "none" },
    result: { type: "string" },
  },
});
const folder = mkdtempSync(join(tmpdir(), "bench-rocm-"));
const world = options.model !== undefined && options.reward !== undefined ? { model: options.model, clip: options.reward } : await writeRandomWorld(folder);
const [iterations, rounds] = [Number(options.iterations), Number(options.rounds)];

interface Measured {
  readonly medianS: number;
  readonly peakRssMiB: number;
  readonly startS: number;
}

async function own(batch: number): Promise<Measured> {
  const out = join(folder, "run");
  rmSync(out, { recursive: true, force: true });
  const config = join(folder, "train.json");
  const reward = { name: "pick-score", path: world.clip };
  const settings = { model: world.model, prompts: ["a red cat", "a blue dog", "a cat", "a house"], rewards: [reward], lora: { rank: 16, alpha: 32 }, steps: 8, guidanceScale: 8, batchSize: batch, beta: 0.1 };
  const rest = { iterations, threads: 2, checkpointing: options.checkpointing, evaluation: { every: 0, prompts: ["a small cat"], count: 1 }, checkpoint: { every: iterations } };
  writeFileSync(config, JSON.stringify({ ...settings, ...rest }));
  const timings = join(out, "timings.jsonl");
  const { peakRssMiB, firstLineS } = await measureCommand(["train", "--config", config, "--out", out], timings);
  const seconds = readFileSync(timings, "utf8").trim().split("\n").map((line) => (JSON.parse(line) as { seconds: number }).seconds);
  return { medianS: median(seconds.slice(2)), peakRssMiB, startS: firstLineS! - seconds[0]! };
}

function peer(batch: number): Measured & { readonly torch: string } {
  const args = [options.peer, "--model", world.model, "--reward", world.clip, "--steps", "8", "--batch", `${batch}`, "--threads", "2", "--iterations", `${iterations - 2}`, "--checkpointing", options.checkpointing];
  const text = execFileSync(options.python!, args, { encoding: "utf8", env: { ...process.env, OMP_WAIT_POLICY: "PASSIVE", OMP_NUM_THREADS: "2" }, stdio: ["ignore", "pipe", "ignore"] });
  const { medianS, peakRssMiB, firstIterationS, torch } = JSON.parse(text.trim().split("\n").at(-1)!) as { medianS: number; peakRssMiB: number; firstIterationS: number; torch: string };
  return { medianS, peakRssMiB, startS: firstIterationS - medianS, torch };
}

const middle = (rows: readonly Measured[]): Measured => ({
  medianS: median(rows.map(({ medianS }) => medianS)),
  peakRssMiB: median(rows.map(({ peakRssMiB }) => peakRssMiB)),
  startS: median(rows.map(({ startS }) => startS)),
});
const results: Record<string, unknown> = {};
let torch: string | undefined;
for (const batch of options.batches.split(",").map(Number)) {
  const rows = { tastemaker: [] as Measured[], torch: [] as Measured[] };
  for (let round = 0; round < rounds; round++) {
    rows.tastemaker.push(await own(batch));
    if (options.python === undefined) continue;
    const measured = peer(batch);
    torch = measured.torch;
    rows.torch.push(measured);
  }
  const tastemaker = middle(rows.tastemaker);
  const other = rows.torch.length > 0 ? middle(rows.torch) : undefined;
  results[`batch ${batch}`] = {
    tastemaker,
    ...(other === undefined ? {} : { torch: other, ratio: { time: tastemaker.medianS / other.medianS, peakMemory: tastemaker.peakRssMiB / other.peakRssMiB } }),
    eachRound: rows,
  };
}
rmSync(folder, { recursive: true });
writeResult(options.result, { what: "one ROCM iteration on the embedded world's sizes: N = 8, KL, exact reference, LoRA rank 16, AdamW", model: options.model ?? "random weights", torch, rounds, iterations, checkpointing: options.checkpointing, results });
