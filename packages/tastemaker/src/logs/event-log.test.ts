import { appendFile, mkdir, readdir, readFile, stat, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { encodePng } from "../images/contact-sheet.ts";
import { wallClock } from "../storage/clock.ts";
import { runShell, withTemporaryFolder } from "../testing/child.ts";
import { crc32c } from "./crc32c.ts";
import { EventLog } from "./event-log.ts";
import { describePng } from "./event-message.ts";
import { maxRecordBytes } from "./tf-record.ts";
import { eventFiles, readCurves, readEvents } from "./testing/read-events.ts";

const canMount = (await runShell("unshare -rm mount -t tmpfs -o size=64k none /mnt")).code === 0;

/** Opens the log at `lastStep`, appends `{ loss: step + 0.5 }` of some steps and closes it. */
async function write(folder: string, lastStep: number, ...steps: number[]): Promise<void> {
  const log = await EventLog.open(folder, lastStep);
  for (const step of steps) await log.append(step, { scalars: new Map([["loss", step + 0.5]]) });
  await log.close();
}

const lossOf = (folder: string): number[] => (readCurves(folder)["loss"] ?? []).map(([step]) => step);

describe("CRC-32C", () => {
  it("gives the examples of RFC 3720 and the check value", () => {
    const ascending = Uint8Array.from({ length: 32 }, (_, i) => i);
    expect([new Uint8Array(32), new Uint8Array(32).fill(255), ascending, new TextEncoder().encode("123456789"), new Uint8Array()].map(crc32c)).toEqual([0x8a9136aa, 0x62a8ab43, 0x46dd794e, 0xe3069283, 0]);
  });
});

describe("event files", () => {
  it("hold scalars as float32 and pictures as they are, behind the version and the start of the session", () =>
    withTemporaryFolder(async (folder) => {
      const png = Buffer.from(await encodePng({ pixels: Uint8Array.from({ length: 3 * 5 * 4 }, (_, i) => 4 * i), width: 5, height: 4 }));
      const before = wallClock().getTime() / 1000;
      const log = await EventLog.open(join(folder, "base"), -1);
      const scalars = new Map([["a/π", 0.1], ["zero", 0], ["large", 1e39], ["small", -1e-46], ["none", Number.NaN], ["below", Number.NEGATIVE_INFINITY]]);
      await log.append(3_000_000_000, { scalars, images: new Map([["sheet", describePng(png)!]]) });
      await log.append(3_000_000_000, {});
      await log.close();
      const [version, start, event, ...others] = readEvents(join(folder, "base"));
      expect(others).toEqual([]);
      expect(version).toMatchObject({ step: 0, fileVersion: "brain.Event:2" });
      expect(start).toMatchObject({ step: 0, session: 1 });
      expect(event).toMatchObject({ step: 3_000_000_000, images: { sheet: { width: 5, height: 4, colorspace: 3 } } });
      expect(event!.scalars).toEqual({ "a/π": Math.fround(0.1), zero: 0, large: Number.POSITIVE_INFINITY, small: -0, none: Number.NaN, below: Number.NEGATIVE_INFINITY });
      expect(event!.images["sheet"]!.png.equals(png)).toBe(true);
      expect(event!.wallTime).toBeGreaterThanOrEqual(before);
      expect(event!.wallTime).toBeLessThan(before + 600);
      expect(eventFiles(join(folder, "base"))).toEqual([expect.stringMatching(/events\.out\.tfevents\.\d{10}\.tastemaker$/)]);
    }));

  it("are not created before there is something to say", () =>
    withTemporaryFolder(async (folder) => {
      await write(join(folder, "base"), -1);
      expect(await readdir(folder)).toEqual([]);
    }));

  it("are taken back to a step, go on in a newer file and repeat nothing", () =>
    withTemporaryFolder(async (folder) => {
      await write(folder, -1, 1, 2, 3, 4, 5);
      await write(folder, 3, 2, 3, 4, 5, 6);
      await write(folder, 5, 5, 6);
      expect(lossOf(folder)).toEqual([1, 2, 3, 4, 5, 6]);
      expect(eventFiles(folder)).toHaveLength(3);
      expect(readEvents(folder).filter(({ session }) => session === 1).map(({ step }) => step)).toEqual([0, 4, 6]);
      await write(folder, -1, 1);
      expect(lossOf(folder)).toEqual([1]);
    }));

  it("lose a torn or damaged end, whatever it looks like", () =>
    withTemporaryFolder(async (folder) => {
      const hugeLength = Buffer.alloc(12);
      hugeLength.writeBigUInt64LE(BigInt(maxRecordBytes) + 1n);
      for (const [index, damage] of [
        async (path: string) => truncate(path, (await stat(path)).size - 1),
        async (path: string) => truncate(path, (await stat(path)).size - 30),
        (path: string) => appendFile(path, new Uint8Array(4096)),
        (path: string) => appendFile(path, hugeLength),
        async (path: string) => {
          const bytes = await readFile(path);
          bytes[bytes.length - 5]! ^= 1;
          await writeFile(path, bytes);
        },
      ].entries()) {
        const run = join(folder, String(index));
        await write(run, -1, 1, 2, 3);
        await damage(eventFiles(run)[0]!);
        await write(run, 3, 1, 2, 3, 4);
        expect(lossOf(run), String(index)).toEqual([1, 2, 3, 4]);
      }
    }));

  it("that others wrote, and links, are left alone", () =>
    withTemporaryFolder(async (folder) => {
      const outside = join(folder, "diary");
      await writeFile(outside, "dear diary");
      const run = join(folder, "run");
      await mkdir(run);
      await symlink(outside, join(run, "events.out.tfevents.1000000000.tastemaker"));
      await writeFile(join(run, "events.out.tfevents.1000000001.tastemaker"), "no events at all, but long enough");
      await writeFile(join(run, "events.out.tfevents.1000000002.host"), "of another program");
      await write(run, -1, 1);
      expect(await readFile(outside, "utf8")).toBe("dear diary");
      expect(await readFile(join(run, "events.out.tfevents.1000000001.tastemaker"), "utf8")).toBe("no events at all, but long enough");
      expect(await readFile(join(run, "events.out.tfevents.1000000002.host"), "utf8")).toBe("of another program");
      await symlink(run, join(folder, "link"));
      await expect(EventLog.open(join(folder, "link"), -1)).rejects.toMatchObject({ name: "UsageError", code: "path-missing" });
    }));

  it.skipIf(!canMount)("end with a whole event and one clear error on a full disk", () =>
    withTemporaryFolder(async (folder) => {
      const script = join(folder, "script.mts");
      const source = (name: string): string => JSON.stringify(fileURLToPath(new URL(name, import.meta.url)));
      await writeFile(
        script,
        `import { EventLog } from ${source("event-log.ts")};
         import { readCurves } from ${source("testing/read-events.ts")};
         const log = await EventLog.open("/mnt/run", -1);
         const long = new Map(Array.from({ length: 200 }, (_, i) => ["tag " + i, i]));
         let step = 0;
         try { for (;;) await log.append(++step, { scalars: long }); }
         catch (error) { console.log(error.name, error.code, error.message); }
         const curve = readCurves("/mnt/run")["tag 7"];
         console.log(curve.length === step - 1 && step > 3);`,
      );
      const end = await runShell(`unshare -rm sh -c 'mount -t tmpfs -o size=64k none /mnt && ${process.execPath} --import tsx --conditions=@tastemaker/source ${script}'`);
      expect(end.stdout).toMatch(/^UsageError disk-full cannot append to \/mnt\/run\/events\.out\.tfevents\.\d+\.tastemaker: no space left on the device \(ENOSPC\); [^\n]*\ntrue\n$/);
    }),
  );
});

describe("a picture's header", () => {
  it("is read of PNG only", async () => {
    expect(describePng(Buffer.from(await encodePng({ pixels: new Uint8Array(3 * 64), width: 8, height: 8 })))).toMatchObject({ width: 8, height: 8, channels: 3 });
    for (const bytes of [Buffer.alloc(0), Buffer.from("GIF89a and more than thirty-three bytes of it"), Buffer.from([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10])]) expect(describePng(bytes)).toBeUndefined();
  });
});
