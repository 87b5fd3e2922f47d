// npm test: installs, builds, runs every test (further arguments go to vitest) and ends with one plain line: "N passed, N failed".
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureBuilt, ensureInstalled, requireNode, root } from "./workspace.mjs";

let counts = { passed: 0, failed: 1 };
// Also when installing or building fails, the last line says so.
process.on("exit", () => console.log(`${counts.passed} passed, ${counts.failed} failed`));

requireNode();
ensureInstalled();
ensureBuilt();
const folder = mkdtempSync(join(tmpdir(), "tastemaker-test-"));
const report = join(folder, "report.json");
const vitest = join(root, "node_modules/vitest/vitest.mjs");
const { status } = spawnSync(process.execPath, [vitest, "run", "--reporter=default", "--reporter=json", `--outputFile.json=${report}`, ...process.argv.slice(2)], { cwd: root, stdio: "inherit" });
try {
  const { numPassedTests: passed, numFailedTests, testResults } = JSON.parse(readFileSync(report, "utf8"));
  // A test file that cannot be loaded holds no counted test but is a failure all the same.
  const unloaded = testResults.filter((file) => file.status === "failed" && file.assertionResults.length === 0).length;
  // An error outside any test (an unhandled rejection) fails the run without failing a test.
  counts = { passed, failed: numFailedTests + unloaded || (status === 0 ? 0 : 1) };
} catch {
  // vitest wrote no report: the initial counts say that the run failed.
}
rmSync(folder, { recursive: true, force: true });
process.exitCode = counts.failed > 0 ? 1 : 0;
