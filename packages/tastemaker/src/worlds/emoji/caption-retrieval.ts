import { clipImageEmbedding, cosine, normalizePixels, openClipTokenizer } from "@tastemaker/diffusion";
import { type Backend, input, program } from "@tastemaker/tensor";
import { clipTextTower, openClipNetwork } from "../../rewards/clip-network.ts";
import { TextEmbeddings } from "../../rewards/text-embeddings.ts";
import { isTrueOf, type Scene } from "./scene.ts";

/** How well pictures find their captions among all of them, as shares 0..1. */
export interface RetrievalScores {
  /** The first caption is the very one that the picture was drawn from. */
  readonly exact: number;
  /** The first caption is true of the picture. */
  readonly isTrue: number;
  /** `exact` of an observer who sees everything and picks the caption that says most: a caption that leaves the style open can lose to one that names it. */
  readonly exactCeiling: number;
  readonly count: number;
}

/** Compares rankings with the truth. `scores` `[pictures, captions]`, row by row. */
export function scoreRetrieval(scores: ArrayLike<number>, captions: readonly { readonly caption: string; readonly scene: Scene }[], shown: readonly Scene[]): RetrievalScores {
  const count = captions.length;
  let [exact, isTrue, reachable] = [0, 0, 0];
  for (const [row, scene] of shown.entries()) {
    let best = 0;
    for (let i = 1; i < count; i++) if (scores[row * count + i]! > scores[row * count + best]!) best = i;
    const own = captions[row]!;
    if (captions[best]!.caption === own.caption) exact++;
    if (isTrueOf(captions[best]!.scene, scene)) isTrue++;
    const saysMore = captions.some((other) => isTrueOf(other.scene, scene) && other.scene.said.style && !own.scene.said.style);
    if (!saysMore) reachable++;
  }
  return { exact: exact / shown.length, isTrue: isTrue / shown.length, exactCeiling: reachable / shown.length, count: shown.length };
}

/** Lets a CLIP find the caption of each picture among all of them. `pictures` `[3, S, S]` in [0, 1], one per caption. */
export async function measureRetrieval(
  clipPath: string,
  pictures: readonly Float32Array[],
  captions: readonly { readonly caption: string; readonly scene: Scene }[],
  shown: readonly Scene[],
  backend: Backend,
): Promise<RetrievalScores> {
  const clip = await openClipNetwork(clipPath);
  const { config } = clip;
  const texts = new TextEmbeddings(clipTextTower(clip, await openClipTokenizer(clip.folder)), backend);
  const embeddings = await texts.batch(captions.map(({ caption }) => caption));
  await texts.dispose();
  const side = config.vision.imageSize;
  const image = clipImageEmbedding(clip.scope(), config, normalizePixels(input("image", [1, 3, side, side])));
  const executable = await backend.compile(program({ cos: cosine(image, input("texts", [captions.length, config.projection])) }));
  const scores = new Float64Array(pictures.length * captions.length);
  for (const [row, pixels] of pictures.entries()) {
    const { cos } = await executable.run({ image: pixels, texts: embeddings });
    scores.set(cos!.data, row * captions.length);
  }
  await executable.dispose();
  return scoreRetrieval(scores, captions, shown);
}
