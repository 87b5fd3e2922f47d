import { timestepEmbedding } from "@tastemaker/diffusion";

/** Rows of sinusoidal timestep embeddings `[B, width]` in float32. */
export function sinusoids(timesteps: readonly number[], width: number): Float32Array {
  const rows = new Float32Array(timesteps.length * width);
  timesteps.forEach((t, i) => rows.set(timestepEmbedding(t, width), i * width));
  return rows;
}
