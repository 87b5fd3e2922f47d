import { join } from "node:path";
import { decodeLatent, encodeImage, parseSchedulerConfig, parseUNetConfig, scopeOf } from "@tastemaker/diffusion";
import { add, type Backend, clamp, input, mul, program, sub, weight } from "@tastemaker/tensor";
import { Progress } from "../../cli/progress.ts";
import { DiffusionSampler } from "../../models/diffusion-sampler.ts";
import { worldFolder } from "../../models/emoji-world.ts";
import { ImageSampler, pictureNoise } from "../../models/image-sampler.ts";
import { openModel, type OpenedModel } from "../../models/open-model.ts";
import { TextContexts } from "../../models/text-contexts.ts";
import { openNodeFolder } from "../../platform/node-files.ts";
import { openComponent } from "../../pretrain/open-component.ts";
import { psnr } from "../../pretrain/vae-stage.ts";
import { measureRetrieval, type RetrievalScores } from "./caption-retrieval.ts";
import { type JudgeNetwork, openJudge } from "./judge-network.ts";
import { heldOutPrompts, type WorldPrompt } from "./prompts.ts";
import { SceneRenderer } from "./renderer.ts";
import { loadSprites } from "./sprites.ts";
import { styles } from "./vocabulary.ts";

/** Shares of right answers of the judge, 0..1, with the number of pictures behind each. */
export interface WorldScores {
  readonly object: number;
  readonly both: number;
  readonly background: number;
  readonly size: number;
  readonly style: number;
  readonly counts: Readonly<Record<"object" | "both" | "background" | "size" | "style", number>>;
}

/** Scores of pictures that should show the scenes. */
export async function scorePictures(judge: JudgeNetwork, pictures: readonly Float32Array[], prompts: readonly WorldPrompt[]): Promise<WorldScores> {
  const verdicts = await judge.look(pictures, prompts.map(({ scene }) => scene));
  const rows = prompts.map((_, row) => row);
  const singles = rows.filter((row) => prompts[row]!.scene.objects.length === 1);
  const pairs = rows.filter((row) => prompts[row]!.scene.objects.length === 2);
  const styled = rows.filter((row) => prompts[row]!.scene.said.style);
  const share = (among: readonly number[], isRight: (row: number) => boolean): number => among.filter(isRight).length / Math.max(1, among.length);
  const right = (row: number, ...heads: (keyof (typeof verdicts)[number]["isRight"])[]): boolean => heads.every((head) => verdicts[row]!.isRight[head]);
  return {
    object: share(singles, (row) => right(row, "left")),
    both: share(pairs, (row) => right(row, "left", "right")),
    background: share(rows, (row) => right(row, "top", "bottom")),
    size: share(singles, (row) => right(row, "size")),
    style: share(styled, (row) => right(row, "style")),
    counts: { object: singles.length, both: pairs.length, background: rows.length, size: singles.length, style: styled.length },
  };
}

/** Mean distance between pictures of the same prompt: √ of the mean squared pixel difference. */
function diversity(groups: readonly (readonly Float32Array[])[]): number {
  let [total, count] = [0, 0];
  for (const group of groups) {
    for (let i = 0; i < group.length; i++) {
      for (let j = 0; j < i; j++) {
        const [a, b] = [group[i]!, group[j]!];
        let sum = 0;
        for (let k = 0; k < a.length; k++) sum += (a[k]! - b[k]!) ** 2;
        total += Math.sqrt(sum / a.length);
        count++;
      }
    }
  }
  return total / count;
}

/** Guidance scales tried on the first 128 prompts. */
export interface GuidanceSweep {
  readonly best: number;
  /** Scale and its value, object + background + ½(both + style). */
  readonly values: readonly (readonly [scale: number, value: number])[];
}

export interface WorldCheck {
  readonly prompts: number;
  readonly seed: number;
  readonly guidance: GuidanceSweep;
  readonly teacherGuidance: GuidanceSweep;
  readonly vaePsnr: number;
  /** The mini-CLIP's search for the captions of real renders. */
  readonly retrieval: RetrievalScores;
  readonly rows: Readonly<Record<string, WorldScores>>;
  readonly diversity: { readonly model: number; readonly real: number };
}

const batchSize = 16;

