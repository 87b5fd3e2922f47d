import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { UsageError } from "@tastemaker/tensor";
import { writeDirectoryAtomic, writeFileAtomic } from "../storage/atomic-file.ts";
import { ensureFolder } from "../storage/ensure-folder.ts";
import { evaluationPage } from "./page.ts";
import { pictureName, picturesFolder, variantFolder } from "./picture-path.ts";
import type { PictureStore } from "./picture-store.ts";
import type { EvaluationFile } from "./record.ts";
import { scoresCsv } from "./scores-csv.ts";

export const evaluationFileName = "evaluation.json";

/**
 * Writes the results into a folder: `pictures/`, `scores.csv`, `evaluation.html` and, last, `evaluation.json`.
 *
 * @param keys Of the pictures in the store, [variant][picture].
 * @throws UsageError `disk-full`, `no-permission`, `cache-changed`
 */
export async function writeResults(out: string, file: EvaluationFile, keys: readonly (readonly string[])[], store: PictureStore): Promise<void> {
  await ensureFolder(out);
  await writeDirectoryAtomic(join(out, picturesFolder), async (temporary) => {
    for (const [variant, own] of keys.entries()) {
      const folder = join(temporary, variantFolder(file, variant));
      await mkdir(folder);
      for (const [place, key] of own.entries()) {
        const stored = await store.read(key);
        if (stored === undefined) throw new UsageError("cache-changed", `evaluate: expected a picture that was there a moment ago, got none (key ${key.slice(0, 12)}…)`, "another process has emptied the cache; run the command again");
        await writeFile(join(folder, pictureName(file, place)), stored.png);
      }
    }
  });
  await writeFileAtomic(join(out, "scores.csv"), scoresCsv(file));
  await writeFileAtomic(join(out, "evaluation.html"), evaluationPage(file));
  await writeFileAtomic(join(out, evaluationFileName), `${JSON.stringify(file, undefined, 1)}\n`);
}
