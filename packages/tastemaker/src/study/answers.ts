import { UsageError } from "@tastemaker/tensor";
import { z } from "zod";
import { csvCell, quotedCell } from "../data/csv-cell.ts";
import { parseCsv } from "../data/parse-csv.ts";

/** What a person is asked about each pair, in this order. */
export const questions = ["general preference", "visual appeal", "prompt alignment"] as const;
export type Question = (typeof questions)[number];

/**
 * One answer of one person: a line of a study's file, simulated or real.
 *
 * `A` is the first method and `B` the second, whatever the person saw where: `aSide` says on which side A was shown. The file has these columns (CSV with a header line, or JSONL with these
 * names), one line per answer; a person need not answer everything.
 */
export interface Answer {
  /** Name of the pair; the same for all its questions and annotators. */
  readonly pair: string;
  readonly prompt: string;
  readonly methodA: string;
  readonly methodB: string;
  /** Paths or addresses of the two pictures. */
  readonly pictureA: string;
  readonly pictureB: string;
  readonly aSide: "left" | "right";
  readonly annotator: string;
  readonly question: Question;
  readonly answer: "A" | "B" | "tie";
}

export const answerColumns = ["pair", "prompt", "methodA", "methodB", "pictureA", "pictureB", "aSide", "annotator", "question", "answer"] as const satisfies readonly (keyof Answer)[];

/** Longest text of a field, and most answers of a file. */
const longest = 4000;
const mostAnswers = 1_000_000;

const text = z.string().min(1).max(longest);
const schema = z.strictObject({
  pair: text,
  prompt: z.string().max(longest),
  methodA: text,
  methodB: text,
  pictureA: z.string().max(longest),
  pictureB: z.string().max(longest),
  aSide: z.enum(["left", "right"]),
  annotator: text,
  question: z.enum(questions),
  answer: z.enum(["A", "B", "tie"]),
});

/** Spaces at the ends are kept by quotes: spreadsheets drop them. */
const cell = (value: string): string => (value === value.trim() ? csvCell(value) : quotedCell(value));

/** Answers as CSV with a header line. */
export function answersCsv(answers: readonly Answer[]): string {
  return [answerColumns.join(","), ...answers.map((answer) => answerColumns.map((column) => cell(answer[column])).join(","))].map((line) => `${line}\n`).join("");
}

/** Answers as JSONL. */
export function answersJsonl(answers: readonly Answer[]): string {
  return answers.map((answer) => `${JSON.stringify(Object.fromEntries(answerColumns.map((column) => [column, answer[column]])))}\n`).join("");
}

/** What a person wrote, checked. @throws UsageError `study-answer` */
function checkAnswer(value: unknown, line: number, where: string): Answer {
  const parsed = schema.safeParse(value);
  if (parsed.success) {
    const { methodA, methodB } = parsed.data;
    if (methodA !== methodB) return parsed.data;
    throw new UsageError("study-answer", `answer: expected two different methods, got ${JSON.stringify(methodA).slice(0, 60)} twice (at methodB, line ${line} of ${where})`, "leave out pairs of a method with itself, or name its variants differently");
  }
  const [issue] = parsed.error.issues;
  const name = issue!.path.join(".");
  const got = name !== "" && typeof value === "object" && value !== null ? (JSON.stringify((value as Record<string, unknown>)[name])?.slice(0, 60) ?? "none") : "other columns";
  throw new UsageError("study-answer", `answer: expected ${issue!.message.replace(/^Invalid (option|input): expected /, "")}, got ${got} (at ${name === "" ? "" : `${name}, `}line ${line} of ${where})`, `the columns are ${answerColumns.join(", ")}`);
}

/**
 * Reads a study's answers from CSV (first line: the columns in any order) or JSONL.
 * @param where Name of the file for messages.
 * @throws UsageError `csv-damaged`, `study-csv`, `study-answer`, `study-duplicate` (a person answered one question about a pair twice), `study-pair` (a pair whose lines disagree), `study-empty`
 */
export function parseAnswers(content: string, where: string): Answer[] {
  const clean = content.replace(/^\uFEFF/, "");
  const answers = clean.trimStart().startsWith("{") ? parseJsonl(clean, where) : parseTable(clean, where);
  if (answers.length === 0) throw new UsageError("study-empty", `study: expected answers, got none (in ${where})`, "give a file with one line per answer");
  const seen = new Set<string>();
  const pairs = new Map<string, string>();
  for (const { pair, prompt, methodA, methodB, annotator, question } of answers) {
    const key = JSON.stringify([pair, annotator, question]);
    if (seen.has(key)) throw new UsageError("study-duplicate", `study: expected one answer per pair, annotator and question, got two of pair ${pair} by ${annotator} for ${question} (in ${where})`, "remove one of them");
    seen.add(key);
    const what = JSON.stringify([prompt, methodA, methodB]);
    if ((pairs.get(pair) ?? what) !== what) throw new UsageError("study-pair", `study: expected one prompt and two methods per pair, got others for pair ${pair} (in ${where})`, "give different pairs different names");
    pairs.set(pair, what);
  }
  return answers;
}

function parseJsonl(content: string, where: string): Answer[] {
  return content.split(/\r?\n/).flatMap((line, index) => {
    if (line.trim() === "") return [];
    if (index >= mostAnswers) throw tooMany(where);
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      throw new UsageError("study-answer", `answer: expected a JSON object, got "${line.slice(0, 40)}" (at line ${index + 1} of ${where})`, "write one answer per line");
    }
    return [checkAnswer(value, index + 1, where)];
  });
}

const tooMany = (where: string): UsageError => new UsageError("study-size", `study: expected at most ${mostAnswers} answers, got more (in ${where})`, "analyse the studies one by one");

function parseTable(content: string, where: string): Answer[] {
  const { names, rows } = parseCsv(content, where);
  if (rows.length > mostAnswers) throw tooMany(where);
  const missing = answerColumns.filter((column) => !names.includes(column));
  if (missing.length > 0) throw new UsageError("study-csv", `CSV: expected the columns ${answerColumns.join(", ")}, got no ${missing.join(", ")} (at line 1 of ${where})`, "name the columns in the first line");
  return rows.map(({ line, fields }) => checkAnswer(Object.fromEntries(answerColumns.map((column) => [column, fields[column]])), line, where));
}
