import { hashText } from "../storage/file-hash.ts";
import type { EvaluationFile, RecordedVariant } from "./record.ts";
import { summaryDesign } from "./record.ts";
import { summarise } from "./summary.ts";

/** The first thing that is not as recorded. */
export interface Difference {
  readonly what: string;
  readonly recorded: string;
  readonly found: string;
}

/** How exactly two numbers must agree. */
export interface Tolerance {
  /** Share of the spread (standard deviation over all recorded pictures) of what is compared; 0: every digit. */
  readonly ofSpread: number;
}

const shown = (value: unknown): string => (typeof value === "string" && /^[0-9a-f]{64}$/.test(value) ? `${value.slice(0, 12)}…` : typeof value === "string" ? value : String(JSON.stringify(value)));
const differ = (what: string, recorded: unknown, found: unknown): Difference => ({ what, recorded: shown(recorded), found: shown(found) });

/** The first place at which two values of JSON differ; numbers agree within `relative` of the larger. */
export function firstDifference(what: string, recorded: unknown, found: unknown, relative = 0): Difference | undefined {
  if (typeof recorded === "number" && typeof found === "number") {
    return Object.is(recorded, found) || Math.abs(recorded - found) <= relative * Math.max(Math.abs(recorded), Math.abs(found)) ? undefined : differ(what, recorded, found);
  }
  if (typeof recorded !== "object" || typeof found !== "object" || recorded === null || found === null) return recorded === found ? undefined : differ(what, recorded, found);
  for (const key of new Set([...Object.keys(recorded), ...Object.keys(found)])) {
    const inner = firstDifference(`${what}, ${key}`, (recorded as Readonly<Record<string, unknown>>)[key], (found as Readonly<Record<string, unknown>>)[key], relative);
    if (inner !== undefined) return inner;
  }
  return undefined;
}

/**
 * What can be checked of a record by itself: the prompts' hash, and whether everything that is said follows from the single numbers.
 * @param relative Agreement of summaries: 0 where the same code wrote them.
 */
export function checkRecord(file: EvaluationFile, relative: number): Difference | undefined {
  const sha256 = hashText(file.prompts.texts.join("\n"));
  if (sha256 !== file.prompts.sha256) return differ("SHA-256 of the prompts in the file", file.prompts.sha256, sha256);
  const summaries = summarise(file.variants.map(({ measured }) => measured), summaryDesign(file));
  for (const [index, { label, summary }] of file.variants.entries()) {
    const difference = firstDifference(`summary of ${label} from its scores`, summary, summaries[index], relative);
    if (difference !== undefined) return difference;
  }
  return undefined;
}

/** Compares what an evaluation was made from with what is there now: weights, configurations, adapters, metrics. */
export function compareOrigins(recorded: EvaluationFile, found: Pick<EvaluationFile, "metrics" | "embedding"> & { readonly variants: readonly (Pick<RecordedVariant, "label" | "files" | "modelHash" | "adapterHash"> & { readonly sampler?: string | undefined })[] }): Difference | undefined {
  for (const [index, { label, sampler = "consistency", files, modelHash, adapterHash }] of recorded.variants.entries()) {
    const now = found.variants[index]!;
    for (const [role, { sha256, path }] of Object.entries(files)) {
      if (now.files[role]?.sha256 !== sha256) return differ(`SHA-256 of the weights: ${role} of ${label} (${path})`, sha256, now.files[role]?.sha256 ?? "none");
    }
    if (now.modelHash !== modelHash) return differ(`configuration of ${label}`, modelHash, now.modelHash);
    if ((now.sampler ?? "consistency") !== sampler) return differ(`sampler of ${label}`, sampler, now.sampler ?? "consistency");
    if (now.adapterHash !== adapterHash) return differ(`adapter of ${label}`, adapterHash, now.adapterHash);
  }
  for (const [index, { name, files, preprocessing, version, higherIsBetter, readsPrompt }] of recorded.metrics.entries()) {
    const now = found.metrics[index]!;
    const hashes = compareFiles(`metric ${name}`, files, now.files);
    if (hashes !== undefined) return hashes;
    const rest = firstDifference(`metric ${name}`, { preprocessing, version, higherIsBetter, readsPrompt }, { preprocessing: now.preprocessing, version: now.version, higherIsBetter: now.higherIsBetter, readsPrompt: now.readsPrompt });
    if (rest !== undefined) return rest;
  }
  if ((recorded.embedding === null) !== (found.embedding === null)) return differ("picture embedding", recorded.embedding?.path ?? "none", found.embedding?.path ?? "none");
  if (recorded.embedding === null || found.embedding === null) return undefined;
  return compareFiles("picture embedding", recorded.embedding.files, found.embedding.files) ?? firstDifference("picture embedding, preprocessing", recorded.embedding.preprocessing, found.embedding.preprocessing);
}

