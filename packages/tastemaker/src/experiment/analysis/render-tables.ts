import { percent } from "../../evaluate/table.ts";
import { formatNumber } from "../../report/html.ts";
import { questions } from "../../study/answers.ts";
import { goldMetrics, type Method, methods as methodOrder, paperMetrics } from "../run-record.ts";
import type { Analysis } from "./analyse-records.ts";
import { autoTarget } from "./beta-table.ts";
import { betaText, bold, markdownTable, methodTitles, plusMinus, shareText, signedPlusMinus, withInterval } from "./markdown.ts";
import type { MethodCell, MethodTable } from "./method-table.ts";
import { speedGoals, type SpeedRow } from "./time-to-quality.ts";

/** A table of the report. */
export interface RenderedTable {
  /** Also its file's name. */
  readonly name: string;
  readonly title: string;
  readonly text: string;
  /** What the numbers are, besides what holds for the whole report. */
  readonly note: string;
  /** Part of the experiment that makes its runs, as `--only` takes it; null where it needs none of its own. */
  readonly only: string | null;
}

const seedsText = (seeds: readonly number[]): string => `seeds ${seeds.join(", ")}`;

const brokenText = (brokeOff: readonly string[]): string => (brokeOff.length === 0 ? "" : ` Broke off and therefore missing: ${brokeOff.join(", ")}.`);

/** One number per run of a table, or their range. */
function range(values: readonly number[], unit: string): string {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return `${formatNumber(low, 3)}${low === high ? "" : ` to ${formatNumber(high, 3)}`}${unit}`;
}

function scoresTable({ reward, heldOut, unseen, bases, rows }: MethodTable): string {
  const columns = [...heldOut, reward, ...unseen];
  const hasHeldOut = rows.some((row) => row.heldOut !== null);
  const cell = (value: MethodCell | undefined): string => (value === undefined ? "–" : bold(plusMinus(value.score), value.isBest));
  return markdownTable(
    ["method", "β", ...heldOut, ...(hasHeldOut ? ["mean gain (sd)"] : []), `${reward} (trained)`, ...unseen],
    [
      ...bases.map(({ model, scores }) => [methodTitles[model], "–", ...heldOut.map((metric) => plusMinus(scores[metric]!)), ...(hasHeldOut ? ["0"] : []), ...columns.slice(heldOut.length).map((metric) => plusMinus(scores[metric]!))]),
      ...rows.map((row) => [
        methodTitles[row.method],
        betaText(row.beta),
        ...heldOut.map((metric) => cell(row.cells[metric])),
        ...(hasHeldOut ? [row.heldOut === null ? "–" : bold(signedPlusMinus(row.heldOut.gain), row.heldOut.isBest)] : []),
        ...columns.slice(heldOut.length).map((metric) => cell(row.cells[metric])),
      ]),
    ],
  );
}

function gainsTable({ reward, heldOut, unseen, rows }: MethodTable): string {
  const columns = [...heldOut, reward, ...unseen];
  return markdownTable(
    ["gain over the own base model", ...heldOut, `${reward} (trained)`, ...unseen],
    rows.map((row) => [methodTitles[row.method], ...columns.map((metric) => (row.cells[metric] === undefined ? "–" : signedPlusMinus(row.cells[metric].gain)))]),
  );
}

/** Whether all rows were trained for equally long; a budget may give single methods more. */
function isEqualTime(rows: MethodTable["rows"]): boolean {
  const seconds = rows.map(({ trainSeconds }) => trainSeconds);
  // Times that were equal before they were made whole iterations differ by less.
  return Math.max(...seconds) <= 1.25 * Math.min(...seconds);
}

/** Table 1 at a glance: for every reward what its metrics that are not trained on, and the people's preference, gained. */
function methodSummary({ methods: tables, prompts }: Analysis): RenderedTable[] {
  const shown = methodOrder.filter((method) => tables.some(({ rows }) => rows.some((row) => row.method === method)));
  if (shown.length === 0) return [];
  const head = tables.flatMap(({ reward }) => [`${reward}: held-out`, "gold"]);
  const rows = shown.map((method) => [
    methodTitles[method],
    ...tables.flatMap((table) => {
      const row = table.rows.find((one) => one.method === method);
      const gold = row?.cells["gold"];
      return [row === undefined || row.heldOut === null ? "–" : bold(signedPlusMinus(row.heldOut.gain), row.heldOut.isBest), gold === undefined ? "–" : bold(signedPlusMinus(gold.gain), gold.isBest)];
    }),
  ]);
  return [
    {
      name: "table-1",
      title: "Table 1 at a glance",
      text: markdownTable(["trained on", ...head], rows),
      note: `Gains over the own base model after ${tables.every(({ rows: own }) => isEqualTime(own)) ? "equal training time" : "training times that are not equal"}, ${prompts} held-out prompts. "held-out": mean over the paper's metrics that are not trained on, in standard deviations of the base model's scores; "gold": the hidden preference of the world's people, in its own unit (P = σ(difference)). Bold: the best of a column (of gold, by score) and what cannot be told from it. The whole tables follow.`,
      only: "table1",
    },
  ];
}

