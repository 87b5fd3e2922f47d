import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { pictureOf, planarOf } from "@tastemaker/diffusion";
import type { Backend } from "@tastemaker/tensor";
import type { CommandContext } from "../../cli/command-context.ts";
import { Progress } from "../../cli/progress.ts";
import { quotedCell } from "../../data/csv-cell.ts";
import { encodePng } from "../../images/contact-sheet.ts";
import { readPicture } from "../../images/read-picture.ts";
import { ImageSampler, pictureNoise } from "../../models/image-sampler.ts";
import { worldPart } from "../../models/emoji-world.ts";
import { openModel } from "../../models/open-model.ts";
import { TextContexts } from "../../models/text-contexts.ts";
import { letSignalsIn } from "../../platform/let-signals-in.ts";
import { writeFileAtomic } from "../../storage/atomic-file.ts";
import { goldOpinion } from "./gold-annotator.ts";
import { openJudge } from "./judge-network.ts";
import { develop, type Development, isHeldOutPlace, labelPairs, type PlannedPicture, type PreferencePair, planPreferencePictures } from "./preference-plan.ts";

export interface PreferenceOptions {
  /** Folder for `pictures/*.png` and the tables. */
  readonly out: string;
  readonly prompts: number;
  readonly seed: number;
}

const batchSize = 8;

function fileOf({ place, number }: PlannedPicture): string {
  return `pictures/${String(place).padStart(5, "0")}-${number}.png`;
}

/** Makes the pictures that are not there yet; false when Ctrl-C stopped it. */
async function makePictures(plan: readonly PlannedPicture[], { out, seed }: PreferenceOptions, backend: Backend, { signal, output }: CommandContext): Promise<boolean> {
  const missing = plan.filter((picture) => !existsSync(join(out, fileOf(picture))));
  if (missing.length === 0) return true;
  const model = await openModel("emoji");
  const contexts = new TextContexts(model, backend, output.note);
  const progress = new Progress({ label: "pictures of the base model", total: plan.length, initial: plan.length - missing.length });
  let done = plan.length - missing.length;
  // One sampler per kind of picture.
  const kinds = new Map<string, PlannedPicture[]>();
  for (const picture of missing) {
    const kind = `${picture.steps} ${picture.guidanceScale}`;
    kinds.set(kind, [...(kinds.get(kind) ?? []), picture]);
  }
  try {
    for (const pictures of kinds.values()) {
      const { steps, guidanceScale } = pictures[0]!;
      const sampler = await ImageSampler.open(model, { settings: { steps, timesteps: "linspace", guidanceScale }, batchSize, contextShape: contexts.shape }, backend);
      for (let start = 0; start < pictures.length; start += batchSize) {
        if (signal.aborted) return false;
        const part = pictures.slice(start, start + batchSize);
        const requests = await Promise.all(part.map(async ({ drawn, place, number }) => ({ context: await contexts.of(drawn), noise: pictureNoise({ seed, stream: `preferences/${number}`, index: place }, model.latentShape, steps) })));
        for (const [row, values] of (await sampler.sample(requests)).entries()) {
          const picture = pictureOf(values, model.imageSize, model.imageSize);
          const { development } = part[row]!;
          await writeFileAtomic(join(out, fileOf(part[row]!)), await encodePng(development === undefined ? picture : develop(picture, development)));
        }
        progress.update((done += part.length));
        await letSignalsIn();
      }
      await sampler.dispose();
    }
  } finally {
    progress.finish();
    await contexts.dispose();
  }
  return true;
}

const numbersOf = ({ contrast, saturation, brightness }: Development = { contrast: 1, saturation: 1, brightness: 0 }): string[] => [contrast, saturation, brightness].map((value) => value.toFixed(3));

function csv(header: string, rows: readonly string[]): string {
  return `${header}\n${rows.join("\n")}\n`;
}

/**
 * Makes the preference set of the emoji world: pictures of the base model for training prompts (some poor, some that forget a part of the prompt, some with another contrast or saturation), and the gold annotator's noisy choice in
 * every pair of a prompt's pictures. Writes `pictures/`, `pictures.csv` (how each was made), `pairs.csv`, which `tastemaker reward fit` reads, and
 * `pairs-held-out.csv` with the pairs of every twentieth prompt. What exists is kept, so that it goes on after an interruption.
 */
export async function makePreferences(options: PreferenceOptions, backend: Backend, context: CommandContext): Promise<void> {
  const { out, prompts, seed } = options;
  await mkdir(join(out, "pictures"), { recursive: true });
  const plan = planPreferencePictures(prompts, seed);
  if (!(await makePictures(plan, options, backend, context))) return;
  const judge = await openJudge(worldPart("judge"), backend);
  const preferences: number[] = [];
  for (let start = 0; start < plan.length; start += 256) {
    const part = plan.slice(start, start + 256);
    const pixels = await Promise.all(part.map(async (picture) => planarOf(await readPicture(join(out, fileOf(picture)), fileOf(picture)))));
    const verdicts = await judge.look(pixels, part.map(({ scene }) => scene));
    for (const [row, verdict] of verdicts.entries()) preferences.push(goldOpinion(pixels[row]!, verdict, part[row]!.scene).preference);
  }
  await judge.dispose();
  const pairs = labelPairs(preferences, seed);
  await writeFileAtomic(join(out, "pictures.csv"), csv("image,prompt,drawn,steps,guidance,contrast,saturation,brightness", plan.map((picture) => [fileOf(picture), quotedCell(picture.prompt), quotedCell(picture.drawn), picture.steps, picture.guidanceScale, ...numbersOf(picture.development)].join(","))));
  const row = ({ a, b, label, probability }: PreferencePair): string => [quotedCell(plan[a]!.prompt), fileOf(plan[a]!), fileOf(plan[b]!), label, probability.toFixed(4)].join(",");
  const header = "prompt,image_a,image_b,label,probability";
  const isHeldOut = ({ a }: PreferencePair): boolean => isHeldOutPlace(plan[a]!.place);
  const [training, heldOut] = [pairs.filter((pair) => !isHeldOut(pair)), pairs.filter(isHeldOut)];
  await writeFileAtomic(join(out, "pairs.csv"), csv(header, training.map(row)));
  await writeFileAtomic(join(out, "pairs-held-out.csv"), csv(header, heldOut.map(row)));
  const ceiling = pairs.reduce((sum, { probability }) => sum + Math.max(probability, 1 - probability), 0) / pairs.length;
  context.output.print(`${training.length} pairs to fit to, ${heldOut.length} held out, of ${plan.length} pictures for ${prompts} prompts: ${join(out, "pairs.csv")}, pairs-held-out.csv\nwho knows the annotator's taste agrees with ${(100 * ceiling).toFixed(1)} % of its choices`);
  context.output.result({ pairs: training.length, heldOut: heldOut.length, pictures: plan.length, prompts, ceiling, file: join(out, "pairs.csv") });
}