function compareFiles(what: string, recorded: EvaluationFile["metrics"][number]["files"], found: EvaluationFile["metrics"][number]["files"]): Difference | undefined {
  for (const [index, { sha256, path }] of recorded.entries()) if (found[index]?.sha256 !== sha256) return differ(`SHA-256 of a file of ${what} (${path})`, sha256, found[index]?.sha256 ?? "none");
  return found.length === recorded.length ? undefined : differ(`files of ${what}`, recorded.length, found.length);
}

function spreadOf(values: readonly number[]): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
}

/** Lists of numbers of one kind: [variant] → list or null. */
type Lists = readonly (readonly number[] | null)[];

/**
 * Compares two measurements of the same evaluation, number by number.
 * @returns The first difference, and the largest deviation as a share of the spread of its kind.
 */
export function compareMeasurements(recorded: EvaluationFile, found: readonly Pick<RecordedVariant, "pictures" | "measured">[], { ofSpread }: Tolerance): { difference: Difference | undefined; largest: number } {
  const { texts } = recorded.prompts;
  const { seeds } = recorded.settings;
  let largest = 0;
  const picture = (label: string, place: number): string => `${label}, prompt ${Math.floor(place / seeds)} ("${texts[Math.floor(place / seeds)]!.slice(0, 60)}"), seed number ${place % seeds}`;
  if (ofSpread === 0) {
    for (const [variant, { label, pictures }] of recorded.variants.entries()) {
      const place = pictures.findIndex((hash, index) => found[variant]!.pictures[index] !== hash);
      if (place >= 0) return { difference: differ(`picture of ${picture(label, place)}`, pictures[place], found[variant]!.pictures[place] ?? "none"), largest };
    }
  }
  const compare = (kind: string, before: Lists, now: Lists, isPerPrompt: boolean): Difference | undefined => {
    const spread = spreadOf(before.flatMap((list) => list ?? []));
    for (const [variant, list] of before.entries()) {
      const other = now[variant] ?? null;
      const { label } = recorded.variants[variant]!;
      if ((list === null) !== (other === null)) return differ(`${kind} of ${label}`, list === null ? "none" : "numbers", other === null ? "none" : "numbers");
      for (const [place, value] of (list ?? []).entries()) {
        const repeated = other![place]!;
        const deviation = Math.abs(value - repeated);
        if (deviation > 0 && spread > 0) largest = Math.max(largest, deviation / spread);
        // A billionth of the value itself, for numbers that do not vary at all.
        const allowed = ofSpread === 0 ? 0 : ofSpread * spread + 1e-9 * Math.abs(value);
        if (deviation > allowed || Number.isNaN(repeated)) return differ(`${kind} of ${isPerPrompt ? `${label}, prompt ${place} ("${texts[place]!.slice(0, 60)}")` : picture(label, place)}`, value, repeated);
      }
    }
    return undefined;
  };
  const lists = (of: (measured: RecordedVariant["measured"]) => readonly number[] | null): [Lists, Lists] => [recorded.variants.map(({ measured }) => of(measured)), found.map(({ measured }) => of(measured))];
  for (const { name } of recorded.metrics) {
    const difference = compare(`${name}`, ...lists(({ scores }) => scores[name] ?? null), false);
    if (difference !== undefined) return { difference, largest };
  }
  const difference =
    compare("diversity", ...lists(({ diversity }) => diversity), true) ??
    compare("distance to the base", ...lists(({ distance }) => distance), false) ??
    compare("pixel distance to the base", ...lists(({ pixels }) => pixels), false);
  return { difference, largest };
}
