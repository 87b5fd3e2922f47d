import {
  type ConfigJson,
  decodeLatent,
  encodeSafetensors,
  guidanceEmbedding,
  lcmScalings,
  lcmSteps,
  parseSchedulerConfig,
  parseUNetConfig,
  predictedOriginal,
  type Scope,
  signalAndNoise,
  unet,
  type UNetConfig,
  unetParameters,
} from "@tastemaker/diffusion";
import { add, type Backend, clamp, div, input, mean, mul, normal, program, type Program, sqrt, square, stopGradient, sub, sum, type Tensor, uniform } from "@tastemaker/tensor";
import { VisitOrder } from "../data/captioned-images.ts";
import { contactSheet } from "../images/contact-sheet.ts";
import type { ParameterSet } from "../train/adamw.ts";
import type { LatentCache } from "./latent-cache.ts";
import type { Autoencoder } from "./open-component.ts";
import type { Stage } from "./stage.ts";
import { trainableScope, trainingProgram, withPrefix } from "./trainable.ts";
import { ddimSchedulerJson, sinusoids, tensorsOf } from "./unet-stage.ts";

export interface DistillSettings {
  readonly learningRate: number;
  readonly batch: number;
  readonly cache: number;
  readonly guidance: readonly [number, number];
  readonly skip: number;
  readonly huber: number;
  readonly targetDecay: number;
  readonly condWidth: number;
}

/** The teacher, frozen. */
export interface Teacher {
  readonly unet: { readonly scope: Scope; readonly config: UNetConfig; readonly json: ConfigJson };
  /** Starting values of the student: the teacher's own parameters. */
  readonly values: ParameterSet;
  readonly vae: Autoencoder;
  /** Text encoder's hidden states of captions, `[B, L, E]`. */
  contexts(captions: readonly string[]): Promise<Float32Array>;
  /** [length, width] of a context. */
  readonly contextShape: readonly [number, number];
}

/** The consistency model's scheduler, as diffusers writes it. */
export const lcmSchedulerJson: ConfigJson = {
  ...ddimSchedulerJson,
  _class_name: "LCMScheduler",
  original_inference_steps: 50,
  timestep_scaling: 10,
};

/** f = fromSample·x + fromOutput·o of a consistency model, per row. */
const consistency = (x: Tensor, output: Tensor, fromSample: Tensor, fromOutput: Tensor): Tensor => add(mul(x, fromSample), mul(output, fromOutput));

interface Coefficients {
  readonly fromSample: number;
  readonly fromOutput: number;
}

/**
 * Latent consistency distillation (Luo et al. 2023, arXiv 2310.04378): the student's f at a timestep is drawn to the target network's f at
 * the point that one guided DDIM step of the teacher reaches, `skip` timesteps earlier.
 *
 * Differs from the paper's code: guidance scale g enters the teacher as u + g(c − u) and the student's embedding as g − 1, which is what the
 * sampler feeds it.
 */
