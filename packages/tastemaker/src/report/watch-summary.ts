import { formatNumber, formatTo } from "./html.ts";
import type { MetricsLine, TestedMean, WatchFinding, WatchVerdict } from "./report-data.ts";

/** A line with the watch's verdict. */
type WatchedLine = MetricsLine & { readonly watch: WatchVerdict };

export interface WatchSummary {
  /** The newest evaluation with a verdict. */
  readonly newest: WatchedLine | undefined;
  /** The first one at which the watch fired. */
  readonly firstFired: WatchedLine | undefined;
  /** Iteration of the best checkpoint. */
  readonly best: number | undefined;
  /** Whether the watch saw nothing there. */
  readonly isBestClean: boolean;
  /** What the watch has to say about the run, in words; empty when it has nothing to say. */
  readonly sentences: readonly string[];
}

const isWatched = (line: MetricsLine): line is WatchedLine => line.watch !== undefined;

function evidence({ error, t, p }: TestedMean, before: readonly string[] = [], after: readonly string[] = []): string {
  const parts = [...before, ...(t === undefined ? [] : [`t = ${formatNumber(t, 3)}`]), `p = ${formatNumber(p, 2)}`, ...after];
  return `${error > 0 ? ` ± ${formatTo(error, error)}` : ""} (${parts.join(", ")})`;
}

const placeOf = (iteration: number): string => (iteration === 0 ? "with the base model" : `at iteration ${iteration}`);

/** A finding in one sentence with the numbers that decided, e.g. `judge is worse by 0.121 ± 0.018 (…) than at iteration 40, while the trained reward is higher by …`. */
export function describeFinding({ metric, since, looks, n, drop, dropSize, level, rise }: WatchFinding): string {
  const size = dropSize < 1e6 ? [`${formatNumber(dropSize, 2)} standard deviations`] : [];
  const often = looks === 1 ? "in one evaluation" : `in ${looks} evaluations in a row`;
  return `${metric} is worse by ${formatTo(drop.mean, drop.error)}${evidence(drop, [...size, `n = ${n}`], [`limit ${formatNumber(level, 2)}`])} than ${placeOf(since)}, ${often}, while the trained reward is higher by ${formatTo(rise.mean, rise.error)}${evidence(rise)}`;
}

/** What the lines of a run say about over-optimisation. */
export function watchSummary(lines: readonly MetricsLine[]): WatchSummary {
  const watched = lines.filter(isWatched);
  const newest = watched.at(-1);
  const firstFired = watched.find(({ watch }) => watch.state === "fired");
  const best = lines.findLast((line) => line.best !== undefined)?.best;
  const isBestClean = (watched.find(({ iteration }) => iteration === best)?.watch.state ?? "quiet") === "quiet";
  const sentences: string[] = [];
  if (newest?.watch.state === "fired") {
    sentences.push(`over-optimisation, first seen at iteration ${firstFired!.iteration}; at iteration ${newest.iteration}:`, ...newest.watch.findings.map(describeFinding));
  } else if (newest !== undefined && firstFired !== undefined) {
    sentences.push(`over-optimisation was seen at iteration ${firstFired.iteration}, but no longer at iteration ${newest.iteration}:`, ...firstFired.watch.findings.map(describeFinding));
  } else if (newest?.watch.state === "suspected") {
    sentences.push(`over-optimisation is possible; it takes another evaluation to be sure. At iteration ${newest.iteration}:`, ...newest.watch.findings.map(describeFinding));
  }
  return { newest, firstFired, best, isBestClean, sentences };
}
