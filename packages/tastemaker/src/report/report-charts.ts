import { type ChartMark, lineChart, smooth, type ChartSeries } from "./line-chart.ts";
import type { MetricsLine } from "./report-data.ts";
import { watchSummary } from "./watch-summary.ts";

type NumberKey = "reward" | "divergence" | "beta" | "loss" | "gradNorm";

function curve(metrics: readonly MetricsLine[], name: string, colour: number, value: (line: MetricsLine) => unknown): ChartSeries {
  const points = metrics.flatMap((line) => {
    const y = value(line);
    return typeof y === "number" ? [{ x: line.iteration, y }] : [];
  });
  return { name, kind: "band", colour, points: smooth(points) };
}

/** Where the watch first fired, and the best checkpoint. */
function watchMarks(metrics: readonly MetricsLine[]): ChartMark[] {
  const { firstFired, best } = watchSummary(metrics);
  return [
    ...(firstFired === undefined ? [] : [{ x: firstFired.iteration, label: "over-optimisation", kind: "alarm" } as const]),
    ...(best === undefined ? [] : [{ x: best, label: "best checkpoint", kind: "best" } as const]),
  ];
}

/** The page's charts, held-out metrics first; a chart without data is left out. */
export function reportCharts(metrics: readonly MetricsLine[]): string {
  const of = (key: NumberKey): ((line: MetricsLine) => unknown) => (line) => (hasDivergence(line) || (key !== "divergence" && key !== "beta") ? line[key] : undefined);
  // Of the policy objectives only dpok has one.
  const hasDivergence = ({ policy }: MetricsLine): boolean => policy === undefined || policy.kl !== undefined;
  const rewardNames = [...new Set(metrics.flatMap((line) => Object.keys(line.rewards ?? {})))].slice(0, 3);
  const marks = watchMarks(metrics);
  const heldOutNames = [...new Set(metrics.flatMap((line) => Object.keys(line.heldOut ?? {})))];
  const heldOut = heldOutNames.map((name, index) =>
    lineChart({
      title: `Held-out ${name}`,
      caption: "Tuned model on prompts that are never trained on, always with the same noise.",
      marks,
      series: [
        {
          name,
          kind: "bars",
          colour: (index % 4) + 1,
          points: metrics.flatMap(({ iteration, heldOut: found, heldOutBefore: before }) => [
            ...(before?.[name] === undefined ? [] : [{ x: 0, y: before[name].mean, error: before[name].standardError }]),
            ...(found?.[name] === undefined ? [] : [{ x: iteration, y: found[name].mean, error: found[name].standardError }]),
          ]),
        },
      ],
    }),
  );
  const single = (title: string, caption: string, key: NumberKey, colour: number, fromZero = false): string =>
    lineChart({ title, caption, fromZero, series: [curve(metrics, title, colour, of(key))] });
  const rewards =
    rewardNames.length < 2
      ? ""
      : lineChart({ title: "Each reward", caption: "Before its weight.", series: rewardNames.map((name, index) => curve(metrics, name, index + 1, (line) => line.rewards?.[name])) });
  const ratios = lineChart({
    title: "Probability ratios",
    caption: "Of new to old policy (d3po: to the base model): the share beyond the clip range, and half the mean squared logarithm.",
    fromZero: true,
    series: [curve(metrics, "clipped", 2, ({ policy }) => policy?.clipFraction), curve(metrics, "change", 4, ({ policy }) => policy?.approxKl)],
  });
  return [
    ...heldOut,
    single("Reward in training", "Weighted sum of the rewards on the training prompts.", "reward", 1),
    rewards,
    single("Divergence from the base model", "Summed over the sampling steps, before β.", "divergence", 2, true),
    single("β", "Weight of the divergence in the loss.", "beta", 4, true),
    ratios,
    single("Gradient norm", "Over all adapters, before clipping.", "gradNorm", 3, true),
  ].join("");
}
