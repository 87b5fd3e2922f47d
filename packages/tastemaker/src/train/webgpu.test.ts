import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { lcmSteps, loraTargets, scopeOf } from "@tastemaker/diffusion";
import { type Backend, normal, type Shape, weight } from "@tastemaker/tensor";
import { afterAll, describe, expect, it } from "vitest";
import { webgpuProblem } from "../../../tensor/src/testing/webgpu.ts";
import { openModel } from "../models/open-model.ts";
import { probeProvider } from "../platform/probe-provider.ts";
import { nodeBackend } from "../platform/runtime.ts";
import { openReward } from "../rewards/open-reward.ts";
import { runTastemaker } from "../testing/child.ts";
import { writeTinyWorld } from "../testing/tiny-world.ts";
import { compileRocmStep, type RocmStepResult } from "./rocm-step.ts";

const problem = await webgpuProblem();
const cudaProblem = await probeProvider("cuda");
const folder = mkdtempSync(join(tmpdir(), "tastemaker-webgpu-"));
afterAll(() => rmSync(folder, { recursive: true }));

const steps = 2;

/** One ROCM step on a world of random weights, with an adapter that changes the model. */
async function runStep(world: Awaited<ReturnType<typeof writeTinyWorld>>, checkpointing: "none" | "step", backend: Backend): Promise<RocmStepResult> {
  const { parts, unet, vae, latentShape, text } = await openModel(world.model);
  const reward = await openReward({ name: "pick-score", path: world.clip }, backend, world.model);
  const targets = loraTargets(unet);
  const latent = [1, ...latentShape];
  const step = await compileRocmStep({
    model: {
      unet: { scope: scopeOf((key, shape) => weight(parts.unet.weights.take(key, shape))), config: unet },
      vae: { scope: scopeOf((key, shape) => weight(parts.vae.weights.take(key, shape))), config: vae },
    },
    rewards: [reward.gradient!.term(1, 1)],
    settings: {
      schedule: lcmSteps(parts.scheduler, steps, "linspace"),
      lora: { targets, rank: 4, alpha: 8 },
      divergence: { kind: "kl", reduction: "mean", stepReduction: "sum", detachReference: false, samples: 1 },
      latentSize: [latentShape[1], latentShape[2]],
      contextLength: text.positions,
    },
    batchSize: 1,
    backend,
    checkpointing,
  });
  const random = (stream: string, shape: Shape, scale = 1): Float32Array => Float32Array.from(normal({ seed: 3, stream, indices: [] }, shape.reduce((product, size) => product * size, 1)), (x) => x * scale);
  try {
    return await step.run({
      adapter: new Map([...step.adapterShapes].map(([name, shape]) => [name, random(name, shape, 0.2)])),
      context: random("context", [1, text.positions, text.width]),
      cond: random("cond", [1, unet.timeCondProjDim!]),
      latents: random("latents", latent),
      noise: random("noise", [steps - 1, ...latent]),
      rewardInputs: { "pick-score": await reward.gradient!.inputsFor(["a red cat"]) },
      beta: 0.5,
    });
  } finally {
    await step.dispose();
    await reward.dispose();
  }
}

describe("training on a graphics card", () => {
  it.skipIf(problem !== undefined)(`gives the CPU's numbers (WebGPU ${problem === undefined ? "starts" : `does not start: ${problem}`})`, async () => {
    const world = await writeTinyWorld(folder, 1);
    for (const checkpointing of ["none", "step"] as const) {
      const cpu = await runStep(world, checkpointing, nodeBackend());
      const gpu = await runStep(world, checkpointing, nodeBackend({ provider: "webgpu" }));
      expect(Math.abs(gpu.loss - cpu.loss)).toBeLessThan(1e-3 * Math.abs(cpu.loss));
      const largest = Math.max(...[...cpu.gradients.values()].map((values) => Math.max(...values.map(Math.abs))));
      expect(largest).toBeGreaterThan(1e-4);
      for (const [name, values] of cpu.gradients) {
        const error = Math.max(...values.map((value, i) => Math.abs(value - gpu.gradients.get(name)![i]!)));
        expect(error / largest, name).toBeLessThan(1e-3);
      }
    }
  });

  it.skipIf(cudaProblem === undefined)("that is not there is an error at once, with the cure", async () => {
    const out = join(folder, "cuda");
    const end = await runTastemaker("train", "--provider", "cuda", "--model", (await writeTinyWorld(join(folder, "second"), 1)).model, "--out", out);
    expect(end).toMatchObject({ code: 2, stdout: "" });
    expect(end.stderr).toMatch(/^error: provider: expected one that starts here, got cuda \([^\n]*\); onnxruntime's CUDA libraries [^\n]*or cpu\n$/);
  });
});
