/** Named float32 parameters, e.g. by checkpoint key. The arrays are updated in place. */
export type ParameterSet = ReadonlyMap<string, Float32Array>;

export interface AdamWSettings {
  /** Decay of the first moment. */
  readonly beta1: number;
  /** Decay of the second moment. */
  readonly beta2: number;
  /** Added to √v̂. */
  readonly epsilon: number;
  /** Decoupled: p ← p·(1 − learningRate·weightDecay) before the step. */
  readonly weightDecay: number;
  /** Gradients are scaled down to this global norm; 0 never scales. */
  readonly maxGradNorm: number;
}

/** Moments of AdamW and the number of updates done. */
export interface AdamWState {
  updates: number;
  readonly first: ParameterSet;
  readonly second: ParameterSet;
}

/** Zero arrays of the same sizes. */
export function zerosLike(parameters: ParameterSet): Map<string, Float32Array> {
  return new Map([...parameters].map(([name, values]) => [name, new Float32Array(values.length)]));
}

/** The state before the first update. */
export function createAdamW(parameters: ParameterSet): AdamWState {
  return { updates: 0, first: zerosLike(parameters), second: zerosLike(parameters) };
}

/** √Σ g² over all gradients, accumulated in float64. */
export function globalNorm(gradients: ParameterSet): number {
  let total = 0;
  for (const values of gradients.values()) for (let i = 0; i < values.length; i++) total += values[i]! * values[i]!;
  return Math.sqrt(total);
}

/**
 * One AdamW update in place (Loshchilov & Hutter 2019, as torch.optim.AdamW): arithmetic in float64, storage in float32.
 *
 * Clipping multiplies by min(1, maxGradNorm/(norm + 1e-6)), as torch.nn.utils.clip_grad_norm_.
 * @returns The global gradient norm before clipping.
 */
export function updateAdamW(
  parameters: ParameterSet,
  gradients: ParameterSet,
  state: AdamWState,
  learningRate: number,
  { beta1, beta2, epsilon, weightDecay, maxGradNorm }: AdamWSettings,
): number {
  const norm = globalNorm(gradients);
  const scale = maxGradNorm > 0 ? Math.min(1, maxGradNorm / (norm + 1e-6)) : 1;
  state.updates += 1;
  const firstCorrection = 1 - beta1 ** state.updates;
  const secondCorrection = 1 - beta2 ** state.updates;
  const stepSize = learningRate / firstCorrection;
  const secondScale = 1 / Math.sqrt(secondCorrection);
  const keep = 1 - learningRate * weightDecay;
  for (const [name, p] of parameters) {
    const g = gradients.get(name)!;
    const m = state.first.get(name)!;
    const v = state.second.get(name)!;
    for (let i = 0; i < p.length; i++) {
      const gi = g[i]! * scale;
      const mi = beta1 * m[i]! + (1 - beta1) * gi;
      const vi = beta2 * v[i]! + (1 - beta2) * gi * gi;
      m[i] = mi;
      v[i] = vi;
      p[i] = p[i]! * keep - (stepSize * mi) / (Math.sqrt(vi) * secondScale + epsilon);
    }
  }
  return norm;
}

/** Exponential moving average in place: average ← decay·average + (1 − decay)·parameters. */
export function updateAverage(average: ParameterSet, parameters: ParameterSet, decay: number): void {
  for (const [name, a] of average) {
    const p = parameters.get(name)!;
    for (let i = 0; i < a.length; i++) a[i] = decay * a[i]! + (1 - decay) * p[i]!;
  }
}

/** Copies of all arrays. */
export function copyParameters(parameters: ParameterSet): Map<string, Float32Array> {
  return new Map([...parameters].map(([name, values]) => [name, values.slice()]));
}
