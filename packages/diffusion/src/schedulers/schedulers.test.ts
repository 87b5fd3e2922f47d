import { readFileSync } from "node:fs";
import { UsageError } from "@tastemaker/tensor";
import { describe, expect, it } from "vitest";
import { sharedPath } from "../../../tensor/src/testing/shared.ts";
import { ddimSteps, ddimTimesteps } from "./ddim.ts";
import { guidanceEmbedding, timestepEmbedding } from "./embeddings.ts";
import { lcmScalings, lcmSteps, lcmTimesteps } from "./lcm.ts";
import { gaussianLogProb } from "./log-prob.ts";
import { parseSchedulerConfig, signalAndNoise, type SchedulerConfig } from "./noise-schedule.ts";

interface Golden {
  schedule: Record<string, unknown>;
  alphas_cumprod: Record<string, number>;
  lcm_timesteps: Record<"linspace" | "skipping", Record<string, number[]>>;
  lcm_scalings: { t: number; c_skip: number; c_out: number }[];
  lcm_step: { x: number[]; model_output: number[]; z: number[]; rows: { prediction: string; steps: number; t: number; denoised: number[]; next: number[]; next_t?: number; log_prob_mean?: number }[] };
  ddim_timesteps: Record<string, number[]>;
  ddim_sigmas: Record<string, { t: number; alpha_t: number; alpha_next: number; sigma: number }[]>;
  ddim_step: { x: number[]; model_output: number[]; z: number[]; rows: { set_alpha_to_one: boolean; prediction: string; steps: number; t: number; eta: number; x0: number[]; mean: number[]; next: number[]; log_prob_mean?: number }[] };
  add_noise: { x0: number[]; z: number[]; rows: { t: number; x: number[] }[] };
  guidance_embedding: { w: number; dim: number; values: number[] }[];
  timestep_embedding: { t: number; dim: number; values: number[] }[];
}

const path = sharedPath("golden/diffusion/schedulers.json");
const golden = path === undefined ? undefined : (JSON.parse(readFileSync(path, "utf8")) as Golden);

/** Relative to the largest entry of the expected vector. */
function expectClose(actual: ArrayLike<number>, expected: readonly number[], relative = 1e-12): void {
  const scale = Math.max(...expected.map(Math.abs), Number.MIN_VALUE);
  expect(actual.length).toBe(expected.length);
  for (const [i, value] of expected.entries()) expect(Math.abs(actual[i]! - value) / scale).toBeLessThan(relative);
}
const combine = (p: number, x: readonly number[], q: number, y: readonly number[]): number[] => x.map((value, i) => p * value + q * y[i]!);

const plain = { _class_name: "LCMScheduler", beta_start: 0.00085, beta_end: 0.012, beta_schedule: "scaled_linear" };
const lcm = parseSchedulerConfig(plain);
const ddim = (extra: Record<string, unknown> = {}): SchedulerConfig => parseSchedulerConfig({ ...plain, _class_name: "DDIMScheduler", steps_offset: 1, set_alpha_to_one: false, ...extra });