/** The diffusion model that the consistency model was distilled from: its own U-Net, everything else shared. */
export async function openTeacher(student: OpenedModel, folder: string): Promise<OpenedModel> {
  const net = await openComponent(join(folder, "unet"));
  const scheduler = parseSchedulerConfig((await (await openNodeFolder(folder)).readJson("scheduler/scheduler_config.json")) as Record<string, unknown>);
  return { ...student, name: folder, path: folder, unet: parseUNetConfig(net.json), parts: { ...student.parts, scheduler, unet: { config: net.json, weights: net.weights } } };
}

/** Measures the embedded world on held-out prompts: real renders, renders through the autoencoder (the ceiling), model and teacher. */
export async function checkWorld(options: { readonly model: string; readonly count: number; readonly steps: number; readonly seed: number }, backend: Backend): Promise<WorldCheck> {
  const { count, steps, seed } = options;
  const prompts = heldOutPrompts(count);
  const model = await openModel(options.model);
  const contexts = new TextContexts(model, backend, () => {});
  const judge = await openJudge(join(worldFolder, "judge"), backend);
  const rows: Record<string, WorldScores> = {};

  const renderer = new SceneRenderer(await loadSprites(worldFolder));
  // An unsaid style may be any; the ceiling draws them all.
  const shown = prompts.map(({ scene }, index) => (scene.said.style ? scene : { ...scene, style: styles[index % styles.length]!.word }));
  const real = shown.map((scene, index) => renderer.render(scene, { seed, stream: "ceiling", index }));
  rows["real renders"] = await scorePictures(judge, real, prompts);
  const restored = await throughAutoencoder(model, real, backend);
  rows["through the VAE"] = await scorePictures(judge, restored, prompts);
  const vaePsnr = restored.reduce((total, picture, i) => total + psnr(picture, real[i]!), 0) / real.length;

  const among = Math.min(256, count);
  const retrieval = await measureRetrieval(join(worldFolder, "clip"), real.slice(0, among), prompts.slice(0, among), shown.slice(0, among), backend);

  const requests = async (from: readonly WorldPrompt[], copies: number, stepCount: number): Promise<{ context: Float32Array; noise: ReturnType<typeof pictureNoise> }[]> =>
    Promise.all(
      from.flatMap(({ caption }, index) =>
        Array.from({ length: copies }, async (_, copy) => ({
          context: await contexts.of(caption),
          noise: pictureNoise({ seed, stream: `check-${copy}`, index }, model.latentShape, stepCount),
        })),
      ),
    );
  const draw = async (list: Awaited<ReturnType<typeof requests>>, stepCount: number, guidanceScale: number, label: string): Promise<Float32Array[]> => {
    const sampler = await ImageSampler.open(model, { settings: { steps: stepCount, timesteps: "linspace", guidanceScale }, batchSize, contextShape: contexts.shape }, backend);
    const progress = new Progress({ label, total: list.length });
    const pictures = await sampler.sample(list, undefined, (done) => progress.update(done));
    progress.finish();
    await sampler.dispose();
    return pictures;
  };
  const few = prompts.slice(0, Math.min(128, count));
  const best = async (scales: readonly number[], drawAt: (scale: number) => Promise<Float32Array[]>): Promise<GuidanceSweep> => {
    const values: [number, number][] = [];
    for (const scale of scales) {
      const scores = await scorePictures(judge, await drawAt(scale), few);
      values.push([scale, scores.object + scores.background + 0.5 * (scores.both + scores.style)]);
    }
    return { best: values.reduce((a, b) => (b[1] > a[1] ? b : a))[0], values };
  };
  const fewRequests = await requests(few, 1, steps);
  const guidance = await best([2, 3, 4, 5, 6, 8], (scale) => draw(fewRequests, steps, scale, `guidance ${scale}`));
  rows[`model, ${steps} steps`] = await scorePictures(judge, await draw(await requests(prompts, 1, steps), steps, guidance.best, `${steps} steps`), prompts);
  rows["model, 4 steps"] = await scorePictures(judge, await draw(await requests(prompts, 1, 4), 4, guidance.best, "4 steps"), prompts);

  const teacher = await openTeacher(model, join(worldFolder, "teacher"));
  const drawTeacher = async (from: readonly WorldPrompt[], guidanceScale: number): Promise<Float32Array[]> => {
    const sampler = await DiffusionSampler.open(teacher, { steps: 20, guidanceScale, batchSize, contextShape: contexts.shape, emptyContext: await contexts.empty() }, backend);
    const progress = new Progress({ label: `teacher, guidance ${guidanceScale}`, total: from.length });
    const list = (await requests(from, 1, 2)).map(({ context, noise }) => ({ context, latent: noise.latent }));
    const pictures = await sampler.sample(list, (done) => progress.update(done));
    progress.finish();
    await sampler.dispose();
    return pictures;
  };
  const teacherGuidance = await best([2, 3, 5], (scale) => drawTeacher(few, scale));
  rows["teacher, DDIM 20"] = await scorePictures(judge, await drawTeacher(prompts, teacherGuidance.best), prompts);

  const [distinct, copies] = [prompts.slice(0, 24), 4];
  const several = await draw(await requests(distinct, copies, steps), steps, guidance.best, "diversity");
  const ofPrompt = (pictures: readonly Float32Array[]): Float32Array[][] => distinct.map((_, i) => pictures.slice(i * copies, (i + 1) * copies));
  const realSeveral = distinct.flatMap(({ scene }, index) =>
    Array.from({ length: copies }, (_, copy) => renderer.render(scene.said.style ? scene : { ...scene, style: styles[copy % styles.length]!.word }, { seed, stream: `diversity-${copy}`, index })),
  );
  await judge.dispose();
  await contexts.dispose();
  return { prompts: count, seed, guidance, teacherGuidance, vaePsnr, retrieval, rows, diversity: { model: diversity(ofPrompt(several)), real: diversity(ofPrompt(realSeveral)) } };
}

