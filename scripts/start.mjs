// npm start: installs, builds, then tunes the embedded world and shows before and after.
import { join } from "node:path";
import { ensureBuilt, ensureInstalled, requireNode, root, runOrExit } from "./workspace.mjs";

requireNode();
ensureInstalled();
ensureBuilt();
runOrExit(process.execPath, [join(root, "packages/tastemaker/dist/cli/main.js"), "demo", ...process.argv.slice(2)]);
