#!/usr/bin/env node
// The command line. It lives outside dist/ so that npm can link it before the first build.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const main = new URL("../dist/cli/main.js", import.meta.url);
if (existsSync(fileURLToPath(main))) await import(main.href);
else {
  console.error("tastemaker: expected a built package, got sources only; run `npm run build` first");
  process.exitCode = 2;
}
