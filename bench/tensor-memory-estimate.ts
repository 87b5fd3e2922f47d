// Expected memory of one gradient step of Stable Diffusion 1.5's U-Net with adapters (nothing is run). Run: npx tsx --conditions=@tastemaker/source bench/tensor-memory-estimate.ts
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { constant, describeMemory, encodeProgram, gradients, input, mean, program, square, type Tensor, weight } from "@tastemaker/tensor";
import { adapted, scopeOf } from "../packages/diffusion/src/models/scope.ts";
import { parseUNetConfig } from "../packages/diffusion/src/models/unet-config.ts";
import { loraTargets, unet } from "../packages/diffusion/src/models/unet.ts";

const config = parseUNetConfig({ sample_size: 64, cross_attention_dim: 768, time_cond_proj_dim: 256 });
const targets = new Map(loraTargets(config).map((target) => [target.module, target]));
const rows = [];
for (const [side, batch] of [[64, 1], [64, 2], [32, 2]] as const) {
  for (const recompute of [false, true]) {
    for (const dtype of ["F32", "F16"] as const) {
      const start = performance.now();
      const trained = new Map<string, Tensor>();
      const train = (key: string, shape: readonly number[]): Tensor => trained.get(key) ?? trained.set(key, input(key, shape)).get(key)!;
      let offset = 0;
      const scope = adapted(
        scopeOf((key, shape) => {
          const sizeBytes = (dtype === "F32" ? 4 : 2) * shape.reduce((a, b) => a * b, 1);
          offset += sizeBytes;
          return weight({ key, file: "/weights", offset: offset - sizeBytes, sizeBytes, dtype, shape });
        }),
        (module) => {
          const target = targets.get(module);
          return target && { down: train(`${module}.down`, [16, target.in]), up: train(`${module}.up`, [target.out, 16]), scale: constant(new Float32Array(batch).fill(1), [batch]), factor: 1 };
        },
      );
      const prediction = unet(scope, config, { sample: input("sample", [batch, 4, side, side]), sinusoid: input("sinusoid", [batch, 320]), context: input("context", [batch, 77, 768]), cond: input("cond", [batch, 256]) }, { recompute });
      const found = gradients(mean(square(prediction)), [...trained.values()]);
      const traced = program(Object.fromEntries(found.map((gradient, i) => [`d${i}`, gradient])));
      const { memory, listing, nodes, model } = encodeProgram(traced, { provider: "cpu", convInputGradient: "transpose", hideShapes: true });
      const natural = encodeProgram(traced, { provider: "cpu", convInputGradient: "transpose", listing: "natural", hideShapes: true }).memory.peakBytes;
      const kept = encodeProgram(traced, { provider: "cpu", convInputGradient: "transpose" }).memory.peakBytes;
      const row = { side, batch, recompute, dtype, listing, nodes: nodes.length, modelBytes: model.length, naturalPeakBytes: natural, shapesKnownPeakBytes: kept, ...memory, milliseconds: Math.round(performance.now() - start) };
      rows.push(row);
      console.log(`${side}² batch ${batch} ${dtype}${recompute ? " recomputed" : ""}: ${nodes.length} nodes, ${listing}, ${describeMemory(memory)}; natural ${(natural / 2 ** 20).toFixed(0)} MiB, shapes known ${(kept / 2 ** 20).toFixed(0)} MiB; ${row.milliseconds} ms`);
    }
  }
}
const commit = execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim();
writeFileSync(new URL("results/tensor-memory-estimate.json", import.meta.url), `${JSON.stringify({ node: process.version, commit, rows }, undefined, 2)}\n`);