describe.skipIf(golden === undefined)("schedulers agree with the reference numbers to 1e-12", () => {
  const table = golden!;
  it("cumulative products", () => {
    const { alphasCumprod } = parseSchedulerConfig(table.schedule);
    for (const [t, value] of Object.entries(table.alphas_cumprod)) expectClose([alphasCumprod[Number(t)]!], [value]);
  });
  it("LCM timesteps of both rules", () => {
    for (const rule of ["linspace", "skipping"] as const) {
      for (const [steps, expected] of Object.entries(table.lcm_timesteps[rule])) expect(lcmTimesteps(lcm, Number(steps), rule)).toEqual(expected);
    }
  });
  it("LCM scalings", () => {
    for (const row of table.lcm_scalings) {
      const { cSkip, cOut } = lcmScalings(lcm, row.t);
      expectClose([cSkip], [row.c_skip]);
      expectClose([cOut], [row.c_out]);
    }
  });
  it("LCM steps", () => {
    const { x, model_output: output, z, rows } = table.lcm_step;
    for (const row of rows) {
      const config = parseSchedulerConfig({ ...plain, prediction_type: row.prediction });
      const step = lcmSteps(config, row.steps).find(({ timestep }) => timestep === row.t)!;
      const denoised = combine(step.fromSample, x, step.fromOutput, output);
      expectClose(denoised, row.denoised);
      expect(step.next?.timestep).toBe(row.next_t);
      expectClose(step.next === undefined ? denoised : combine(step.next.a, denoised, step.next.sigma, z), row.next);
      if (step.next !== undefined && row.log_prob_mean !== undefined) {
        const mean = denoised.map((value) => step.next!.a * value);
        expectClose([gaussianLogProb(row.next, mean, step.next.sigma)], [row.log_prob_mean]);
      }
    }
  });
  it("DDIM timesteps and standard deviations", () => {
    for (const [steps, expected] of Object.entries(table.ddim_timesteps)) expect(ddimTimesteps(ddim(), Number(steps))).toEqual(expected);
    for (const [name, rows] of Object.entries(table.ddim_sigmas)) {
      const steps = ddimSteps(ddim({ set_alpha_to_one: name.endsWith("-one") }), Number.parseInt(name, 10), 1);
      expect(steps.map(({ timestep }) => timestep)).toEqual(rows.map(({ t }) => t));
      for (const [i, row] of rows.entries()) {
        expectClose([steps[i]!.alphaBar], [row.alpha_t]);
        expectClose([steps[i]!.alphaBarNext], [row.alpha_next]);
        expectClose([steps[i]!.sigma], [row.sigma]);
      }
    }
  });
  it("DDIM steps", () => {
    const { x, model_output: output, z, rows } = table.ddim_step;
    for (const row of rows) {
      const config = ddim({ set_alpha_to_one: row.set_alpha_to_one, prediction_type: row.prediction });
      const step = ddimSteps(config, row.steps, row.eta).find(({ timestep }) => timestep === row.t)!;
      expectClose(combine(step.originalFromSample, x, step.originalFromOutput, output), row.x0);
      const mean = combine(step.meanFromSample, x, step.meanFromOutput, output);
      expectClose(mean, row.mean);
      expectClose(combine(1, mean, step.sigma, z), row.next);
      if (step.sigma > 0 && row.log_prob_mean !== undefined) expectClose([gaussianLogProb(row.next, row.mean, step.sigma)], [row.log_prob_mean]);
    }
  });
  it("forward noise", () => {
    for (const row of table.add_noise.rows) {
      const { a, sigma } = signalAndNoise(lcm, row.t);
      expectClose(combine(a, table.add_noise.x0, sigma, table.add_noise.z), row.x);
    }
  });
  it("sinusoidal embeddings", () => {
    for (const row of table.timestep_embedding) expectClose(timestepEmbedding(row.t, row.dim), row.values);
    for (const row of table.guidance_embedding) expectClose(guidanceEmbedding(row.w, row.dim), row.values);
  });
});

describe("schedulers refuse what they cannot do", () => {
  it.each([0, -1, 51, 2.5, Number.NaN])("%s LCM steps", (steps) => {
    expect(() => lcmTimesteps(lcm, steps)).toThrow(/steps: expected a whole number from 1 to 50/);
  });
  it.each([[[]], [[999, 999]], [[499, 999]], [[1000]], [[5, -1]], [[3.5]]])("the timestep list %j", (list) => {
    expect(() => lcmTimesteps(lcm, list.length, list)).toThrow(UsageError);
  });
  it("a list whose length is not the number of steps", () => {
    expect(() => lcmTimesteps(lcm, 4, [999, 499])).toThrow(UsageError);
    expect(lcmTimesteps(lcm, 2, [999, 0])).toEqual([999, 0]);
  });
  it("DDIM with 0, too many, or unplaceable steps, or an eta outside [0, 1]", () => {
    for (const steps of [0, 1001, 1000]) expect(() => ddimTimesteps(ddim(), steps)).toThrow(UsageError);
    for (const eta of [-0.1, 1.1, Number.NaN]) expect(() => ddimSteps(ddim(), 20, eta)).toThrow(/eta/);
  });
  it.each([
    ["prediction_type", "flow"],
    ["beta_schedule", "exponential"],
    ["beta_start", "0.1"],
    ["num_train_timesteps", 0],
    ["rescale_betas_zero_snr", true],
    ["thresholding", true],
    ["clip_sample", true],
    ["trained_betas", [0.1, 0.2]],
    ["set_alpha_to_one", "yes"],
    ["original_inference_steps", 0],
  ])("the configuration %s = %j", (key, value) => {
    expect(() => parseSchedulerConfig({ ...plain, [key]: value })).toThrow(UsageError);
  });
  it("DDIM with another timestep spacing", () => {
    expect(() => ddim({ timestep_spacing: "trailing" })).toThrow(/timestep_spacing/);
  });
  it("a log-probability of a deterministic step", () => {
    expect(() => gaussianLogProb([0], [0], 0)).toThrow(UsageError);
  });
});
