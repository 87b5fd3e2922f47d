import type { Pair } from "./pairs.ts";

/** What is suspicious about the labels of training pairs, one line each: nobody preferred anything, or always the picture on the same side. */
export function labelWarnings(training: readonly Pair[]): string[] {
  const decided = training.filter(({ label }) => label !== 0.5);
  if (decided.length === 0) return [`all ${training.length} training pairs are ties: a reward learns from them that all pictures are alike`];
  const [{ label } = { label: 1 }] = decided;
  if (decided.some((pair) => pair.label !== label)) return [];
  return [`the ${label === 1 ? "first" : "second"} picture is the better one in all ${decided.length} training pairs${decided.length < training.length ? " that are no ties" : ""}: fine where the table was written in this order, else the labels are wrong`];
}
