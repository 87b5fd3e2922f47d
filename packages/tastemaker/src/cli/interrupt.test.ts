import { fork } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { sourceFlags, startScript, withTemporaryFolder } from "../testing/child.ts";

const source = JSON.stringify(fileURLToPath(new URL("interrupt.ts", import.meta.url)));

describe.skipIf(process.platform === "win32")("Ctrl-C", () => {
  it("lets the work finish its step and save, and ends at once when pressed again", () =>
    withTemporaryFolder(async (folder) => {
      const path = join(folder, "work.mts");
      await writeFile(
        path,
        `import { withInterrupt } from ${source};
         await withInterrupt((text) => process.stderr.write(text), async (signal) => {
           process.stdout.write("started;");
           for (let step = 0; !signal.aborted || process.argv[2] === "slow"; step++) await new Promise((done) => setTimeout(done, 10));
           process.stdout.write("saved;");
         });`,
      );
      const polite = startScript(path, "quick");
      await polite.printed("started;");
      polite.child.kill("SIGINT");
      expect(await polite.finished).toMatchObject({ code: 0, stdout: "started;saved;", stderr: expect.stringContaining("saving") as string });
      const stuck = startScript(path, "slow");
      await stuck.printed("started;");
      stuck.child.kill("SIGINT");
      // Launchers repeat a signal at once, which is no second wish.
      stuck.child.kill("SIGTERM");
      await new Promise((done) => setTimeout(done, 2000));
      expect(stuck.child.exitCode).toBe(null);
      stuck.child.kill("SIGINT");
      expect(await stuck.finished).toMatchObject({ code: 130, stdout: "started;" });
    }));

  it("is not needed where the process that started the command ends", () =>
    withTemporaryFolder(async (folder) => {
      const path = join(folder, "work.mts");
      await writeFile(
        path,
        `import { writeFileSync } from "node:fs";
         import { withInterrupt } from ${source};
         await withInterrupt(() => undefined, async (signal) => {
           process.send?.("started");
           while (!signal.aborted) await new Promise((done) => setTimeout(done, 10));
         });
         writeFileSync(process.argv[2], "saved");`,
      );
      const saved = join(folder, "saved");
      const child = fork(path, [saved], { execArgv: [...sourceFlags] });
      await once(child, "message");
      child.disconnect();
      const [code] = (await once(child, "exit")) as [number | null];
      expect([code, await readFile(saved, "utf8")]).toEqual([0, "saved"]);
    }));
});
