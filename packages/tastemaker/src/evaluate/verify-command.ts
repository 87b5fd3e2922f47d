import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { UsageError } from "@tastemaker/tensor";
import type { CommandContext } from "../cli/command-context.ts";
import type { EvaluateOptions } from "../cli/commands/evaluate.ts";
import { printable } from "../cli/output.ts";
import type { MetricSetting } from "../config/train-config.ts";
import { decodePng } from "../images/read-picture.ts";
import { findAdapterFile } from "../models/adapter.ts";
import { allowRewards, requireAllowedRewards } from "../rewards/allowed-rewards.ts";
import { customKind } from "../rewards/custom-reward.ts";
import { rewardNames } from "../rewards/open-reward.ts";
import { cacheDirectory } from "../storage/cache-directory.ts";
import { ensureFolder } from "../storage/ensure-folder.ts";
import { hashFile } from "../storage/file-hash.ts";
import { packageVersion } from "../storage/package-version.ts";
import { checkRecord, compareMeasurements, compareOrigins, type Difference } from "./compare-records.ts";
import { pictureHash } from "./content-key.ts";
import { EvaluationCache } from "./evaluation-cache.ts";
import { measure } from "./measure.ts";
import { parseMetrics } from "./metric-list.ts";
import { pictureName, picturesFolder, variantFolder } from "./picture-path.ts";
import { type EvaluationPlan, openPlan } from "./plan.ts";
import { type EvaluationFile, readEvaluation, recordEvaluation, recordNetworks } from "./record.ts";
import { scoresCsv } from "./scores-csv.ts";
import { readPromptSource } from "./settings.ts";
import type { VariantSetting } from "./variants.ts";

/**
 * How far a score may be off on another kind of machine or with another version, as a share of the metric's standard deviation over all recorded pictures. Measured: when
 * onnxruntime rounds differently (another level of optimisation), 2 in 100 000 colour values of the embedded world's pictures move by one level of 255 and no score by more than
 * 0.05 % of its standard deviation.
 */
const toleratedShare = 0.02;
/** Agreement of summaries that another version wrote. */
const toleratedSummary = 1e-9;

/** Recorded places, or where the options say that the files lie now. */
async function placesNow(file: EvaluationFile, { model, lora, compare }: EvaluateOptions): Promise<VariantSetting[]> {
  const given: Readonly<Record<VariantSetting["kind"], readonly string[] | undefined>> = { base: model === undefined ? undefined : [model], adapter: lora, model: compare };
  const counts = { base: 0, adapter: 0, model: 0 };
  const places: VariantSetting[] = [];
  for (const { kind, path } of file.settings.variants) {
    const own = given[kind]?.[counts[kind]++];
    if (own === undefined && given[kind] !== undefined) throw new UsageError("verify-places", `verify: expected as many paths as the evaluation has of kind ${kind}, got ${given[kind].length}`, "give all of them in their order, or none");
    places.push({ kind, path: own === undefined ? path : kind === "adapter" ? resolve(await findAdapterFile(own)) : own });
  }
  return places;
}

/** The metrics to compute, and which of their code is not what was recorded. */
interface MetricsNow {
  readonly named: readonly MetricSetting[];
  readonly difference: Difference | undefined;
}

/**
 * The recorded metrics, at the places that the options name. A file from somebody else may name code or a server: a module must be the recorded one, and both must have been
 * named by a person on this machine.
 * @throws UsageError `reward-not-allowed`
 */
