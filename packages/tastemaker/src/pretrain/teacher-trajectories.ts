import { predictedOriginal, type SchedulerConfig, signalAndNoise } from "@tastemaker/diffusion";
import { type Backend, type Executable, input, normal, program, type Tensor, uniform } from "@tastemaker/tensor";
import type { VisitOrder } from "../data/captioned-images.ts";
import { gridTimestep, guidedContexts, guidedNoise, type Teacher } from "./distill-objective.ts";
import type { LatentCache } from "./latent-cache.ts";
import { sinusoids } from "./sinusoids.ts";

/** Points that a guided teacher passes on its way to clean latents, and where each way ends. */
export interface Trajectories {
  /** Latents at the points, `points × [C, H, W]`. */
  readonly samples: Float32Array;
  /** Grid position of each point: timestep = (position + 1)·spacing − 1. */
  readonly positions: Uint8Array;
  /** Which trajectory each point belongs to. */
  readonly owners: Uint32Array;
  /** Clean latents at the ends, `trajectories × [C, H, W]`. */
  readonly ends: Float32Array;
  readonly captions: readonly string[];
  readonly guidance: Float32Array;
}

export interface TrajectoryPlan {
  readonly seed: number;
  /** Number of the round: other rounds have other pictures and other noise. */
  readonly round: number;
  readonly count: number;
  readonly guidance: readonly [number, number];
}

/** Share of the trajectories that begin with pure noise, as sampling does; the others begin with a picture with noise added. */
const FROM_NOISE = 0.5;
/** Grid cells that one solver step covers: one of these, at random, so that points fall on every position. */
const JUMPS = [2, 3] as const;
const MAX_JUMPS = 26;

/** A trajectory under way in one row of the batch. */
interface Walker {
  readonly index: number;
  readonly x: Float32Array;
  /** Cells that each of its steps covers. */
  readonly jumps: readonly number[];
  position: number;
  step: number;
}

/** Makes trajectories of a teacher by deterministic DDIM with classifier-free guidance, several batches at the same time. */
export class TrajectoryMaker {
  readonly #teacher: Teacher;
  readonly #cache: LatentCache;
  readonly #scheduler: SchedulerConfig;
  readonly #order: VisitOrder;
  readonly #batch: number;
  readonly #executables: readonly Executable[];

  private constructor(teacher: Teacher, cache: LatentCache, scheduler: SchedulerConfig, order: VisitOrder, batch: number, executables: readonly Executable[]) {
    this.#teacher = teacher;
    this.#cache = cache;
    this.#scheduler = scheduler;
    this.#order = order;
    this.#batch = batch;
    this.#executables = executables;
  }

  /** Compiles the teacher's step `lanes` times; each lane walks its own share of the trajectories. */
  static async open(teacher: Teacher, cache: LatentCache, scheduler: SchedulerConfig, order: VisitOrder, { batch, lanes }: { readonly batch: number; readonly lanes: number }, backend: Backend): Promise<TrajectoryMaker> {
    const { config } = teacher.unet;
    const sample = input("sample", [batch, ...cache.shape]);
    const sinusoid = input("sinusoid", [batch, config.down[0]!.channels]);
    const context = (name: string): Tensor => input(name, [batch, ...teacher.contextShape]);
    const noise = guidedNoise(teacher, sample, sinusoid, { context: context("context"), emptyContext: context("empty_context") }, input("guidance", [batch, 1, 1, 1]));
    const step = program({ noise });
    return new TrajectoryMaker(teacher, cache, scheduler, order, batch, await Promise.all(Array.from({ length: lanes }, () => backend.compile(step))));
  }

