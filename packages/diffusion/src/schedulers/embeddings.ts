import { UsageError } from "@tastemaker/tensor";

function checkWidth(width: number): void {
  if (!Number.isSafeInteger(width) || width < 4) throw new UsageError("embedding-width", `embedding width: expected a whole number of at least 4, got ${width}`);
}

function sinusoid(position: number, width: number, denominator: number, cosineFirst: boolean): Float64Array {
  const half = Math.floor(width / 2);
  // An odd width ends with a zero, as in diffusers.
  const out = new Float64Array(width);
  for (let k = 0; k < half; k++) {
    const angle = position * Math.exp((-Math.log(10000) * k) / denominator);
    out[cosineFirst ? k : half + k] = Math.cos(angle);
    out[cosineFirst ? half + k : k] = Math.sin(angle);
  }
  return out;
}

/**
 * Sinusoidal embedding of a timestep, `[width]`, evaluated in float64 (float32 alone costs 5e-5 at t = 999).
 * Frequencies exp(−ln(1e4)·k/(width/2 − freqShift)); cosines come first when `flipSinToCos` (Stable Diffusion).
 */
export function timestepEmbedding(timestep: number, width: number, flipSinToCos: boolean = true, freqShift: number = 0): Float64Array {
  checkWidth(width);
  return sinusoid(timestep, width, Math.floor(width / 2) - freqShift, flipSinToCos);
}

/**
 * Embedding of the guidance scale w that latent consistency models take as an input, `[width]` = [sin, cos] of (w − 1)·1000·exp(−ln(1e4)·k/(width/2 − 1)),
 * evaluated in float64 (float32 alone costs 2.5e-4 at w = 8). Feeds `time_embedding.cond_proj`.
 */
export function guidanceEmbedding(guidanceScale: number, width: number): Float64Array {
  checkWidth(width);
  if (!Number.isFinite(guidanceScale)) throw new UsageError("guidance-scale", `guidance scale: expected a number, got ${guidanceScale}`);
  return sinusoid((guidanceScale - 1) * 1000, width, Math.floor(width / 2) - 1, false);
}
