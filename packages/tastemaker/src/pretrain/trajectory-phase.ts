import { guidanceEmbedding, signalAndNoise, unet } from "@tastemaker/diffusion";
import { input, mean, square, stopGradient, sub, sum, type Tensor } from "@tastemaker/tensor";
import { Progress } from "../cli/progress.ts";
import { VisitOrder } from "../data/captioned-images.ts";
import { threadBackend } from "../platform/runtime.ts";
import { consistencyFactors, consistencyOf, type DistillObjective, gridTimestep, pseudoHuber } from "./distill-objective.ts";
import { sinusoids } from "./sinusoids.ts";
import type { Phase } from "./stage.ts";
import { type Trajectories, TrajectoryMaker } from "./teacher-trajectories.ts";
import { trainableScope, trainingProgram } from "./trainable.ts";

/** Points of a trajectory on average: half of them have 20, the others half as many. */
const POINTS = 15;

/**
 * Distillation from whole trajectories: the student's f at every point that the guided teacher passes is drawn to the clean latent where that
 * trajectory ends, which is what a consistency function is (Song et al. 2023, arXiv 2303.01469, definition 1).
 *
 * Loss: pseudo-Huber distance of f to the end, times min(1, a_t/σ_t), so that early timesteps, where f = (x − σo)/a magnifies the output's error up to
 * fifteen times, do not drown the others.
 *
 * Against consistency distillation: targets are exact from the first step instead of travelling down a chain of 50 timesteps through a target network,
 * and the teacher's evaluations (two per point) are used `visits` times.
 */
export function trajectoryPhase({ settings, teacher, cache, scheduler, config, keys, seed, workers }: DistillObjective): Phase {
  const { batch } = settings;
  const [channels, side] = cache.shape;
  const each = channels * side * side;
  const width = config.down[0]!.channels;
  const [length, contextWidth] = teacher.contextShape;
  const latentShape = [batch, channels, side, side];
  const perRow = (name: string): Tensor => input(name, [batch, 1, 1, 1]);

  const x = input("sample", latentShape);
  const output = unet(trainableScope("unet."), config, {
    sample: x,
    sinusoid: input("sinusoid", [batch, width]),
    context: input("context", [batch, length, contextWidth]),
    cond: input("cond", [batch, settings.condWidth]),
  });
  const distance = sub(consistencyOf(x, output, perRow("own_sample"), perRow("own_output")), stopGradient(input("end", latentShape)));
  const loss = pseudoHuber(distance, settings.huber, perRow("weight"));

  const pictures = new VisitOrder(seed, cache.count);
  const perRound = settings.trajectories * POINTS * settings.visits;
  const drawRound = async (round: number): Promise<{ readonly drawn: Trajectories; readonly order: VisitOrder }> => {
    const maker = await TrajectoryMaker.open(teacher, cache, scheduler, pictures, { batch: 16, lanes: workers }, threadBackend());
    const progress = new Progress({ label: `trajectories of round ${round + 1}`, total: settings.trajectories });
    const drawn = await maker.make({ seed, round, count: settings.trajectories, guidance: settings.guidance }, (done) => progress.update(done));
    progress.finish();
    await maker.dispose();
    return { drawn, order: new VisitOrder(seed + round, drawn.positions.length) };
  };
  // Batches of one step can lie in two rounds, so the one before is kept.
  const rounds = new Map<number, ReturnType<typeof drawRound>>();
  const roundAt = (round: number): ReturnType<typeof drawRound> => {
    const found = rounds.get(round) ?? drawRound(round);
    rounds.set(round, found);
    rounds.delete(round - 2);
    return found;
  };
  return {
    until: 1,
    batch,
    program: trainingProgram(loss, { error: mean(sum(square(distance), [1, 2, 3])) }, keys),
    feeds: async (seen) => {
      const round = Math.floor(seen / perRound);
      const { drawn, order } = await roundAt(round);
      const points = order.indices(seen - round * perRound, batch);
      const [sample, end] = [new Float32Array(batch * each), new Float32Array(batch * each)];
      const [ownSample, ownOutput, weight] = [new Float32Array(batch), new Float32Array(batch), new Float32Array(batch)];
      const cond = new Float32Array(batch * settings.condWidth);
      const timesteps = points.map((point) => gridTimestep(scheduler, drawn.positions[point]!));
      points.forEach((point, row) => {
        const owner = drawn.owners[point]!;
        sample.set(drawn.samples.subarray(point * each, (point + 1) * each), row * each);
        end.set(drawn.ends.subarray(owner * each, (owner + 1) * each), row * each);
        cond.set(guidanceEmbedding(drawn.guidance[owner]!, settings.condWidth), row * settings.condWidth);
        const { fromSample, fromOutput } = consistencyFactors(scheduler, timesteps[row]!);
        const { a, sigma } = signalAndNoise(scheduler, timesteps[row]!);
        ownSample[row] = fromSample;
        ownOutput[row] = fromOutput;
        weight[row] = Math.min(1, a / sigma);
      });
      const context = await teacher.contexts(points.map((point) => drawn.captions[drawn.owners[point]!]!));
      return { sample, end, context, cond, sinusoid: sinusoids(timesteps, width), own_sample: ownSample, own_output: ownOutput, weight };
    },
  };
}
