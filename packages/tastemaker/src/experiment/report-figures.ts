import type { Estimate } from "../evaluate/cluster-statistics.ts";
import { betaFigure } from "../figures/beta-figure.ts";
import type { Estimate as Interval } from "../figures/estimate.ts";
import { matchedRewardFigure } from "../figures/matched-reward-figure.ts";
import { methodStyles, metricLabel } from "../figures/method-style.ts";
import { timeFigure } from "../figures/time-figure.ts";
import { winRateFigure } from "../figures/win-rate-figure.ts";
import { questions } from "../study/answers.ts";
import type { Analysis } from "./analysis/analyse-records.ts";
import { heldOutName } from "./analysis/training-curves.ts";
import { trainedRewards } from "./run-record.ts";

/** A figure of the report. */
export interface ReportFigure {
  /** Also its file's name, without extension. */
  readonly name: string;
  readonly title: string;
  /** Part of the experiment that makes its runs, as `--only` takes it. */
  readonly only: string;
  readonly svg: string;
}

const intervalOf = ({ mean, low, high }: Estimate): Interval => ({ value: mean, low: low ?? mean, high: high ?? mean });
/** A number without an interval. */
const exactly = (value: number): Interval => ({ value, low: value, high: value });
const most = (values: readonly number[]): number => Math.max(1, ...values);

function betaFigures({ preference, prompts }: Analysis): ReportFigure[] {
  const of = (isKl: boolean) => preference.filter(({ method, points }) => (method === "rocm-kl") === isKl && points.length > 1);
  return [
    { name: "figure-4", title: "β: what the reward promises and what people get (KL)", curves: of(true), only: "fig4" },
    { name: "figure-4-divergences", title: "β of the other divergences", curves: of(false), only: "table2" },
  ].flatMap(({ name, title, curves, only }) => {
    if (curves.length === 0) return [];
    const panels = curves.map(({ reward, method, points }) => ({
      title: name === "figure-4" ? `trained on ${metricLabel(reward)}` : `${metricLabel(reward)}, ${methodStyles[method].label.replace("ROCM-", "")}`,
      points: points.map(({ beta, predicted, gold }) => ({ beta, predicted: intervalOf(predicted), actual: intervalOf(gold) })),
    }));
    const counts = curves.flatMap(({ points }) => points.map((point) => point.seeds));
    const seeds = [Math.min(...counts), Math.max(...counts)] as const;
    return [{ name, title, only, svg: betaFigure({ title, panels, prompts, seeds, intervals: seeds[1] > 1 ? "95 % intervals over seeds and prompts" : "95 % intervals over prompts" }) }];
  });
}

function timeFigures({ curves }: Analysis, curvePrompts: number): ReportFigure[] {
  const kinds = [
    { name: "figure-5", title: "Held-out metrics over training time", metric: () => heldOutName, axis: () => "Mean gain (sd of the base)" },
    { name: "figure-5-trained", title: "Trained reward over training time", metric: (reward: string) => reward, axis: (reward: string) => `${metricLabel(reward)}, gain (trained)` },
    { name: "figure-5-gold", title: "Gold preference over training time", metric: () => "gold", axis: () => "Gold, gain" },
  ];
  return kinds.flatMap(({ name, title, metric, axis }) => {
    const panels = trainedRewards.flatMap((reward) => {
      const own = curves.filter((curve) => curve.reward === reward && curve.metric === metric(reward) && curve.points.length > 1);
      return own.length === 0
        ? []
        : [{ title: `trained on ${metricLabel(reward)}`, metric: axis(reward), curves: own.map(({ method, points }) => ({ method, points: points.map(({ trainSeconds, score }) => ({ seconds: trainSeconds, ...intervalOf(score) })) })) }];
    });
    if (panels.length === 0) return [];
    const seeds = most(curves.map((curve) => curve.seeds));
    return [{ name, title, only: "fig5", svg: timeFigure({ title, panels, prompts: curvePrompts, seeds, intervals: seeds > 1 ? "95 % intervals over seeds and prompts" : "95 % intervals over prompts" }) }];
  });
}

function matchedFigure({ matched }: Analysis, curvePrompts: number): ReportFigure[] {
  const paths = matched.paths.filter(({ method, points }) => (method === "rocm-none" || method === "rocm-kl") && points.length > 1);
  const panels = trainedRewards.flatMap((reward) => {
    const own = paths.filter((path) => path.reward === reward);
    return own.length === 0
      ? []
      : (["gold", "judge"] as const).map((what) => ({
          title: `${metricLabel(reward)}: ${metricLabel(what).toLowerCase()}`,
          trainedAxis: "Trained reward, gain (sd)",
          otherAxis: `${metricLabel(what)}, gain (sd)`,
          curves: own.map(({ method, beta, points }) => ({ method, beta, points: points.map((point, iteration) => ({ iteration, trained: exactly(point.trained), other: exactly(point[what]) })) })),
        }));
  });
  if (panels.length === 0) return [];
  const title = "Does a divergence buy more than stopping sooner? Gold and judge at equal trained reward";
  return [{ name: "matched-reward", title, only: "table1,table2", svg: matchedRewardFigure({ title, panels, prompts: curvePrompts, seeds: most(paths.map(({ seeds }) => seeds)), intervals: "left out; they are in the table" }) }];
}

function studyFigure({ studies }: Analysis): ReportFigure[] {
  const rows = studies.map(({ reward, method, analysis }) => ({
    label: metricLabel(reward),
    note: methodStyles[method].label,
    rates: questions.map((question) => {
      const match = analysis.matches.find((one) => one.question === question);
      if (match === undefined) return null;
      const { wins, ties, losses, rate, low, high } = match;
      const [below, above] = [rate - (low ?? rate), (high ?? rate) - rate];
      return { win: { value: wins, low: wins - below, high: wins + above }, tie: ties, loss: { value: losses, low: losses - above, high: losses + below } };
    }),
  }));
  if (rows.length === 0) return [];
  const title = "Simulated user study";
  const pairs = most(studies.flatMap(({ analysis }) => analysis.matches.map((match) => match.pairs)));
  return [{ name: "figure-3", title, only: "fig3", svg: winRateFigure({ title, questions: questions.map((question) => question[0]!.toUpperCase() + question.slice(1)), rows, prompts: pairs, intervals: "95 % intervals over people and pairs", comparison: "ROCM with its best divergence by held-out metrics against RLCM" }) }];
}

/** All charts of a report that its records allow. */
export function reportFigures(analysis: Analysis, curvePrompts: number): ReportFigure[] {
  return [...betaFigures(analysis), ...timeFigures(analysis, curvePrompts), ...matchedFigure(analysis, curvePrompts), ...studyFigure(analysis)];
}
