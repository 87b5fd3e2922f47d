/** Name of the diversity among the metrics of an evaluation. */
export const diversityName = "diversity";

/** Mean cosine distance, 1 − cos, of every pair among vectors of length 1. */
function meanDistance(vectors: readonly Float32Array[]): number {
  let sum = 0;
  let pairs = 0;
  for (let a = 1; a < vectors.length; a++) {
    for (let b = 0; b < a; b++, pairs++) sum += distance(vectors[a]!, vectors[b]!);
  }
  return sum / pairs;
}

function distance(a: Float32Array, b: Float32Array): number {
  let dot = 0;
  for (let i = 0; i < a.length; i++) dot += a[i]! * b[i]!;
  return 1 - dot;
}

/**
 * How different a model's pictures are, one number per prompt whose mean is the diversity, so that two models compare prompt by prompt like any metric.
 *
 * With two or more pictures per prompt: the mean distance of a prompt's pictures. With one: the mean distance between different prompts' pictures, as
 * jackknife pseudo-values (n U − (n − 1) U₋ᵢ, Tukey 1958; of U-statistics: Arvesen 1969). The plain mean distance of a picture to all others would
 * understate the error by half, because every pair belongs to two prompts.
 *
 * @param embeddings per prompt its pictures' embeddings, each of length 1
 * @returns undefined when there are too few pictures: one per prompt and fewer than three prompts
 */
export function diversityScores(embeddings: readonly (readonly Float32Array[])[]): number[] | undefined {
  const n = embeddings.length;
  if (embeddings.every((own) => own.length >= 2)) return embeddings.map(meanDistance);
  if (n < 3) return undefined;
  const first = embeddings.map((own) => own[0]!);
  const means = first.map((one, i) => first.reduce((sum, other, j) => (i === j ? sum : sum + distance(one, other)), 0) / (n - 1));
  const mean = means.reduce((sum, value) => sum + value, 0) / n;
  return means.map((value) => (2 * (n - 1) * value - n * mean) / (n - 2));
}
