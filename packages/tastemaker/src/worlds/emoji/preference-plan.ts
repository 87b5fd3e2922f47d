import { uniform } from "@tastemaker/tensor";
import { drawScene } from "./draw-scene.ts";
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
}

/** Pictures per prompt: each with each makes six pairs. */
export const picturesPerPrompt = 4;
/** Steps of the pictures: most are as good as the model can, some are poor, as in collections from several models. */
const stepChoices = [8, 8, 8, 4, 4, 2, 2, 1] as const;
const guidanceChoices = [1, 3, 3, 5, 7] as const;
/** Share of pictures that forget something of the prompt. The embedded model forgets little; without these, pairs would teach nothing of prompts. */
const forgetfulShare = 0.3;

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
      return { prompt: caption, place, number, scene, drawn, steps: pick(stepChoices, draws[2]!), guidanceScale: pick(guidanceChoices, draws[3]!) };
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

/** How sharply the annotator tells pictures apart: P(first) = σ(2·(preference of the first − of the second)). A fifth of the choices between two ordinary pictures then go against the better one. */
export const annotatorSharpness = 2;

/** All pairs within each prompt, sides shuffled and labelled with noise; a pure function of (preferences, seed). */
export function labelPairs(preferences: readonly number[], seed: number): PreferencePair[] {
  const pairs: PreferencePair[] = [];
  for (let start = 0; start + picturesPerPrompt <= preferences.length; start += picturesPerPrompt) {
    for (let i = 0; i < picturesPerPrompt; i++) {
      for (let j = i + 1; j < picturesPerPrompt; j++) {
        const [side, draw] = uniform({ seed, stream: "preference-labels", indices: [pairs.length] }, 2);
        const [a, b] = side! < 0.5 ? [start + i, start + j] : [start + j, start + i];
        const probability = 1 / (1 + Math.exp(-annotatorSharpness * (preferences[a]! - preferences[b]!)));
        pairs.push({ a, b, probability, label: draw! < probability ? 1 : 0 });
      }
    }
  }
  return pairs;
}
