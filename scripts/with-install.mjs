// node scripts/with-install.mjs ARGS...: installs and builds where needed, then runs `tastemaker ARGS...`.
import { join } from "node:path";
import { ensureBuilt, ensureInstalled, requireNode, root, runOrExit } from "./workspace.mjs";

requireNode();
ensureInstalled();
ensureBuilt();
runOrExit(process.execPath, [join(root, "packages/tastemaker/dist/cli/main.js"), ...process.argv.slice(2)]);
