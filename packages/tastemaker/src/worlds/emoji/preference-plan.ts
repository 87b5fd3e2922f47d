import type { Picture } from "@tastemaker/diffusion";
import { normal, uniform } from "@tastemaker/tensor";
import { drawScene } from "./draw-scene.ts";
import { preferenceProbability } from "./gold-taste.ts";
import { isTrainingCombination } from "./held-out.ts";
import { trainingPrompts } from "./prompts.ts";
import { printCaption, type Scene } from "./scene.ts";

/** A picture of the base model to make: for the caption `drawn`, to be judged as a picture of `prompt`. */
export interface PlannedPicture {
  readonly prompt: string;
  /** Place of the prompt in the list, and of the picture among the prompt's. */
  readonly place: number;
  readonly number: number;
  readonly scene: Scene;
  readonly drawn: string;
  readonly steps: number;
  readonly guidanceScale: number;
  /** What is done to the finished picture; undefined: nothing. */
  readonly development: Development | undefined;
}

/** Contrast and saturation by a factor, brightness by a shift. */
export interface Development {
  readonly contrast: number;
  readonly saturation: number;
  readonly brightness: number;
}

/** Pictures per prompt: each with each makes six pairs. */
export const picturesPerPrompt = 4;
const heldOutStride = 20;

/**
 * Whether no reward is fitted to the pairs of the prompt at a place: every twentieth. Not the last ones, because the later of many distinct captions are the longer ones; and a longer
 * list holds out what the shorter one does.
 */
export function isHeldOutPlace(place: number): boolean {
  return (place + 1) % heldOutStride === 0;
}

/** Steps of the pictures: most are as good as the model can, some are poor, as in collections from several models. */
const stepChoices = [8, 8, 8, 4, 4, 2, 2, 1] as const;
const guidanceChoices = [1, 3, 3, 5, 7] as const;
/** Share of pictures that forget something of the prompt. The embedded model forgets little; without these, pairs would teach nothing of prompts. */
const forgetfulShare = 0.3;

/**
 * Share of pictures that are developed, and by how much: standard deviations of the logarithms and of the shift. Collections of pictures come from many models and pipelines; one model's pictures of
 * one prompt hardly differ in contrast and colour, and choices between them would teach nothing of taste.
 */
const developedShare = 0.6;
const developmentSpread = { contrast: 0.35, saturation: 0.4, brightness: 0.06 } as const;

/** Develops a picture of 8 bits: around its mean luma (Rec. 601), each pixel around its own. */
export function develop({ pixels, width, height }: Picture, { contrast, saturation, brightness }: Development): Picture {
  const count = width * height;
  const luma = Float64Array.from({ length: count }, (_, p) => 0.299 * pixels[3 * p]! + 0.587 * pixels[3 * p + 1]! + 0.114 * pixels[3 * p + 2]!);
  const mean = luma.reduce((sum, value) => sum + value, 0) / count;
  const developed = new Uint8Array(3 * count);
  for (let p = 0; p < count; p++) {
    const y = mean + contrast * (luma[p]! - mean) + 255 * brightness;
    for (let c = 0; c < 3; c++) developed[3 * p + c] = Math.round(Math.min(255, Math.max(0, y + contrast * saturation * (pixels[3 * p + c]! - luma[p]!))));
  }
  return { pixels: developed, width, height };
}

function pick<T>(list: readonly T[], draw: number): T {
  return list[Math.floor(draw * list.length)]!;
}

/** A scene of which one thing is another scene's: an object, the background, the style, or all. A scene that may not be in training stays as it was. */
export function forgetOne(scene: Scene, other: Scene, draw: number): Scene {
  const { length } = scene.objects;
  const changed: Scene =
    draw < 0.4
      ? { ...scene, objects: scene.objects.map((object, i) => (i === length - 1 && !scene.objects.includes(other.objects[0]!) ? other.objects[0]! : object)) }
      : draw < 0.7
        ? { ...scene, background: other.background, said: { ...scene.said, background: true } }
        : draw < 0.85
          ? { ...scene, style: other.style, said: { ...scene.said, style: true } }
          : other;
  return isTrainingCombination(changed.objects, changed.background) ? changed : scene;
}

/** The pictures of the preference set: a pure function of (seed, count). A longer list starts with the shorter one. */
export function planPreferencePictures(prompts: number, seed: number): PlannedPicture[] {
  return trainingPrompts(prompts).flatMap(({ caption, scene }, place) =>
    Array.from({ length: picturesPerPrompt }, (_, number): PlannedPicture => {
      const index = place * picturesPerPrompt + number;
      const draws = uniform({ seed, stream: "preference-pictures", indices: [index] }, 4);
      const other = drawScene("training", { seed, stream: "preference-others", index });
      const drawn = draws[0]! < forgetfulShare ? printCaption(forgetOne(scene, other, draws[1]!)) : caption;
      const [a, b, c] = normal({ seed, stream: "preference-development", indices: [index] }, 3);
      const [share] = uniform({ seed, stream: "preference-developed", indices: [index] }, 1);
      const { contrast, saturation, brightness } = developmentSpread;
      const development = share! < developedShare ? { contrast: Math.exp(contrast * a!), saturation: Math.exp(saturation * b!), brightness: brightness * c! } : undefined;
      return { prompt: caption, place, number, scene, drawn, steps: pick(stepChoices, draws[2]!), guidanceScale: pick(guidanceChoices, draws[3]!), development };
    }),
  );
}

/** A decided pair of two pictures of one prompt. */
export interface PreferencePair {
  /** Places in the picture list. */
  readonly a: number;
  readonly b: number;
  /** Probability that the annotator prefers the first, and the drawn choice: 1 the first, 0 the second. */
  readonly probability: number;
  readonly label: 0 | 1;
}

/** All pairs within each prompt, sides shuffled and labelled with noise; a pure function of (preferences, seed). */
export function labelPairs(preferences: readonly number[], seed: number): PreferencePair[] {
  const pairs: PreferencePair[] = [];
  for (let start = 0; start + picturesPerPrompt <= preferences.length; start += picturesPerPrompt) {
    for (let i = 0; i < picturesPerPrompt; i++) {
      for (let j = i + 1; j < picturesPerPrompt; j++) {
        const [side, draw] = uniform({ seed, stream: "preference-labels", indices: [pairs.length] }, 2);
        const [a, b] = side! < 0.5 ? [start + i, start + j] : [start + j, start + i];
        const probability = preferenceProbability(preferences[a]!, preferences[b]!);
        pairs.push({ a, b, probability, label: draw! < probability ? 1 : 0 });
      }
    }
  }
  return pairs;
}