/** Pictures encoded and decoded again. */
async function throughAutoencoder(model: OpenedModel, pictures: readonly Float32Array[], backend: Backend): Promise<Float32Array[]> {
  const scope = scopeOf((key, shape) => weight(model.parts.vae.weights.take(key, shape)));
  const side = model.imageSize;
  const { mean } = encodeImage(scope, model.vae, sub(mul(input("image", [batchSize, 3, side, side]), 2), 1));
  const executable = await backend.compile(program({ image: clamp(add(mul(decodeLatent(scope, model.vae, mean), 0.5), 0.5), 0, 1) }));
  const size = 3 * side * side;
  const results: Float32Array[] = [];
  for (let start = 0; start < pictures.length; start += batchSize) {
    const image = new Float32Array(batchSize * size);
    const rows = Math.min(batchSize, pictures.length - start);
    for (let row = 0; row < rows; row++) image.set(pictures[start + row]!, row * size);
    const outputs = await executable.run({ image });
    for (let row = 0; row < rows; row++) results.push((outputs["image"]!.data as Float32Array).slice(row * size, (row + 1) * size));
  }
  await executable.dispose();
  return results;
}

/** The check as a table for the terminal. */
export function formatCheck(check: WorldCheck): string {
  const columns = ["object", "both", "background", "size", "style"] as const;
  const names = Object.keys(check.rows);
  const width = Math.max(...names.map((name) => name.length));
  const lines = names.map((name) => `${name.padEnd(width)}  ${columns.map((column) => check.rows[name]![column].toFixed(3).padStart(10)).join("")}`);
  const { exact, isTrue, exactCeiling, count } = check.retrieval;
  return [
    `${"".padEnd(width)}  ${columns.map((column) => column.padStart(10)).join("")}`,
    ...lines,
    `${check.prompts} held-out prompts, seed ${check.seed}, guidance ${check.guidance.best} (teacher ${check.teacherGuidance.best}); VAE PSNR ${check.vaePsnr.toFixed(2)} dB; distance between pictures of one prompt ${check.diversity.model.toFixed(3)} (real ${check.diversity.real.toFixed(3)})`,
    ...([["model", check.guidance], ["teacher", check.teacherGuidance]] as const).map(([name, { values }]) => `guidance of the ${name}: ${values.map(([scale, value]) => `${scale} → ${value.toFixed(3)}`).join(", ")} (object + background + ½ both + ½ style)`),
    `mini-CLIP, pictures to ${count} captions: own caption first ${exact.toFixed(3)} (at best ${exactCeiling.toFixed(3)}), a true caption first ${isTrue.toFixed(3)}`,
  ].join("\n");
}
