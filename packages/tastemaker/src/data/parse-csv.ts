import { UsageError } from "@tastemaker/tensor";

/**
 * Rows of a comma-separated table (RFC 4180: fields in double quotes may hold commas, line feeds and doubled quotes), each an object by the names of its first row.
 * Empty lines are skipped, a byte-order mark is ignored.
 *
 * @param where For messages.
 * @throws UsageError `csv-damaged` for a quote that never ends, or a row with another number of fields
 */
export function* parseCsv(text: string, where: string): Generator<Readonly<Record<string, string>>> {
  let names: readonly string[] | undefined;
  let at = text.startsWith("\uFEFF") ? 1 : 0;
  let line = 1;
  while (at < text.length) {
    const start = line;
    const fields: string[] = [];
    for (;;) {
      let field: string;
      if (text[at] === '"') {
        field = "";
        at++;
        for (;;) {
          const quote = text.indexOf('"', at);
          if (quote < 0) throw new UsageError("csv-damaged", `table: expected a closing quote, got the end of the file (at ${where}:${start})`, "double every quote inside a quoted field");
          field += text.slice(at, quote);
          at = quote + 1;
          if (text[at] !== '"') break;
          field += '"';
          at++;
        }
        line += field.split("\n").length - 1;
        if (at < text.length && !",\r\n".includes(text[at]!)) throw new UsageError("csv-damaged", `table: expected a comma after a quoted field, got "${text.slice(at, at + 20)}" (at ${where}:${line})`, "double every quote inside a quoted field");
      } else {
        const from = at;
        while (at < text.length && text[at] !== "," && text[at] !== "\n" && text[at] !== "\r") at++;
        field = text.slice(from, at);
      }
      fields.push(field);
      if (text[at] !== ",") break;
      at++;
    }
    if (text[at] === "\r") at++;
    if (text[at] === "\n") at++;
    line++;
    if (fields.length === 1 && fields[0] === "") continue;
    if (names === undefined) {
      names = fields.map((name) => name.trim());
      continue;
    }
    if (fields.length !== names.length) throw new UsageError("csv-damaged", `table: expected ${names.length} fields as in the first row, got ${fields.length} (at ${where}:${start})`, "put fields with commas into double quotes");
    yield Object.fromEntries(names.map((name, i) => [name, fields[i]!]));
  }
}