export function distillStage(settings: DistillSettings, teacher: Teacher, cache: LatentCache, sheetPrompts: readonly string[], seed: number, backend: Backend): Stage {
  const scheduler = parseSchedulerConfig(lcmSchedulerJson);
  const studentJson = { ...teacher.unet.json, time_cond_proj_dim: settings.condWidth };
  const config = parseUNetConfig(studentJson);
  const parameters = withPrefix("unet.", unetParameters(config)).map((parameter) =>
    // Starts as the teacher, to whom the guidance embedding means nothing.
    parameter.key.includes("cond_proj") ? { ...parameter, initial: { kind: "constant", value: 0 } as const } : parameter,
  );
  const { batch, skip } = settings;
  const [channels, side] = cache.shape;
  const each = channels * side * side;
  const width = config.down[0]!.channels;
  const [length, contextWidth] = teacher.contextShape;
  const latentShape = [batch, channels, side, side];
  const order = new VisitOrder(seed, cache.count);
  const perRow = (name: string): Tensor => input(name, [batch, 1, 1, 1]);

  const x = input("sample", latentShape);
  const context = input("context", [batch, length, contextWidth]);
  const emptyContext = input("empty_context", [batch, length, contextWidth]);
  const cond = input("cond", [batch, settings.condWidth]);
  const sinusoid = input("sinusoid", [batch, width]);
  const teach = (c: Tensor): Tensor => unet(teacher.unet.scope, teacher.unet.config, { sample: x, sinusoid, context: c });
  const unconditional = teach(emptyContext);
  const noise = add(unconditional, mul(perRow("guidance"), sub(teach(context), unconditional)));
  const earlier = add(mul(x, perRow("ddim_sample")), mul(noise, perRow("ddim_noise")));
  const targetOutput = unet(trainableScope("target:unet."), config, { sample: earlier, sinusoid: input("sinusoid_earlier", [batch, width]), context, cond });
  const target = stopGradient(consistency(earlier, targetOutput, perRow("earlier_sample"), perRow("earlier_output")));
  const output = unet(trainableScope("unet."), config, { sample: x, sinusoid, context, cond });
  const distance = sub(consistency(x, output, perRow("own_sample"), perRow("own_output")), target);
  const { huber } = settings;
  const loss = mean(sub(sqrt(add(square(distance), huber * huber)), huber));

  const coefficients = (timestep: number): Coefficients => {
    const { a, sigma } = signalAndNoise(scheduler, timestep);
    const { cSkip, cOut } = lcmScalings(scheduler, timestep);
    const original = predictedOriginal("epsilon", a, sigma);
    return { fromSample: cSkip + cOut * original.sample, fromOutput: cOut * original.output };
  };
  const sheet = sheetProgram(config, teacher, channels, side, sheetPrompts.length, settings.condWidth);
  return {
    name: "distill",
    parameters,
    start: new Map([...teacher.values].map(([key, values]) => [`unet.${key}`, values])),
    optimizer: { beta1: 0.9, beta2: 0.98, epsilon: 1e-8, weightDecay: 0, maxGradNorm: 1 },
    learningRate: settings.learningRate,
    warmupSteps: 100,
    averageDecay: 0.995,
    targetDecay: settings.targetDecay,
    phases: [
      {
        until: 1,
        batch,
        program: trainingProgram(loss, { error: mean(sum(square(distance), [1, 2, 3])) }, parameters.map(({ key }) => key)),
        feeds: async (seen, step) => {
          const z = normal({ seed, stream: "distill-noise", indices: [step] }, batch * each);
          const draws = uniform({ seed, stream: "distill-draws", indices: [step] }, 2 * batch);
          const grid = scheduler.originalInferenceSteps;
          const indices = order.indices(seen, batch);
          const noisy = new Float32Array(batch * each);
          const columns = Object.fromEntries(
            ["guidance", "ddim_sample", "ddim_noise", "earlier_sample", "earlier_output", "own_sample", "own_output"].map((name) => [name, new Float32Array(batch)]),
          ) as Record<string, Float32Array>;
          const conds = new Float32Array(batch * settings.condWidth);
          const [later, before]: [number[], number[]] = [[], []];
          indices.forEach((index, row) => {
            const k = Math.min(grid - 1, Math.floor(((row + draws[2 * row]!) / batch) * grid));
            const t = Math.floor(scheduler.trainTimesteps / grid) * (k + 1) - 1;
            const s = Math.max(0, t - skip);
            later.push(t);
            before.push(s);
            const now = signalAndNoise(scheduler, t);
            const then = signalAndNoise(scheduler, s);
            for (let i = 0; i < each; i++) noisy[row * each + i] = now.a * cache.data[index * each + i]! + now.sigma * z[row * each + i]!;
            const scale = settings.guidance[0] + draws[2 * row + 1]! * (settings.guidance[1] - settings.guidance[0]);
            conds.set(guidanceEmbedding(scale, settings.condWidth), row * settings.condWidth);
            const own = coefficients(t);
            const other = coefficients(s);
            const values = [scale, then.a / now.a, then.sigma - (then.a * now.sigma) / now.a, other.fromSample, other.fromOutput, own.fromSample, own.fromOutput];
            Object.values(columns).forEach((column, j) => (column[row] = values[j]!));
          });
          const contexts = await teacher.contexts([...indices.map((index) => cache.captions[index]!), ""]);
          const size = length * contextWidth;
          const empty = new Float32Array(batch * size);
          for (let row = 0; row < batch; row++) empty.set(contexts.subarray(batch * size), row * size);
          return {
            sample: noisy,
            context: contexts.subarray(0, batch * size),
            empty_context: empty,
            cond: conds,
            sinusoid: sinusoids(later, width),
            sinusoid_earlier: sinusoids(before, width),
            ...columns,
          };
        },
      },
    ],
    sample: async (average) => {
      const image = await drawSheet(backend, sheet, average, teacher, sheetPrompts, { scheduler: lcmSchedulerJson, width, condWidth: settings.condWidth, each });
      return { png: await contactSheet(image, Math.sqrt(image.length / sheetPrompts.length / 3), 8), scores: {} };
    },
    finish: async (average) =>
      new Map<string, string | Uint8Array>([
        ["unet/config.json", `${JSON.stringify({ _class_name: "UNet2DConditionModel", ...studentJson }, null, 2)}\n`],
        ["unet/diffusion_pytorch_model.safetensors", encodeSafetensors(tensorsOf(average, parameters, "unet."), new Map([["format", "pt"]]))],
        ["scheduler/scheduler_config.json", `${JSON.stringify(lcmSchedulerJson, null, 2)}\n`],
      ]),
  };
}