function methodTables({ methods, equalEvaluations, prompts }: Analysis): RenderedTable[] {
  const bolds = "bold: the best of a column and what cannot be told from it (95 % interval of the difference on the same prompts)";
  return [
    ...methods.map((table): RenderedTable => ({
      name: `table-1-${table.reward}`,
      title: `Table 1: trained on ${table.reward}`,
      text: `${scoresTable(table)}\n${gainsTable(table)}`,
      note: `${isEqualTime(table.rows) ? "Equal training time" : "Training times that are not equal"} (${range(table.rows.map(({ trainSeconds }) => trainSeconds), " s")} of calibrated training, ${range(table.rows.map(({ iterations }) => iterations), " iterations")}); ${prompts} held-out prompts, one picture each on equal noise; ${seedsText([...new Set(table.rows.flatMap(({ seeds }) => seeds))])}; ${bolds}. "mean gain": over the metrics that are not trained on, in standard deviations of the own base model's scores. β by that mean over the sweep's runs, on these prompts.${brokenText(table.brokeOff)}`,
      only: "table1",
    })),
    ...equalEvaluations.map((table): RenderedTable => ({
      name: `table-1-${table.reward}-equal-evaluations`,
      title: `Table 1 at equal reward evaluations: trained on ${table.reward}`,
      text: `${scoresTable(table)}\n${gainsTable(table)}`,
      note: `Read from the training curves (their own prompts) at ${formatNumber(table.atEvaluations ?? Number.NaN)} reward evaluations, the most that every method reached, after ${range(table.rows.map(({ trainSeconds }) => trainSeconds), " s")} of training; base rows are those of the final prompts; ${seedsText([...new Set(table.rows.flatMap(({ seeds }) => seeds))])}. Differences between methods count as independent here, so bold is generous.${brokenText(table.brokeOff)}`,
      only: "table1",
    })),
  ];
}

function betaTables({ beta, prompts }: Analysis): RenderedTable[] {
  if (beta.rows.length === 0) return [];
  const rows = beta.rows.map(({ reward, method, chosen, best, auto, autoOfBest, autoGainOfBest }) => [
    reward,
    methodTitles[method],
    chosen === null ? "–" : betaText(chosen.beta),
    shareText(chosen?.gold ?? null),
    betaText(best.beta),
    shareText(best.gold),
    auto === null ? "–" : betaText(auto.beta),
    shareText(auto?.gold ?? null),
    autoOfBest === null ? "–" : shareText(autoOfBest),
    autoGainOfBest === null ? "–" : shareText(autoGainOfBest),
  ]);
  const stopping = beta.stopping.map((row) => [
    row.reward,
    plusMinus(row.atEnd),
    plusMinus(row.atBest),
    plusMinus(row.atWatch),
    `${row.watchFired} of ${row.seeds}`,
    row.sweep === null ? "–" : `${methodTitles[row.sweep.method]}, β ${betaText(row.sweep.beta)}: ${plusMinus(row.sweep.gain)}`,
    shareText(row.bestOfSweep),
    shareText(row.watchOfSweep),
  ]);
  return [
    {
      name: "table-2",
      title: "Table 2: β per divergence and reward",
      text: markdownTable(["reward", "divergence", "β by held-out metrics", "gold preference", "β best by gold", "gold preference", "β of auto", "gold preference", "auto of best", "beyond ½"], rows, 2),
      note: `Gold preference: how likely one of the world's people prefers the tuned picture to the base model's, σ(difference), mean over ${prompts} prompts. "β best by gold" is the yardstick that nobody without the hidden taste could choose, and the best of several on these very prompts. Automatic β keeps ${shareText(beta.autoOfBest)} of it on average (goal: at least ${percent(autoTarget)}). "beyond ½": the same of what is beyond one half, which a model that changes nothing has; left out where the best β is not clearly beyond it.`,
      only: "table2,auto",
    },
    ...(stopping.length === 0
      ? []
      : [
          {
            name: "table-2-early-stopping",
            title: "Stopping early instead of a divergence",
            text: markdownTable(["reward", "gold gain at the end", "at the best checkpoint", "where the watch spoke", "watch spoke", "best swept β", "checkpoint of best", "watch of best"], stopping, 1),
            note: "Runs without a divergence; gains in the gold's own unit, from the training curves' prompts. The best checkpoint is the one that the run's own evaluations call so, without looking at the gold.",
            only: "table1,table2",
          },
        ]),
  ];
}

