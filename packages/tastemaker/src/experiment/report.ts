import { dirname, join } from "node:path";
import { writeFileAtomic } from "../storage/atomic-file.ts";
import { ensureFolder } from "../storage/ensure-folder.ts";
import type { Budget } from "./budget.ts";
import type { Calibration } from "./calibration.ts";
import { chooseBetas, chooseLearningRates, plannedSweep, type Records, rewardSpreads, searchCandidates, sweepCandidates } from "./choose.ts";
import { analyseRecords, defaultBootstrap } from "./analysis/analyse-records.ts";
import { reportFiles } from "./analysis/write-report.ts";
import { costsFormat, type DivergenceCosts } from "./divergence-costs.ts";
import { readRecord, roundedJson } from "./files.ts";
import type { ExperimentPaths } from "./paths.ts";
import { renderPng } from "../figures/render-png.ts";
import { reportFigures } from "./report-figures.ts";
import { drawSheet, type ReportSheet, reportSheets } from "./report-sheets.ts";
import { type BaseRecord, divergenceMethods, goldMetrics, paperMetrics } from "./run-record.ts";
import { searched, type Searched } from "./selection.ts";

/** What tables and figures are made from. */
export interface ReportInput {
  readonly paths: ExperimentPaths;
  readonly budget: Budget;
  readonly calibration: Calibration;
  readonly base: BaseRecord;
  /** All runs there are; any may be missing. */
  readonly records: Records;
}

/** Files of a report, by path below the results' folder. A pure function of the records, so that a report can be made again at any time. */
export type ReportPart = (input: ReportInput) => Promise<Readonly<Record<string, string | Uint8Array>>>;

/** `data/choices.json`: learning rates and betas that were tried, how they did, and which were taken. */
async function reportChoices({ budget, calibration, base, records }: ReportInput): Promise<Record<string, string>> {
  const isTried = (name: Searched): boolean => budget.searchRewards.every((reward) => searchCandidates(budget, calibration, records, reward, name) !== undefined);
  const calibrated = searched.filter((name) => calibration.secondsPerIteration[name === "rocm" ? "rocm-kl" : name] !== undefined);
  const names = calibrated.filter(isTried);
  const search = chooseLearningRates(budget, calibration, records, names);
  if (search === undefined) return {};
  const rates = budget.searchRewards.flatMap((reward) => names.map((name) => ({ reward, method: name, candidates: searchCandidates(budget, calibration, records, reward, name) })));
  const spreads = rewardSpreads(budget, base);
  const betas = budget.rewards.flatMap((reward) =>
    divergenceMethods.flatMap((method) => {
      const specs = plannedSweep(budget, calibration, spreads, search, reward, method);
      const candidates = specs && sweepCandidates(specs, records, base);
      return candidates === undefined ? [] : [{ reward, method, spread: spreads[reward], candidates }];
    }),
  );
  return { "data/choices.json": roundedJson({ learningRates: { trials: rates, chosen: search }, betas: { trials: betas, chosen: chooseBetas(budget, calibration, base, search, records) } }) };
}

/** The paper: tables, claims, figures, and a page that holds them together. */
interface PaperReport {
  /** By path: tables, data, page, figures as SVG. */
  readonly texts: Readonly<Record<string, string>>;
  readonly charts: ReturnType<typeof reportFigures>;
  readonly sheets: readonly ReportSheet[];
}

/** The paper without its pictures as PNG and WebP. Undefined for a budget that leaves some of the paper's metrics out: every table compares over all of them. */
export async function paperReport({ budget, base, records, paths }: ReportInput): Promise<PaperReport | undefined> {
  if ([...paperMetrics, ...goldMetrics].some((metric) => base.scores.emoji[metric] === undefined)) return undefined;
  const costs = (await readRecord<DivergenceCosts>(paths.costs, costsFormat))?.costs;
  const analysis = await analyseRecords([...records.values()], base, { ...defaultBootstrap, ...(costs === undefined ? {} : { costs }) });
  const charts = reportFigures(analysis, budget.curvePrompts);
  const sheets = await reportSheets({ budget, records, choices: analysis.choices, paths });
  const listed = [...charts.map(({ name, title, only }) => ({ path: `figures/${name}.svg`, title, only })), ...sheets.map(({ name, title, only }) => ({ path: `figures/${name}.webp`, title, only }))];
  const drawn = Object.fromEntries(charts.map(({ name, svg }) => [`figures/${name}.svg`, svg]));
  return { texts: { ...reportFiles([...records.values()], base, analysis, { budget: budget.name, argument: budget.file ?? budget.name, figures: listed }), ...drawn }, charts, sheets };
}

async function reportPaper(input: ReportInput): Promise<Record<string, string | Uint8Array>> {
  const paper = await paperReport(input);
  if (paper === undefined) return {};
  const pictures: Record<string, Uint8Array> = {};
  for (const { name, svg } of paper.charts) pictures[`figures/${name}.png`] = await renderPng(svg);
  for (const sheet of paper.sheets) pictures[`figures/${sheet.name}.webp`] = await drawSheet(sheet);
  return { ...paper.texts, ...pictures };
}

/** Everything a report consists of. To add tables or figures, add their function here. */
export const reportParts: readonly ReportPart[] = [reportChoices, reportPaper];

/** Makes all tables and figures of the records and writes them below a folder. Returns the paths. */
export async function writeExperimentReport(input: ReportInput, results: string): Promise<string[]> {
  const paths: string[] = [];
  for (const part of reportParts) {
    for (const [name, content] of Object.entries(await part(input))) {
      const path = join(results, name);
      await ensureFolder(dirname(path));
      await writeFileAtomic(path, content);
      paths.push(path);
    }
  }
  return paths;
}
