import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { quotedCell } from "./csv-cell.ts";
import { parseCsv } from "./parse-csv.ts";

describe("a CSV", () => {
  it("gives back any texts that were written", () => {
    const field = fc.string({ unit: fc.constantFrom("a", '"', ",", "\n", "\r", " ", "é", "\uFEFF") });
    fc.assert(
      fc.property(fc.array(fc.tuple(field, field), { minLength: 1 }), fc.constantFrom("\n", "\r\n", "\r"), (rows, end) => {
        const text = ["\uFEFFx,y ", ...rows.map((row) => row.map(quotedCell).join(","))].join(end);
        const read = parseCsv(text, "t");
        expect(read.names).toEqual(["x", "y"]);
        expect(read.rows.map(({ fields }) => fields)).toEqual(rows.map(([x, y]) => ({ x, y })));
      }),
    );
  });

  it("says where a row ends, skips empty lines, and reads files whose line ends differ", () => {
    expect(parseCsv('x,y\n\n1,"a\nb"\r\n\r\n2, c\r3,d', "t").rows).toEqual([
      { line: 4, fields: { x: "1", y: "a\nb" } },
      { line: 6, fields: { x: "2", y: " c" } },
      { line: 7, fields: { x: "3", y: "d" } },
    ]);
    expect(parseCsv("", "t")).toEqual({ names: [], rows: [] });
  });

  it("may have columns without names, as spreadsheets leave them", () => {
    expect(parseCsv("x,,\n1,,", "t").rows[0]!.fields).toEqual({ x: "1", "": "" });
  });

  it("may have semicolons in its fields", () => {
    expect(parseCsv("x;y,z\n1,2", "t").names).toEqual(["x;y", "z"]);
    expect(parseCsv('"x;y"\n1', "t").names).toEqual(["x;y"]);
  });

  it.each([
    ['x,y\n"1,2', /a closing quote, got the end of the file \(at line 2 of t\)/],
    ['x,y\n"1"2,3', /comma after a quoted field, .*line 2 of t/],
    ['x,y\n1,a"b"', /quotes around all of a field or none of it, .*line 2 of t/],
    ["x,y\n1,2,3", /as many fields as in the first row, got 3 \(at line 2 of t\)/],
    ["x,y, x\n1,2,3", /each column once in the first row, got "x" twice \(at line 1 of t\)/],
    ["x;y\n1;2", /commas between the columns, got semicolons \(at line 1 of t\)/],
    ['"x, y";z\n1;2', /commas between the columns, got semicolons \(at line 1 of t\)/],
    ["x;y\n1,5;2", /commas between the columns, got semicolons \(at line 1 of t\)/],
  ])("refuses %j", (text, message) => {
    expect(() => parseCsv(text, "t")).toThrow(message);
  });
});
