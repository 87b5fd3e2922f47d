import { type Backend, gradients, input, mean, normal, program, square, sum, type Tensor } from "@tastemaker/tensor";
import { fisherDivergence, hellingerDivergence, jsDivergence, klDivergence, sampledJsDivergence } from "../../objectives/divergence.ts";
import { meanOf, standardErrorOf } from "../../report/paired-statistics.ts";

/** Distances of two means in standard deviations at which Table 3 shows values. */
export const tableDistances = [0.5, 1, 2, 3, 5] as const;

export interface DivergenceValue {
  readonly distance: number;
  readonly exact: number;
  /** Mean of the sampled terms and its standard error. */
  readonly sampled: number;
  readonly sampledError: number;
}

/** What one evaluation for one transition costs on this machine. */
export interface DivergenceCost {
  readonly kind: "kl" | "hellinger" | "js" | "js-sampled" | "fisher";
  readonly microseconds: number;
  /** Random numbers it needs, float32. */
  readonly noiseBytes: number;
}

/** A row of Table 3. */
export interface DivergenceRow {
  readonly kind: "kl" | "hellinger" | "js" | "fisher";
  /** As a function f of the ratio of densities, and in closed form with s the squared distance of the means in standard deviations. */
  readonly generator: string;
  readonly formula: string;
  readonly values: readonly DivergenceValue[];
  /** dD/ds at s = 0. */
  readonly slope: number;
  /** Standard deviation of the estimate from one draw, at distance 1. */
  readonly deviationOfOneDraw: number;
}

interface Definition {
  readonly generator: string;
  readonly formula: string;
  readonly exact: (s: Tensor) => Tensor;
  /** The term whose mean over x ~ π_θ is the divergence, as a function of u = log π_θ(x)/π_ref(x). */
  readonly term: (u: number, distance: number) => number;
}

/** σ of the step at which the Fisher divergence, the only one that depends on it, is shown. */
const fisherSigma = 1;

const definitions: Readonly<Record<DivergenceRow["kind"], Definition>> = {
  kl: { generator: "t log t", formula: "s/2", exact: klDivergence, term: (u) => u },
  hellinger: { generator: "1 − √t", formula: "1 − exp(−s/8)", exact: hellingerDivergence, term: (u) => -Math.expm1(-u / 2) },
  js: { generator: "½(t log t − (t+1) log((t+1)/2))", formula: "log 2 − E softplus(−(√s z + s/2)), by quadrature", exact: jsDivergence, term: (u) => Math.LN2 - (u > 0 ? Math.log1p(Math.exp(-u)) : Math.log1p(Math.exp(u)) - u) },
  // The difference of the two scores is the same at every x, so sampling has no error here.
  fisher: { generator: "none: E‖∇log π_θ − ∇log π_ref‖²", formula: "s/σ² (shown for σ = 1)", exact: (s) => fisherDivergence(s, fisherSigma), term: (_, distance) => (distance / fisherSigma) ** 2 },
};

/**
 * Table 3. Exact values and slopes come from the very functions that training differentiates, in float64.
 *
 * @param backend in float64
 * @param samples Draws behind the sampled values.
 */
export async function divergenceTable(backend: Backend, { seed, samples }: { readonly seed: number; readonly samples: number }): Promise<DivergenceRow[]> {
  const z = normal({ seed, stream: "experiment/divergence-table", indices: [] }, samples);
  const at = [0, ...tableDistances];
  const rows: DivergenceRow[] = [];
  for (const [kind, { generator, formula, exact, term }] of Object.entries(definitions) as [DivergenceRow["kind"], Definition][]) {
    const s = input("s", [at.length]);
    const value = exact(s);
    const executable = await backend.compile(program({ value, slope: gradients(sum(value), [s])[0]! }));
    const result = await executable.run({ s: Float64Array.from(at, (distance) => distance * distance) });
    await executable.dispose();
    const terms = (distance: number): number[] => Array.from(z, (draw) => term(distance * draw + distance ** 2 / 2, distance));
    const values = tableDistances.map((distance, index): DivergenceValue => {
      const drawn = terms(distance);
      return { distance, exact: Number(result["value"]!.data[index + 1]), sampled: meanOf(drawn), sampledError: standardErrorOf(drawn) };
    });
    rows.push({ kind, generator, formula, values, slope: Number(result["slope"]!.data[0]), deviationOfOneDraw: standardErrorOf(terms(1)) * Math.sqrt(samples) });
  }
  return rows;
}

export interface DivergenceBench {
  /** Shape of the latent: `[B, C, H, W]`. */
  readonly latent: readonly [number, number, number, number];
  /** M of `js-sampled`. */
  readonly draws: number;
  readonly repeats: number;
  /** Milliseconds since any fixed moment. */
  readonly now: () => number;
}

/** Median time of one value with its gradient by the latent, and the random numbers it needs. */
export async function benchDivergences(backend: Backend, { latent, draws, repeats, now }: DivergenceBench): Promise<DivergenceCost[]> {
  const count = latent.reduce((product, size) => product * size, 1);
  const noiseShape = [draws, ...latent];
  const costs: DivergenceCost[] = [];
  for (const kind of ["kl", "hellinger", "js", "js-sampled", "fisher"] as const) {
    const delta = input("delta", latent);
    const noise = input("noise", noiseShape);
    const s = mean(square(delta), [1, 2, 3]);
    const value = kind === "js-sampled" ? sampledJsDivergence(s, delta, noise, "mean") : definitions[kind].exact(s);
    const executable = await backend.compile(program({ value, gradient: gradients(sum(value), [delta])[0]! }));
    const inputs = {
      delta: Float32Array.from(normal({ seed: 1, stream: "experiment/divergence-bench", indices: [0] }, count)),
      ...(kind === "js-sampled" ? { noise: Float32Array.from(normal({ seed: 1, stream: "experiment/divergence-bench", indices: [1] }, count * draws)) } : {}),
    };
    const times: number[] = [];
    for (let repeat = 0; repeat < repeats; repeat++) {
      const start = now();
      await executable.run(inputs);
      times.push(now() - start);
    }
    await executable.dispose();
    const sorted = times.sort((a, b) => a - b);
    costs.push({ kind, microseconds: 1000 * sorted[Math.floor(sorted.length / 2)]!, noiseBytes: kind === "js-sampled" ? 4 * count * draws : 0 });
  }
  return costs;
}
