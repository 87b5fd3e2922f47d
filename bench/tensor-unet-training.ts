// Time of one gradient graph of the embedded world's U-Net by session setting and node listing, or its profile.
// Run: npx tsx --conditions=@tastemaker/source bench/tensor-unet-training.ts [profile LEVEL]
// Environment: BATCH (32); MODE=weights (all weight gradients, default) or lora (frozen weights, adapter gradients); RESULT=file.json
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import * as ort from "onnxruntime-node";
import { constant, describeMemory, encodeProgram, gradients, input, mean, normal, program, type Program, square, sub, type Tensor, weight } from "@tastemaker/tensor";
import { initialise } from "../packages/diffusion/src/models/initialise.ts";
import { adapted, scopeOf } from "../packages/diffusion/src/models/scope.ts";
import { parseUNetConfig } from "../packages/diffusion/src/models/unet-config.ts";
import { loraTargets, unet, unetParameters } from "../packages/diffusion/src/models/unet.ts";

const config = parseUNetConfig({
  sample_size: 16, in_channels: 4, out_channels: 4, block_out_channels: [64, 128, 128], layers_per_block: 1, attention_head_dim: 4, cross_attention_dim: 128,
  down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"], up_block_types: ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
  norm_num_groups: 32, time_cond_proj_dim: 64,
});
type Mode = "weights" | "lora";

/** Loss and gradients by all weights, or by the adapter's matrices with the weights frozen in `file`. */
function trainingProgram(batch: number, mode: Mode, file: string): Program {
  const trained = new Map<string, Tensor>();
  const train = (key: string, shape: readonly number[]): Tensor => {
    const known = trained.get(key) ?? input(key, shape);
    trained.set(key, known);
    return known;
  };
  let offset = 0;
  const frozen = (key: string, shape: readonly number[]): Tensor => {
    const sizeBytes = 4 * shape.reduce((a, b) => a * b, 1);
    offset += sizeBytes;
    return weight({ key, file, offset: offset - sizeBytes, sizeBytes, dtype: "F32", shape });
  };
  const targets = new Map(loraTargets(config).map((target) => [target.module, target]));
  const base = scopeOf((key, shape) => (mode === "weights" ? train(key, shape) : frozen(key, shape)));
  const scope = adapted(base, (module) => {
    const target = mode === "lora" ? targets.get(module) : undefined;
    if (!target) return undefined;
    return { down: train(`${module}.down`, [16, target.in]), up: train(`${module}.up`, [target.out, 16]), scale: constant(Array.from({ length: batch }, () => 1), [batch]), factor: 1 };
  });
  const prediction = unet(scope, config, {
    sample: input("sample", [batch, 4, 16, 16]), sinusoid: input("sinusoid", [batch, 64]), context: input("context", [batch, 16, 128]), cond: input("cond", [batch, 64]),
  });
  const loss = mean(square(sub(prediction, input("target", [batch, 4, 16, 16]))));
  const list = [...trained];
  const grads = gradients(loss, list.map(([, leaf]) => leaf));
  return program({ loss, ...Object.fromEntries(list.map(([key], i) => [`d:${key}`, grads[i]!])) });
}
const batch = Number(process.env["BATCH"] ?? 32);
const mode = (process.env["MODE"] ?? "weights") as Mode;
const values = initialise(unetParameters(config), 1);
const weightsFile = join(mkdtempSync(join(tmpdir(), "bench-")), "weights.bin");
writeFileSync(weightsFile, Buffer.concat([...values.values()].map((v) => new Uint8Array(v.buffer, v.byteOffset, v.byteLength))));
const traced = trainingProgram(batch, mode, weightsFile);
const feeds: Record<string, ort.Tensor> = {};
for (const { name, tensor: { shape } } of traced.inputs) {
  const count = shape.reduce((a, b) => a * b, 1);
  feeds[name] = new ort.Tensor("float32", values.get(name) ?? Float32Array.from(normal({ seed: 1, stream: name, indices: [] }, count)), [...shape]);
}
const { model, nodes: listed, listing, memory } = encodeProgram(traced, { provider: "cpu", convInputGradient: "flip" });
console.log(`${mode}, batch ${batch}, ${listed.length} nodes, ${listing}, ${describeMemory(memory)}`);
const options = (level: string, extra: Record<string, string> = {}, optimization: Record<string, string> = {}): ort.InferenceSession.SessionOptions => ({
  executionProviders: ["cpu"], graphOptimizationLevel: level as "all", enableMemPattern: false, executionMode: "sequential", intraOpNumThreads: 2, interOpNumThreads: 1, logSeverityLevel: 3,
  extra: { session: { "intra_op.allow_spinning": "0", ...extra }, optimization: { disable_specified_optimizers: "SkipLayerNormFusion", ...optimization } },
});

