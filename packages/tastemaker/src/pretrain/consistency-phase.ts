import { guidanceEmbedding, signalAndNoise, unet } from "@tastemaker/diffusion";
import { add, input, mean, mul, normal, square, stopGradient, sub, sum, type Tensor, uniform } from "@tastemaker/tensor";
import { VisitOrder } from "../data/captioned-images.ts";
import { consistencyFactors, consistencyOf, type DistillObjective, gridTimestep, guidedContexts, guidedNoise, pseudoHuber } from "./distill-objective.ts";
import { sinusoids } from "./sinusoids.ts";
import type { Phase } from "./stage.ts";
import { trainableScope, trainingProgram } from "./trainable.ts";

/**
 * Latent consistency distillation (Luo et al. 2023, arXiv 2310.04378): the student's f at a timestep is drawn to the target network's f at
 * the point that one guided DDIM step of the teacher reaches, `skip` timesteps earlier.
 *
 * Differs from the paper's code: guidance scale g enters the teacher as u + g(c − u) and the student's embedding as g − 1, which is what the
 * sampler feeds it.
 */
export function consistencyPhase({ settings, teacher, cache, scheduler, config, keys, seed }: DistillObjective): Phase {
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
  const noise = guidedNoise(teacher, x, sinusoid, { context, emptyContext }, perRow("guidance"));
  const earlier = add(mul(x, perRow("ddim_sample")), mul(noise, perRow("ddim_noise")));
  const targetOutput = unet(trainableScope("target:unet."), config, { sample: earlier, sinusoid: input("sinusoid_earlier", [batch, width]), context, cond });
  const target = stopGradient(consistencyOf(earlier, targetOutput, perRow("earlier_sample"), perRow("earlier_output")));
  const output = unet(trainableScope("unet."), config, { sample: x, sinusoid, context, cond });
  const distance = sub(consistencyOf(x, output, perRow("own_sample"), perRow("own_output")), target);
  const loss = pseudoHuber(distance, settings.huber);
  return {
    until: 1,
    batch,
    program: trainingProgram(loss, { error: mean(sum(square(distance), [1, 2, 3])) }, keys),
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
        const t = gridTimestep(scheduler, k);
        const s = Math.max(0, t - skip);
        later.push(t);
        before.push(s);
        const now = signalAndNoise(scheduler, t);
        const then = signalAndNoise(scheduler, s);
        for (let i = 0; i < each; i++) noisy[row * each + i] = now.a * cache.data[index * each + i]! + now.sigma * z[row * each + i]!;
        const scale = settings.guidance[0] + draws[2 * row + 1]! * (settings.guidance[1] - settings.guidance[0]);
        conds.set(guidanceEmbedding(scale, settings.condWidth), row * settings.condWidth);
        const own = consistencyFactors(scheduler, t);
        const other = consistencyFactors(scheduler, s);
        const values = [scale, then.a / now.a, then.sigma - (then.a * now.sigma) / now.a, other.fromSample, other.fromOutput, own.fromSample, own.fromOutput];
        Object.values(columns).forEach((column, j) => (column[row] = values[j]!));
      });
      return {
        sample: noisy,
        ...(await guidedContexts(teacher, indices.map((index) => cache.captions[index]!))),
        cond: conds,
        sinusoid: sinusoids(later, width),
        sinusoid_earlier: sinusoids(before, width),
        ...columns,
      };
    },
  };
}