function sheetProgram(config: UNetConfig, teacher: Teacher, channels: number, side: number, count: number, condWidth: number): { readonly step: Program; readonly decode: Program } {
  const latentShape = [count, channels, side, side];
  const sample = input("sample", latentShape);
  const output = unet(trainableScope("unet."), config, {
    sample,
    sinusoid: input("sinusoid", [count, config.down[0]!.channels]),
    context: input("context", [count, ...teacher.contextShape]),
    cond: input("cond", [count, condWidth]),
  });
  const { vae } = teacher;
  const latent = div(input("latent", latentShape), vae.config.scalingFactor);
  return { step: program({ output }), decode: program({ image: clamp(add(mul(decodeLatent(vae.scope, vae.config, latent), 0.5), 0.5), 0, 1) }) };
}

/** Draws the sheet's prompts by 4 LCM steps at guidance 5. */
async function drawSheet(
  backend: Backend,
  sheet: ReturnType<typeof sheetProgram>,
  average: ParameterSet,
  teacher: Teacher,
  prompts: readonly string[],
  { scheduler, width, condWidth, each }: { readonly scheduler: ConfigJson; readonly width: number; readonly condWidth: number; readonly each: number },
): Promise<Float32Array> {
  const step = await backend.compile(sheet.step);
  const decode = await backend.compile(sheet.decode);
  const count = prompts.length;
  const context = await teacher.contexts(prompts);
  const cond = new Float32Array(count * condWidth);
  for (let row = 0; row < count; row++) cond.set(guidanceEmbedding(5, condWidth), row * condWidth);
  let x = Float32Array.from(normal({ seed: 0, stream: "sheet", indices: [0] }, count * each));
  for (const [i, { timestep, fromSample, fromOutput, next }] of lcmSteps(parseSchedulerConfig(scheduler), 4).entries()) {
    const { output } = await step.run({ ...Object.fromEntries(average), sample: x, context, cond, sinusoid: sinusoids(new Array<number>(count).fill(timestep), width) });
    const denoised = x.map((v, j) => fromSample * v + fromOutput * output!.data[j]!);
    const z = normal({ seed: 0, stream: "sheet", indices: [i + 1] }, x.length);
    x = next ? denoised.map((v, j) => next.a * v + next.sigma * z[j]!) : denoised;
  }
  const { image } = await decode.run({ latent: x });
  await step.dispose();
  await decode.dispose();
  return image!.data as Float32Array;
}