async function metricsNow(file: EvaluationFile, texts: readonly string[] | undefined, note: (text: string) => void): Promise<MetricsNow> {
  const given = texts === undefined ? [] : (await parseMetrics(texts)).named;
  await allowRewards(given);
  const named: MetricSetting[] = [];
  for (const recorded of file.settings.metrics) {
    const own = given.find(({ name }) => name === recorded.name);
    named.push(own ?? recorded);
    const { path } = own ?? recorded;
    if (path === undefined || rewardNames.includes(recorded.name) || customKind(path) !== "module") continue;
    const { sha256 } = await hashFile(path);
    const files = file.metrics.find(({ name }) => name === recorded.name)?.files ?? [];
    if (files.every((one) => one.sha256 !== sha256)) return { named, difference: { what: `SHA-256 of the module of metric ${recorded.name} (${path})`, recorded: `${files[0]?.sha256.slice(0, 12) ?? "none"}…`, found: `${sha256.slice(0, 12)}…` } };
    await requireAllowedRewards([{ name: recorded.name, path }], { [`reward ${recorded.name}`]: { path, sha256 } }, note);
  }
  await requireAllowedRewards(named.filter(({ name, path }) => path !== undefined && !rewardNames.includes(name) && customKind(path) === "endpoint"), {}, note);
  return { named, difference: undefined };
}

/** What is another kind of machine or another version than recorded, in words. */
function changesSince(file: EvaluationFile, { machine, code }: Pick<EvaluationPlan, "machine" | "code">): string[] {
  const pairs: readonly (readonly [string, string, string])[] = [
    ["tastemaker", file.environment.tastemaker, packageVersion()],
    ["code of the pictures", file.code.pictures, code.pictures],
    ["code of the scores", file.code.scores, code.scores],
    ["onnxruntime", file.machine.onnxruntime, machine.onnxruntime],
    ["platform", file.machine.platform, machine.platform],
    ["processor", file.machine.cpu, machine.cpu],
  ];
  return pairs.filter(([, before, now]) => before !== now).map(([what, before, now]) => `${what} ${printable(before)} → ${now}`);
}

/** The files beside the record must say and show what it says. */
async function checkBeside(path: string, file: EvaluationFile): Promise<Difference | undefined> {
  const folder = dirname(path);
  const csv = join(folder, "scores.csv");
  if (existsSync(csv)) {
    const [found, expected] = [(await readFile(csv, "utf8")).split("\n"), scoresCsv(file).split("\n")];
    const line = expected.findIndex((text, index) => found[index] !== text);
    if (line >= 0 || found.length !== expected.length) return { what: `scores.csv, line ${(line < 0 ? expected.length : line) + 1}`, recorded: expected[line] ?? "the end", found: found[line] ?? "another" };
  }
  if (!existsSync(join(folder, picturesFolder))) return undefined;
  for (const [variant, { pictures, label }] of file.variants.entries()) {
    for (const [place, hash] of pictures.entries()) {
      const name = `${variantFolder(file, variant)}/${pictureName(file, place)}`;
      const bytes = await readFile(join(folder, picturesFolder, name)).catch(() => undefined);
      const picture = bytes === undefined ? undefined : await decodePng(bytes);
      const found = picture === undefined ? "none" : pictureHash(picture);
      if (found !== hash) return { what: `picture file ${picturesFolder}/${name} of ${label}`, recorded: `${hash.slice(0, 12)}…`, found: found.slice(0, 12) };
    }
  }
  return undefined;
}

async function checkPromptSource(file: EvaluationFile): Promise<Difference | undefined> {
  const now = await readPromptSource(file.settings);
  if (now === undefined || now.sha256 === file.prompts.sha256) return undefined;
  const place = file.prompts.texts.findIndex((text, index) => now.prompts[index] !== text);
  return { what: `prompts of ${file.prompts.source}, number ${place < 0 ? file.prompts.texts.length : place}`, recorded: `"${file.prompts.texts[place] ?? "the end"}"`, found: `"${now.prompts[place] ?? (place < 0 ? now.prompts[file.prompts.texts.length] : undefined) ?? "the end"}"` };
}

interface Verdict {
  readonly difference: Difference | undefined;
  /** Of a number, as a share of its spread. */
  readonly largest: number;
}

