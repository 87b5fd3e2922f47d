import { UsageError } from "@tastemaker/tensor";
import { drawScene, type Split } from "./draw-scene.ts";
import { printCaption, type Scene } from "./scene.ts";

/** A caption and what a right picture of it shows. */
export interface WorldPrompt {
  readonly caption: string;
  readonly scene: Scene;
}

/** Changing this changes every prompt list and makes earlier results incomparable. */
const promptSeed = 20_250_306;

function distinctPrompts(split: Split, count: number): WorldPrompt[] {
  if (!Number.isInteger(count) || count < 0)
    throw new UsageError("prompt-count", `prompt list: expected a count ≥ 0, got ${count}`);
  const prompts = new Map<string, WorldPrompt>();
  const attempts = 100 * count + 1000;
  for (let index = 0; prompts.size < count; index++) {
    if (index === attempts)
      throw new UsageError(
        "prompt-count",
        `prompt list: expected a count the grammar can fill, got ${count} (found ${prompts.size} different captions)`,
        "ask for fewer prompts",
      );
    const scene = drawScene(split, { seed: promptSeed, stream: "prompts", index });
    const caption = printCaption(scene);
    if (!prompts.has(caption)) prompts.set(caption, { caption, scene });
  }
  return [...prompts.values()];
}

/** `count` different captions of combinations that pretraining has seen: what reward fine-tuning trains on. A longer list starts with the shorter one. */
export function trainingPrompts(count: number = 512): WorldPrompt[] {
  return distinctPrompts("training", count);
}

/**
 * `count` different captions that no training has seen: single objects on held-out colours (70 %, all sizes and styles) and held-out
 * pairs (30 %). A longer list starts with the shorter one.
 */
export function heldOutPrompts(count: number = 512): WorldPrompt[] {
  return distinctPrompts("held-out", count);
}
