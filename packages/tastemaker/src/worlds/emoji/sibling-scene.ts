import { InternalError, permutation, uniform } from "@tastemaker/tensor";
import { isTrainingCombination, trainingColors } from "./held-out.ts";
import type { Scene } from "./scene.ts";
import { objects, sizes, styles, type SizeName } from "./vocabulary.ts";

/** Picks with a draw in [0, 1); undefined from nothing. */
function pick<T>(list: readonly T[], draw: number): T | undefined {
  return list[Math.floor(draw * list.length)];
}

/** One thing changed about a scene, by draws in [0, 1); undefined where it cannot be. */
type Change = (scene: Scene, draws: ArrayLike<number>) => Scene | undefined;

const changeObject: Change = (scene, draws) => {
  const side = Math.floor(draws[0]! * scene.objects.length);
  const shownWith = (word: string): string[] => scene.objects.with(side, word);
  const others = objects.map(({ word }) => word).filter((word) => !scene.objects.includes(word) && isTrainingCombination(shownWith(word), scene.background));
  const word = pick(others, draws[1]!);
  return word === undefined ? undefined : { ...scene, objects: shownWith(word) };
};

const swapObjects: Change = (scene) => (scene.objects.length === 2 ? { ...scene, objects: scene.objects.toReversed() } : undefined);

const changeColor: Change = (scene, draws) => {
  const at = Math.floor(draws[0]! * scene.background.length);
  const color = pick(trainingColors(scene.objects).filter((word) => !scene.background.includes(word)), draws[1]!);
  return color === undefined ? undefined : { ...scene, background: scene.background.with(at, color), said: { ...scene.said, background: true } };
};

const changeSize: Change = (scene, draws) => {
  if (scene.objects.length === 2) return undefined;
  return { ...scene, size: pick(sizes.filter((size) => size !== scene.size), draws[0]!) as SizeName };
};

/** Only where the caption says the style: otherwise it would stay true. */
const changeStyle: Change = (scene, draws) => {
  if (!scene.said.style) return undefined;
  return { ...scene, style: pick(styles.map(({ word }) => word).filter((word) => word !== scene.style), draws[0]!)! };
};

const changes: readonly Change[] = [changeObject, swapObjects, changeColor, changeSize, changeStyle];

/**
 * A scene that differs from a training scene in one thing that captions say (an object, the order of two, a colour, the size, the style), so that neither's caption is true of the
 * other. It is a training scene too. A pure function of the scene and the address.
 */
export function siblingScene(scene: Scene, address: { readonly seed: number | bigint; readonly stream: string; readonly index: number }): Scene {
  const at = { seed: address.seed, stream: `emoji-sibling/${address.stream}` };
  const draws = uniform({ ...at, indices: [address.index] }, 2);
  for (const i of permutation({ ...at, indices: [address.index, 1] }, changes.length)) {
    const sibling = changes[i]!(scene, draws);
    if (sibling !== undefined) return sibling;
  }
  throw new InternalError("sibling of a scene: expected a change that fits, got none");
}
