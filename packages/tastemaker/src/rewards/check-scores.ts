import { UsageError } from "@tastemaker/tensor";

/**
 * The scores that somebody else's code or server gave, one finite number per picture.
 * @throws UsageError `reward-scores` naming the reward and where it comes from
 */
export function checkScores(name: string, scores: unknown, count: number, at: string): number[] {
  const fail = (got: string): never => {
    throw new UsageError("reward-scores", `reward ${name}: expected ${count} finite number${count === 1 ? "" : "s"}, one per picture, got ${got} (at ${at})`);
  };
  if (!Array.isArray(scores)) return fail(scores === undefined || scores === null ? "none" : `a ${typeof scores}`);
  if (scores.length !== count) return fail(String(scores.length));
  for (const [place, score] of scores.entries()) if (!Number.isFinite(score)) return fail(`${typeof score === "number" ? score : JSON.stringify(score)?.slice(0, 40)} at place ${place + 1}`);
  return scores as number[];
}
