// Writes docs/operators.md: npx tsx --conditions=@tastemaker/source scripts/operators-doc.ts
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { operatorsDocument } from "../packages/tensor/src/testing/operators-document.ts";

writeFileSync(fileURLToPath(new URL("../docs/operators.md", import.meta.url)), operatorsDocument());
