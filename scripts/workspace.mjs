// What `npm start` and `npm test` do on a fresh clone before anything else. Plain Node, no dependency: nothing is installed yet.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = join(dirname(fileURLToPath(import.meta.url)), "..");

/** Ends with a clear message when this Node is too old. */
export function requireNode() {
  const major = Number(process.versions.node.split(".")[0]);
  if (major >= 20) return;
  console.error(`Tastemaker: expected Node 20 or newer, got ${process.versions.node}; install the current long-term version of Node`);
  process.exit(2);
}

/** Runs a command in the repository; with `quiet` its output is returned instead of shown. */
function run(command, args, quiet) {
  // npm is a .cmd file on Windows, which only a shell can start; the arguments here contain nothing a shell would interpret.
  const shell = process.platform === "win32" && command === "npm";
  const { status, signal, error, stdout, stderr } = spawnSync(command, args, { cwd: root, stdio: quiet ? "pipe" : "inherit", shell, encoding: "utf8" });
  const reason = error ? error.message : signal ? `ended by ${signal}` : `exit code ${status}`;
  return { status, reason, text: `${stdout ?? ""}${stderr ?? ""}` };
}

/** Runs a command with its output shown; ends this process with the same exit code when it fails. */
export function runOrExit(command, args) {
  const { status, reason } = run(command, args, false);
  if (status === 0) return;
  // A command of ours has already said what was wrong.
  if (command === "npm") console.error(`Tastemaker: npm ${args.join(" ")} failed: ${reason}`);
  process.exit(status ?? 1);
}

function modifiedAt(path) {
  return existsSync(path) ? statSync(path).mtimeMs : 0;
}

/** Latest change of a TypeScript source, a manifest or a tsconfig below a folder. */
function newestSource(folder) {
  let newest = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.name === "node_modules" || entry.name === "dist") continue;
    const path = join(folder, entry.name);
    if (entry.isDirectory()) newest = Math.max(newest, newestSource(path));
    else if (/\.(ts|json)$/.test(entry.name) && !entry.name.endsWith(".test.ts")) newest = Math.max(newest, modifiedAt(path));
  }
  return newest;
}

/** Installs the packages of package-lock.json when they are missing or older than it. */
export function ensureInstalled() {
  const stamp = join(root, "node_modules", ".tastemaker-installed");
  const installedAt = Math.max(modifiedAt(stamp), modifiedAt(join(root, "node_modules", ".package-lock.json")));
  if (installedAt > 0 && installedAt >= modifiedAt(join(root, "package-lock.json"))) return;
  console.error("installing packages (npm ci)");
  const options = ["--no-audit", "--no-fund", "--loglevel=error"];
  const exact = run("npm", ["ci", ...options], true);
  if (exact.status !== 0) {
    // `npm ci` insists on the binaries of every platform; a registry mirror may lack those of other ones. `npm install` takes the same
    // versions from the lock file and leaves out what this machine cannot use.
    console.error("npm ci did not work here, trying npm install");
    const lockPath = join(root, "package-lock.json");
    const lock = readFileSync(lockPath);
    const loose = run("npm", ["install", ...options], true);
    // npm would write what it could not find into the lock file.
    writeFileSync(lockPath, lock);
    if (loose.status !== 0) {
      console.error(`${exact.text}\n${loose.text}\nTastemaker: npm install failed: ${loose.reason}; check the network and the registry settings of npm`);
      process.exit(1);
    }
  }
  writeFileSync(stamp, "");
}

/** Compiles the workspaces when a source is newer than the last build that succeeded here, or when a result is missing. */
export function ensureBuilt() {
  const packages = join(root, "packages");
  // A build with errors leaves files behind as well, so only this stamp says that all went well.
  const stamp = join(root, "node_modules", ".tastemaker-built");
  const builtAt = modifiedAt(stamp);
  const isStale = readdirSync(packages).some((name) => {
    const folder = join(packages, name);
    if (!existsSync(join(folder, "package.json"))) return false;
    return builtAt < newestSource(folder) || !existsSync(join(folder, "dist", "index.js"));
  });
  if (!isStale && builtAt >= modifiedAt(join(root, "tsconfig.base.json"))) return;
  console.error("building (npm run build)");
  const startedAt = new Date();
  runOrExit("npm", ["run", "--silent", "build"]);
  writeFileSync(stamp, "");
  // A source saved during the build counts as newer than it.
  utimesSync(stamp, startedAt, startedAt);
}
