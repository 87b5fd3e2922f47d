// Time and memory of one training graph (loss and all weight gradients) of the embedded world's U-Net, by session setting, and its profile.
// Run: npx tsx --conditions=@tastemaker/source bench/tensor-unet-training.ts [profile]
import { readFileSync } from "node:fs";
import * as ort from "onnxruntime-node";
import { encodeProgram, gradients, input, mean, normal, program, type Program, square, sub, type Tensor } from "@tastemaker/tensor";
import { initialise } from "../packages/diffusion/src/models/initialise.ts";
import { scopeOf } from "../packages/diffusion/src/models/scope.ts";
import { parseUNetConfig } from "../packages/diffusion/src/models/unet-config.ts";
import { unet, unetParameters } from "../packages/diffusion/src/models/unet.ts";

const config = parseUNetConfig({
  sample_size: 16, in_channels: 4, out_channels: 4, block_out_channels: [64, 128, 128], layers_per_block: 1, attention_head_dim: 4, cross_attention_dim: 128,
  down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"], up_block_types: ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
  norm_num_groups: 32, time_cond_proj_dim: 64,
});
export function trainingProgram(batch: number): Program {
  const weights = new Map<string, Tensor>();
  const scope = scopeOf((key, shape) => {
    const leaf = input(key, shape);
    weights.set(key, leaf);
    return leaf;
  });
  const prediction = unet(scope, config, {
    sample: input("sample", [batch, 4, 16, 16]), sinusoid: input("sinusoid", [batch, 64]), context: input("context", [batch, 16, 128]), cond: input("cond", [batch, 64]),
  });
  const loss = mean(square(sub(prediction, input("target", [batch, 4, 16, 16]))));
  const list = [...weights];
  const grads = gradients(loss, list.map(([, leaf]) => leaf));
  return program({ loss, ...Object.fromEntries(list.map(([key], i) => [`d:${key}`, grads[i]!])) });
}
const batch = Number(process.env["BATCH"] ?? 32);
const traced = trainingProgram(batch);
const values = initialise(unetParameters(config), 1);
const feeds: Record<string, ort.Tensor> = {};
for (const { name, tensor: { shape } } of traced.inputs) {
  const count = shape.reduce((a, b) => a * b, 1);
  feeds[name] = new ort.Tensor("float32", values.get(name) ?? Float32Array.from(normal({ seed: 1, stream: name, indices: [] }, count)), [...shape]);
}
const { model, nodes: listed, listing, memory } = encodeProgram(traced, { provider: "cpu", convInputGradient: "flip" });
const parameters = [...values.values()].reduce((n, v) => n + v.length, 0);
console.log(`batch ${batch}, ${listed.length} nodes, ${listing}, ${JSON.stringify(memory)}, ${parameters} parameters`);
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
  const settings: [string, ort.InferenceSession.SessionOptions][] = [
    ["disabled", options("disabled")], ["disabled noprepack", options("disabled", { disable_prepacking: "1" })], ["basic", options("basic")], ["extended", options("extended")],
    ["all", options("all")],
  ];
  const sessions = [];
  for (const [name, o] of settings) {
    const t = performance.now();
    sessions.push({ name, session: await ort.InferenceSession.create(model, o), create: performance.now() - t, times: [] as number[] });
  }
  for (let i = 0; i < 8; i++) for (const s of sessions) {
    const t = performance.now();
    await s.session.run(feeds);
    s.times.push(performance.now() - t);
  }
  for (const s of sessions) console.log(s.name.padEnd(22), "create", s.create.toFixed(0), "run min", Math.min(...s.times).toFixed(0), "median", s.times.toSorted((a, b) => a - b)[4]!.toFixed(0));
}