if (process.argv[2] === "profile") {
  const level = process.argv[3] ?? "all";
  const session = await ort.InferenceSession.create(model, { ...options(level), enableProfiling: true, profileFilePrefix: "/tmp/prof/p" });
  const runs = 6;
  for (let i = 0; i < runs; i++) await session.run(feeds);
  const file = (session as unknown as { endProfiling(): string | undefined }).endProfiling();
  const { readdirSync, statSync } = await import("node:fs");
  await session.release();
  const path = file ?? readdirSync("/tmp/prof").filter((f) => f.startsWith("p")).map((f) => `/tmp/prof/${f}`).sort((a, b) => statSync(a).mtimeMs - statSync(b).mtimeMs).at(-1)!;
  const events = JSON.parse(readFileSync(path, "utf8")) as { cat: string; name: string; dur: number; args: { op_name: string; output_type_shape?: unknown; input_type_shape?: unknown } }[];
  const nodes = events.filter((e) => e.cat === "Node" && e.name.endsWith("_kernel_time"));
  const kept = nodes.slice(nodes.length / runs); // first run warms up
  const byType = new Map<string, [number, number]>();
  const byShape = new Map<string, [number, number]>();
  const add = (m: Map<string, [number, number]>, k: string, d: number): void => {
    const old = m.get(k) ?? [0, 0];
    m.set(k, [old[0] + d, old[1] + 1]);
  };
  for (const e of kept) {
    add(byType, e.args.op_name, e.dur);
    const shapes = (v: unknown): string => (v as Record<string, number[]>[] | undefined)?.map((r) => `[${Object.values(r)[0]}]`).join("") ?? "";
    add(byShape, `${e.args.op_name} ${shapes(e.args.input_type_shape)} -> ${shapes(e.args.output_type_shape)}`, e.dur);
  }
  const total = kept.reduce((n, e) => n + e.dur, 0);
  console.log("total ms/run", total / 1000 / (runs - 1));
  for (const m of [byType, byShape]) {
    for (const [k, [d, n]] of [...m].sort((a, b) => b[1][0] - a[1][0]).slice(0, m === byType ? 24 : 45)) console.log((d / 1000 / (runs - 1)).toFixed(2).padStart(8), String(n / (runs - 1)).padStart(5), k);
  }
} else {
  const sessions = [];
  for (const [wanted, hideShapes] of [["natural", false], [undefined, false], [undefined, true]] as const) {
    for (const convInputGradient of mode === "lora" ? (["flip", "transpose"] as const) : (["flip"] as const)) {
      const encoded = encodeProgram(traced, { provider: "cpu", convInputGradient, hideShapes, ...(wanted ? { listing: wanted } : {}) });
      for (const [name, o] of [["disabled", options("disabled")], ["disabled, no prepacking", options("disabled", { disable_prepacking: "1" })], ["extended", options("extended")], ["all", options("all")]] as const) {
        if (hideShapes && !name.startsWith("disabled")) continue;
        if (encoded.folder !== undefined) (o.extra as { session: Record<string, string> }).session["model_external_initializers_file_folder_path"] = encoded.folder;
        const t = performance.now();
        const session = await ort.InferenceSession.create(encoded.model, o);
        sessions.push({ name: `${encoded.listing}${hideShapes ? ", hidden shapes" : ""}, ${convInputGradient}, ${name}`, session, createMs: performance.now() - t, wallMs: [] as number[], cpuMs: [] as number[] });
      }
    }
  }
  for (let i = 0; i < Number(process.env["RUNS"] ?? 5); i++) {
    for (const s of sessions) {
      const [t, cpu] = [performance.now(), process.cpuUsage()];
      await s.session.run(feeds);
      const used = process.cpuUsage(cpu);
      s.wallMs.push(performance.now() - t);
      s.cpuMs.push((used.user + used.system) / 1000);
    }
  }
  const median = (xs: number[]): number => xs.toSorted((a, b) => a - b)[xs.length >> 1]!;
  const rows = sessions.map((s) => ({ setting: s.name, createMs: Math.round(s.createMs), wallMinMs: Math.round(Math.min(...s.wallMs)), wallMedianMs: Math.round(median(s.wallMs)), cpuMinMs: Math.round(Math.min(...s.cpuMs)) }));
  for (const r of rows) console.log(r.setting.padEnd(60), `create ${r.createMs}  wall ${r.wallMinMs} (median ${r.wallMedianMs})  cpu ${r.cpuMinMs} ms`);
  const result = process.env["RESULT"];
  if (result) {
    const commit = execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim();
    const about = { machine: `${cpus()[0]!.model}, ${cpus().length} cores`, node: process.version, onnxruntime: ort.env.versions?.node, commit, loadAverage: loadavg()[0] };
    writeFileSync(result, `${JSON.stringify({ ...about, mode, batch, nodes: listed.length, memory, rows }, undefined, 2)}\n`);
  }
}