function divergenceTables({ divergences, costs }: Analysis): RenderedTable[] {
  const rows = divergences.map(({ kind, generator, formula, values, slope, deviationOfOneDraw }) => [
    kind,
    generator,
    formula,
    ...values.map(({ exact, sampled, sampledError }) => `${formatNumber(exact)}; ${formatNumber(sampled, 4)} ± ${formatNumber(1.96 * sampledError, 2)}`),
    formatNumber(slope),
    formatNumber(deviationOfOneDraw, 3),
  ]);
  const distances = divergences[0]!.values.map(({ distance }) => `d = ${distance}`);
  const cost = costs === null ? "" : `\n${markdownTable(["one transition", "µs with gradient", "random numbers (bytes)"], costs.map(({ kind, microseconds, noiseBytes }) => [kind, formatNumber(microseconds, 3), String(noiseBytes)]))}`;
  return [
    {
      name: "table-3",
      title: "Table 3: divergences between two Gaussian steps",
      text: markdownTable(["divergence", "f(t)", "closed form", ...distances, "slope at s = 0", "sd of one draw at d = 1"], rows, 3) + cost,
      note: "s = d², d the distance of the means in standard deviations. Each value: exact, in float64 from the code that training differentiates; then the mean of 100 000 sampled terms ± its 95 % interval.",
      only: null,
    },
  ];
}

function baseTables({ bases, prompts }: Analysis): RenderedTable[] {
  const metrics = [...paperMetrics, ...goldMetrics];
  const rows = bases.map(({ model, reward, method, cells }) => [
    methodTitles[method ?? model],
    reward ?? "–",
    ...metrics.map((metric) => {
      const { score, gain } = cells[metric]!;
      return gain === null ? plusMinus(score) : signedPlusMinus(gain);
    }),
  ]);
  return [
    {
      name: "table-4",
      title: "Table 4: base models, and what diffusion baselines gain over theirs",
      text: markdownTable(["model", "trained on", ...metrics], rows, 2),
      note: `Scores of the base models on ${prompts} prompts; below them differences to the diffusion model on equal noise. Loss on metrics that are not trained on is a minus.`,
      only: "table1,table4",
    },
  ];
}

/** `6.4 (2.1 … 9)`: times sooner, with its interval; `<` where it was never reached. */
function speedCell({ status, ratio, low, high, meetsGoal }: SpeedRow): string {
  if (status === "no gain") return "–";
  const bound = (value: number | null): string => (value === null ? "∞" : formatNumber(value, 2));
  const times = `${status === "censored" ? "< " : ""}${bound(ratio)}`;
  // No upper end: without bound. No interval at all: a single seed.
  return bold(low === null && high === null ? times : `${times} (${bound(low)} … ${bound(high)})`, meetsGoal === true);
}

function speedTables({ speed }: Analysis): RenderedTable[] {
  if (speed.length === 0) return [];
  const challengers = methodOrder.filter((method) => speed.some((row) => row.method === method));
  const races = new Map<string, SpeedRow[]>();
  for (const row of speed) {
    const key = [row.reward, row.baseline, row.quality].join();
    races.set(key, [...(races.get(key) ?? []), row]);
  }
  const rows = [...races.values()].map((race) => {
    const [{ reward, baseline, quality, target, baselineSeconds, status }] = race as [SpeedRow];
    const cells = challengers.map((method) => race.find((row) => row.method === method));
    return [reward, methodTitles[baseline], quality, formatNumber(target, 3), status === "no gain" ? "no gain" : `${formatNumber(baselineSeconds, 3)} s`, ...cells.map((row) => (row === undefined ? "–" : speedCell(row)))];
  });
  const goals = Object.entries(speedGoals).map(([baseline, goal]) => `${goal} for ${methodTitles[baseline as Method]}`).join(", ");
  return [
    {
      name: "time-to-quality",
      title: "Times sooner at a baseline's final quality",
      text: markdownTable(["reward", "baseline", "quality", "target (sd)", "baseline at", ...challengers.map((method) => methodTitles[method])], rows, 3),
      note: `Seconds of training until the mean curve over seeds first has what the baseline's mean curve ends with (between neighbouring evaluations), the baseline's over the method's, with 95 % intervals from bootstrap samples of the seeds of both. "held-out gain": over the own base model, mean over the metrics that are not trained on, in standard deviations; "held-out score": the scores themselves on the consistency model's scale; "gold": the people's preference. "<": never reached, bounded by the whole training; 0: never reached in such a sample; ∞: had it before training, or no bound. Bold: the interval is above the goal (${goals}).`,
      only: "fig5",
    },
  ];
}