/** Computes everything again. undefined: Ctrl-C. */
async function repeat(file: EvaluationFile, plan: EvaluationPlan, cache: EvaluationCache, isExact: boolean, { output, signal }: CommandContext): Promise<Verdict | undefined> {
  const list = { prompts: file.prompts.texts, source: file.prompts.source, sha256: file.prompts.sha256 };
  const measurements = await measure(plan, cache, { signal, note: (text) => output.note(text) });
  if (measurements === undefined) return undefined;
  const repeated = recordEvaluation(plan, list, measurements, file);
  const { difference, largest } = compareMeasurements(file, repeated.variants, { ofSpread: isExact ? 0 : toleratedShare });
  return { difference, largest };
}

/**
 * `tastemaker evaluate --verify FILE`: does the evaluation hold? First what the file says by itself and the files beside it, then the weights it was made from, then every
 * picture and every score, computed again without the cache. Exit code 0 when it holds, 1 when not.
 * @throws UsageError for a file that is no evaluation, and for weights that are not there
 */
export async function runVerify(options: EvaluateOptions, path: string, context: CommandContext): Promise<void> {
  const { output, signal } = context;
  if (options.run !== undefined) throw new UsageError("verify-run", "verify: expected an evaluation.json alone, got a run directory as well");
  const file = await readEvaluation(path);
  const variants = await placesNow(file, options);
  const { named, difference } = await metricsNow(file, options.metrics, (text) => output.note(text));
  if (difference !== undefined) return tell(file, { difference, largest: 0 }, false, [], context);
  await ensureFolder(cacheDirectory());
  const folder = await mkdtemp(join(cacheDirectory(), "verify-"));
  try {
    const cache = await EvaluationCache.open(folder);
    const settings = { ...file.settings, variants, ...(options.threads === undefined ? {} : { threads: options.threads }), ...(options.configs === undefined ? {} : { configs: options.configs }) };
    const plan = await openPlan(settings, () => file.settings, { all: false, named }, file.prompts.texts, cache.hashes, { signal, note: (text) => output.note(`warning: ${text}`) });
    try {
      const changes = changesSince(file, plan);
      const isExact = changes.length === 0 && file.machine.provider === "cpu";
      for (const change of changes) output.note(`changed since: ${change}`);
      const before = checkRecord(file, changes.length === 0 ? 0 : toleratedSummary) ?? (await checkBeside(path, file)) ?? (await checkPromptSource(file)) ?? compareOrigins(file, { variants: plan.variants, ...recordNetworks(plan) });
      const verdict = before === undefined ? await repeat(file, plan, cache, isExact, context) : { difference: before, largest: 0 };
      if (verdict === undefined) {
        output.print("stopped; nothing is known yet");
        output.result({ finished: false });
        process.exitCode = 1;
        return;
      }
      tell(file, verdict, isExact, changes, context);
    } finally {
      await plan.dispose();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function tell(file: EvaluationFile, { difference, largest }: Verdict, isExact: boolean, changes: readonly string[], { output }: CommandContext): void {
  const pictures = file.variants.length * file.prompts.texts.length * file.settings.seeds;
  if (difference !== undefined) {
    output.print(`does not hold: ${printable(difference.what)}: recorded ${printable(difference.recorded)}, found ${printable(difference.found)}`);
    process.exitCode = 1;
  } else if (isExact) {
    output.print(`holds: all ${pictures} pictures and ${pictures * file.metrics.length} scores were computed again and are the same to the last digit`);
  } else {
    output.print(`holds within tolerance: all ${pictures} pictures and ${pictures * file.metrics.length} scores were computed again; no score is off by more than ${(100 * toleratedShare).toFixed(0)} % of its metric's standard deviation (largest: ${(100 * largest).toPrecision(2)} %)`);
  }
  output.result({ holds: difference === undefined, exact: isExact, changes, difference: difference ?? null, largestShareOfSpread: largest, toleratedShareOfSpread: isExact ? 0 : toleratedShare });
}
