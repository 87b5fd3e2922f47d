import { UsageError } from "@tastemaker/tensor";
import { CsvError, type Info, parse } from "csv-parse/sync";

/** A row of a table, by the names of the first one. */
export interface CsvRow {
  /** Line it ends at, counted from 1; differs from the one it begins at where a text holds line ends. */
  readonly line: number;
  readonly fields: Readonly<Record<string, string>>;
}

/** What csv-parse's codes mean for people. Its own texts name its options. */
const faults: Readonly<Record<string, readonly [expected: string, got: string, cure: string]>> = {
  CSV_QUOTE_NOT_CLOSED: ["a closing quote", "the end of the file", "double every quote inside a quoted field"],
  CSV_INVALID_CLOSING_QUOTE: ["a comma after a quoted field", "other characters", "double every quote inside a quoted field"],
  INVALID_OPENING_QUOTE: ["quotes around all of a field or none of it", "a quote inside", "put fields with quotes into double quotes, and double those inside"],
};

function damage({ code, message, ...context }: CsvError, where: string): UsageError {
  const { lines, record } = context as { readonly lines?: number; readonly record?: readonly string[] };
  const [expected, got, cure] =
    code === "CSV_RECORD_INCONSISTENT_FIELDS_LENGTH" ? ["as many fields as in the first row", String(record?.length), "put fields with commas into double quotes"] : (faults[code] ?? ["comma-separated values", "something else", message]);
  return new UsageError("csv-damaged", `table: expected ${expected}, got ${got} (at line ${lines ?? "?"} of ${where})`, cure);
}

/** A first row longer than this is not looked at for semicolons. */
const longestHead = 65_536;

/** Spreadsheets of countries with a decimal comma write semicolons. @throws UsageError `csv-damaged` */
function refuseSemicolons(text: string, where: string): void {
  const [, before, head] = /^\uFEFF?([\r\n]*)((?:"[^"]*"|[^"\r\n])*)/.exec(text.slice(0, longestHead))!;
  const outside = head!.replaceAll(/"[^"]*"/g, "");
  if (!outside.includes(";") || outside.includes(",")) return;
  throw new UsageError("csv-damaged", `table: expected commas between the columns, got semicolons (at line ${before!.split(/\r\n|\n|\r/).length} of ${where})`, "export the table again with commas, as comma-separated values (CSV)");
}

/**
 * Rows of a comma-separated table (RFC 4180: fields in double quotes may hold commas, line feeds and doubled quotes). Empty lines are skipped, a byte-order mark is ignored, spaces are kept.
 *
 * @param where For messages.
 * @returns the names of the first row without spaces at their ends, each once unless it is empty, and the other rows; no names where the text is empty
 * @throws UsageError `csv-damaged`
 */
export function parseCsv(text: string, where: string): { readonly names: readonly string[]; readonly rows: readonly CsvRow[] } {
  refuseSemicolons(text, where);
  let records: { readonly info: Info; readonly record: string[] }[];
  try {
    records = parse(text, { bom: true, info: true, record_delimiter: ["\r\n", "\n", "\r"], skip_empty_lines: true }) as unknown as typeof records;
  } catch (error) {
    throw error instanceof CsvError ? damage(error, where) : error;
  }
  const [head, ...rows] = records;
  const names = head?.record.map((name) => name.trim()) ?? [];
  const twice = names.find((name, index) => name !== "" && names.indexOf(name) !== index);
  if (twice !== undefined) throw new UsageError("csv-damaged", `table: expected each column once in the first row, got ${JSON.stringify(twice)} twice (at line ${head!.info.lines} of ${where})`, "remove one of the two columns, or rename it");
  return { names, rows: rows.map(({ info, record }) => ({ line: info.lines, fields: Object.fromEntries(names.map((name, index) => [name, record[index]!])) })) };
}