  /** The trajectories of a round: a pure function of the plan and the number of lanes. `onDone` hears how many are finished. */
  async make(plan: TrajectoryPlan, onDone: (done: number) => void): Promise<Trajectories> {
    const [channels, side] = this.#cache.shape;
    const each = channels * side * side;
    const indices = this.#order.indices(plan.round * plan.count, plan.count);
    const draws = uniform({ seed: plan.seed, stream: "trajectory-guidance", indices: [plan.round] }, plan.count);
    const guidance = Float32Array.from(draws, (u) => plan.guidance[0] + u * (plan.guidance[1] - plan.guidance[0]));
    const captions = indices.map((index) => this.#cache.captions[index]!);
    const ends = new Float32Array(plan.count * each);
    const points: { readonly owner: number; readonly position: number; readonly x: Float32Array }[][] = Array.from({ length: plan.count }, () => []);
    let done = 0;
    await Promise.all(
      this.#executables.map(async (executable, lane) => {
        let next = lane;
        const start = (): Walker | undefined => {
          if (next >= plan.count) return undefined;
          const index = next;
          next += this.#executables.length;
          return this.#start(plan, index, indices[index]!);
        };
        const rows: (Walker | undefined)[] = Array.from({ length: this.#batch }, start);
        while (rows.some((row) => row)) {
          const noise = await this.#predict(executable, rows, captions, guidance);
          for (const [row, walker] of rows.entries()) {
            if (!walker) continue;
            const { index, position, x } = walker;
            points[index]!.push({ owner: index, position, x: x.slice() });
            const isAtEnd = this.#advance(walker, noise.subarray(row * each, (row + 1) * each));
            if (!isAtEnd) continue;
            ends.set(x, index * each);
            onDone(++done);
            rows[row] = start();
          }
        }
      }),
    );
    const all = points.flat();
    const samples = new Float32Array(all.length * each);
    all.forEach(({ x }, i) => samples.set(x, i * each));
    return { samples, positions: Uint8Array.from(all, ({ position }) => position), owners: Uint32Array.from(all, ({ owner }) => owner), ends, captions, guidance };
  }

  async dispose(): Promise<void> {
    for (const executable of this.#executables) await executable.dispose();
  }

  #timestep(position: number): number {
    return gridTimestep(this.#scheduler, position);
  }

  #start({ seed, round }: TrajectoryPlan, index: number, picture: number): Walker {
    const last = this.#scheduler.originalInferenceSteps - 1;
    const [channels, side] = this.#cache.shape;
    const each = channels * side * side;
    const [kind, place] = uniform({ seed, stream: "trajectory-start", indices: [round, index] }, 2);
    const x = Float32Array.from(normal({ seed, stream: "trajectory-noise", indices: [round, index] }, each));
    const jumps = Array.from(uniform({ seed, stream: "trajectory-jumps", indices: [round, index] }, MAX_JUMPS), (draw) => JUMPS[Math.floor(draw * JUMPS.length)]!);
    if (kind! < FROM_NOISE) return { index, x, jumps, position: last, step: 0 };
    const position = Math.floor(place! * (last + 1));
    const { a, sigma } = signalAndNoise(this.#scheduler, this.#timestep(position));
    for (let i = 0; i < each; i++) x[i] = a * this.#cache.data[picture * each + i]! + sigma * x[i]!;
    return { index, x, jumps, position, step: 0 };
  }

  /** One solver step in place. Returns true when the walker has arrived at the clean latent. */
  #advance(walker: Walker, noise: Float32Array): boolean {
    const { x, jumps, position, step } = walker;
    const reached = position - jumps[step]!;
    const { a, sigma } = signalAndNoise(this.#scheduler, this.#timestep(position));
    const original = predictedOriginal(this.#scheduler.predictionType, a, sigma);
    const then = reached < 0 ? { a: 1, sigma: 0 } : signalAndNoise(this.#scheduler, this.#timestep(reached));
    for (let i = 0; i < x.length; i++) {
      const clean = original.sample * x[i]! + original.output * noise[i]!;
      x[i] = then.a * clean + (then.sigma * (x[i]! - a * clean)) / sigma;
    }
    walker.position = reached;
    walker.step += 1;
    return reached < 0;
  }

  async #predict(executable: Executable, rows: readonly (Walker | undefined)[], captions: readonly string[], guidance: Float32Array): Promise<Float32Array> {
    const { config } = this.#teacher.unet;
    // A row without work repeats any other, so that one compiled size is enough.
    const any = rows.find((row) => row)!;
    const walkers = rows.map((row) => row ?? any);
    const sample = new Float32Array(walkers.length * any.x.length);
    walkers.forEach(({ x }, row) => sample.set(x, row * x.length));
    const { noise } = await executable.run({
      sample,
      sinusoid: sinusoids(walkers.map(({ position }) => this.#timestep(position)), config.down[0]!.channels),
      ...(await guidedContexts(this.#teacher, walkers.map(({ index }) => captions[index]!))),
      guidance: Float32Array.from(walkers, ({ index }) => guidance[index]!),
    });
    return noise!.data as Float32Array;
  }
}