function matchedTables({ matched }: Analysis): RenderedTable[] {
  if (matched.rows.length === 0) return [];
  const rows = matched.rows.map((row) => [row.reward, methodTitles[row.method], bold(betaText(row.beta), row.isChosen), row.metric, formatNumber(row.trainedGain, 3), row.differences.length === 0 ? "–" : signedPlusMinus(row.difference), String(row.differences.length), String(row.unmatched)]);
  const pooled = matched.pooled.map(({ method, metric, rewards, difference }) => [method === null ? "all divergences" : methodTitles[method], metric, String(rewards), withInterval(difference)]);
  return [
    {
      name: "matched-reward",
      title: "Does a divergence buy more than stopping sooner?",
      text: `${markdownTable(["chosen β of each reward", "metric", "rewards", "difference (95 %)"], pooled, 2)}\n${markdownTable(["reward", "divergence", "β", "metric", "trained gain", "difference", "seeds", "without a match"], rows, 4)}`,
      note: "Gain at the end of a run with a divergence minus the gain of the run without one where it first had the same trained reward, in standard deviations of the base model's scores; bold: the β of Table 1.",
      only: "table1,table2",
    },
  ];
}

function studyTables({ studies }: Analysis): RenderedTable[] {
  if (studies.length === 0) return [];
  const rows = studies.flatMap(({ reward, method, analysis }) =>
    questions.flatMap((question) => {
      const result = analysis.matches.find((match) => match.question === question);
      if (result === undefined) return [];
      const { rate, low, high, wins, ties, losses, fleissKappa, krippendorffAlpha } = result;
      return [[reward, methodTitles[method], question, shareText({ mean: rate, standardError: null, low, high }), percent(wins), percent(ties), percent(losses), formatNumber(fleissKappa ?? Number.NaN, 2), formatNumber(krippendorffAlpha ?? Number.NaN, 2)]];
    }),
  );
  const size = studies[0]!.analysis.matches[0];
  return [
    {
      name: "user-study",
      title: "User study with simulated people",
      text: markdownTable(["reward", "method against RLCM", "question", "win rate, ties half", "wins", "ties", "losses", "Fleiss' κ", "Krippendorff's α"], rows, 3),
      note: `No person took part: ${size?.annotators ?? 0} simulated annotators judge ${size?.pairs ?? 0} pairs by the hidden taste's parts and the judge, each with own weights, noise, threshold for ties and leaning to one side. The answers have the format of a real study (\`tastemaker study analyse FILE\`). Intervals know that answers of one person and of one pair go together.`,
      only: "fig3",
    },
  ];
}

function claimTables({ claims }: Analysis): RenderedTable[] {
  const seen = claims.filter(({ evidence }) => evidence !== null);
  const rows = seen.map(({ claim, verdict, effect, unit }) => [claim, bold(verdict, verdict !== "undecided here"), withInterval(effect), unit]);
  const rules = seen.map(({ claim, rule, evidence }) => `- **${claim}** ${rule} Seen: ${evidence}.`);
  const judged = `${markdownTable(["claim", "verdict", "effect (95 %)", "unit"], rows, 4)}\nRules, written before any result was seen; what "gold preference" means was changed once afterwards (docs/experiments.md):\n\n${rules.join("\n")}\n`;
  const others = claims.filter(({ evidence }) => evidence === null).map(({ claim }) => `- ${claim}\n`);
  const open = others.length === 0 ? "" : `Without runs here:\n\n${others.join("")}`;
  return [
    {
      name: "claims",
      title: "What the paper claims, and what is so here",
      text: [...(seen.length === 0 ? [] : [judged]), ...(open === "" ? [] : [open])].join("\n"),
      note: "Rewards are taken as they are: intervals speak of other seeds and prompts, not of other rewards.",
      only: null,
    },
  ];
}

/** Every table that the analysis has content for, claims first. */
export function renderTables(analysis: Analysis): RenderedTable[] {
  return [claimTables, methodSummary, methodTables, betaTables, divergenceTables, baseTables, speedTables, matchedTables, studyTables].flatMap((render) => render(analysis));
}
