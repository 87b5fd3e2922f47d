import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { operatorsDocument } from "./operators-document.ts";

it("docs/operators.md is up to date; if not, run scripts/operators-doc.ts", () => {
  expect(readFileSync(fileURLToPath(new URL("../../../../docs/operators.md", import.meta.url)), "utf8")).toBe(operatorsDocument());
});
