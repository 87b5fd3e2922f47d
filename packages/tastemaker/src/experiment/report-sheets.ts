import sharp from "sharp";
import { methodStyles, metricLabel } from "../figures/method-style.ts";
import { pictureSheet, type PictureSheetData, type PictureSheetRow } from "../figures/picture-sheet.ts";
import { resolvePrompts } from "../data/prompt-lists.ts";
import type { Budget } from "./budget.ts";
import { type BetaChoice, chosenBeta } from "./choose-beta.ts";
import type { Records } from "./choose.ts";
import { keptPictures, readStrip } from "./kept-pictures.ts";
import { type ExperimentPaths, specPaths } from "./paths.ts";
import { trainSecondsOf } from "./plan.ts";
import { baseOf, isDivergenceMethod, type Method, methods, type RunSpec, type TrainedReward } from "./run-record.ts";

/** A sheet of the report, not drawn yet. */
export interface ReportSheet {
  readonly name: string;
  readonly title: string;
  readonly only: string;
  readonly data: PictureSheetData;
}

interface SheetInput {
  readonly budget: Budget;
  readonly records: Records;
  readonly choices: readonly BetaChoice[];
  readonly paths: ExperimentPaths;
}

/** The run that stands for a row of Table 1, or the animals' of the same row. */
function shownSpec({ records, choices }: SheetInput, reward: TrainedReward, method: Method, isAnimals: boolean): RunSpec | undefined {
  const beta = isDivergenceMethod(method) ? chosenBeta(choices, reward, method) : null;
  return [...records.values()].map(({ spec }) => spec).find((spec) => spec.reward === reward && spec.method === method && spec.beta === beta && spec.seed === 1 && (isAnimals ? spec.part === "animals" : spec.part === "main" || spec.part === "sweep"));
}

/** What a row is besides its method; undefined where there is nothing to say. */
function noteOf({ method, beta }: RunSpec, budget: Budget): string | undefined {
  const seconds = trainSecondsOf(budget, method);
  return beta !== null ? `β = ${beta}` : seconds !== budget.trainSeconds ? `${seconds} s` : undefined;
}

async function sheetOf(input: SheetInput, reward: TrainedReward, isAnimals: boolean): Promise<PictureSheetRow[]> {
  const rows: PictureSheetRow[] = [];
  const bases = new Set<string>();
  for (const method of methods) {
    const spec = shownSpec(input, reward, method, isAnimals);
    if (spec === undefined) continue;
    const { picture, basePicture } = specPaths(input.paths, spec.id);
    const [base, tuned] = [await readStrip(basePicture(baseOf(method), isAnimals)), await readStrip(picture)];
    if (base === undefined || tuned === undefined) continue;
    if (!bases.has(baseOf(method))) rows.push({ label: baseOf(method) === "emoji" ? "Consistency model" : "Diffusion model", note: "untrained", pictures: base });
    bases.add(baseOf(method));
    const note = noteOf(spec, input.budget);
    rows.push({ label: methodStyles[method].label, ...(note === undefined ? {} : { note }), pictures: tuned });
  }
  return rows;
}

/** Sheets of pictures that their runs left: same prompts and noise, a row per method. The prompts are those of the curves, or the animals. */
export async function reportSheets(input: SheetInput): Promise<ReportSheet[]> {
  const { budget } = input;
  const { heldOut, animals } = budget.world;
  const heldOutPrompts = typeof heldOut === "string" ? (await resolvePrompts(heldOut, keptPictures)).prompts : heldOut;
  const sheets: ReportSheet[] = [];
  const add = async (reward: TrainedReward, isAnimals: boolean): Promise<void> => {
    const rows = await sheetOf(input, reward, isAnimals);
    if (rows.length === 0) return;
    const title = isAnimals ? `Animals, trained on ${metricLabel(reward)}` : `Trained on ${metricLabel(reward)}: same prompts, same noise`;
    const prompts = (isAnimals ? animals : heldOutPrompts).slice(0, rows[0]!.pictures.length);
    const seconds = `${budget.trainSeconds} s${budget.extras === undefined ? "" : " (or what a row says)"}`;
    const caption = isAnimals ? `ROCM trained on the ${animals.length} animals alone; the first ${prompts.length}, after ${seconds} of training.` : `The first ${prompts.length} held-out prompts after ${seconds} of training, seed 1; none was chosen by its looks.`;
    sheets.push({ name: isAnimals ? "figure-6" : `pictures-${reward}`, title, only: isAnimals ? "fig6" : "table1", data: { title, caption, prompts, rows } });
  };
  for (const reward of budget.rewards) await add(reward, false);
  await add("aesthetic", true);
  return sheets;
}

/** A sheet as WebP, which looks the same as PNG and takes an eighth of its space in a repository. */
export async function drawSheet({ data }: ReportSheet): Promise<Uint8Array> {
  return sharp((await pictureSheet(data)).png).webp({ quality: 90 }).toBuffer();
}
