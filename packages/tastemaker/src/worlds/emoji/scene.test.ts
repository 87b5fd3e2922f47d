import { UsageError } from "@tastemaker/tensor";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { clipWords } from "../../data/clip-bpe.ts";
import { drawScene, heldOutPairs, heldOutSingles } from "./draw-scene.ts";
import {
  isBackgroundHeldOut,
  isClash,
  isPairHeldOut,
  isTrainingCombination,
  trainingColors,
} from "./held-out.ts";
import { heldOutPrompts, trainingPrompts } from "./prompts.ts";
import { parseCaption, printCaption, type Scene } from "./scene.ts";
import { worldContextLength } from "./tokenizer.ts";
import { colors, objects, sizes, styles, vocabularyWords } from "./vocabulary.ts";

const words = objects.map(({ word }) => word);
const colorWords = colors.map(({ word }) => word);
const anyScene: fc.Arbitrary<Scene> = fc
  .record({
    shown: fc.shuffledSubarray(words, { minLength: 1, maxLength: 2 }),
    size: fc.constantFrom(...sizes),
    background: fc.shuffledSubarray(colorWords, { minLength: 1, maxLength: 2 }),
    style: fc.constantFrom(...styles.map(({ word }) => word)),
    saysBackground: fc.boolean(),
    saysStyle: fc.boolean(),
  })
  .map(({ shown, size, background, style, saysBackground, saysStyle }) => ({
    objects: shown,
    size: shown.length === 2 ? "normal" : size,
    background: saysBackground ? background : ["white"],
    style: saysStyle ? style : styles[0]!.word,
    said: { background: saysBackground, style: saysStyle },
  }));

describe("captions of the emoji world", () => {
  it("come back as the same scene when printed and parsed", () => {
    fc.assert(
      fc.property(anyScene, (scene) => {
        expect(parseCaption(printCaption(scene))).toEqual(scene);
      }),
      { numRuns: 500, seed: 1 },
    );
  });

  it("fit the text encoder's context", () => {
    fc.assert(
      fc.property(
        anyScene,
        (scene) => clipWords(printCaption(scene)).length + 2 <= worldContextLength,
      ),
      { numRuns: 500, seed: 1 },
    );
  });

  it("read as English", () => {
    expect(
      printCaption(
        parseCaption("A  owl next to a APPLE on a orange to pink background,flat style"),
      ),
    ).toBe("an owl next to an apple on an orange to pink background, flat style");
  });

  it.each([
    ["a small dgo", /did you mean "dog"/],
    ["a cat next to a cat", /two different objects/],
    ["a small cat next to a dog", /no size word for a pair/],
    ["a cat on a red to red background", /two different colours/],
    ["a cat on a red", /expected "background", got the end/],
    ["a cat please", /expected the end, got "please" \(at word 3\)/],
    ["", /expected "a" or "an"/],
  ])("are refused when they leave the grammar: %s", (caption, message) => {
    expect(() => parseCaption(caption)).toThrow(UsageError);
    expect(() => parseCaption(caption)).toThrow(message);
  });

  it("use words that are all different, lower-case and single", () => {
    const all = vocabularyWords();
    expect(new Set(all).size).toBe(all.length);
    for (const word of all) expect(clipWords(word)).toEqual([word]);
    expect(objects).toHaveLength(64);
  });
});

describe("held-out combinations", () => {
  it("never appear in training scenes, and always in held-out ones", () => {
    for (let index = 0; index < 4000; index++) {
      const training = drawScene("training", { seed: 1, stream: "test", index });
      expect(isTrainingCombination(training.objects, training.background)).toBe(true);
      const heldOut = drawScene("held-out", { seed: 1, stream: "test", index });
      const [a, b] = heldOut.objects;
      expect(
        b === undefined ? isBackgroundHeldOut(a!, heldOut.background[0]!) : isPairHeldOut(a!, b),
      ).toBe(true);
      for (const object of heldOut.objects)
        expect(heldOut.background.some((color) => isClash(object, color))).toBe(false);
    }
  });

  it("are the same in either order and leave every object white and at least three more colours", () => {
    expect(isPairHeldOut("cat", "dog")).toBe(isPairHeldOut("dog", "cat"));
    for (const word of words) {
      expect(trainingColors([word])).toContain("white");
      expect(trainingColors([word]).length).toBeGreaterThanOrEqual(4);
    }
  });

  it("are about one colour in twelve and one pair in ten", () => {
    expect(heldOutSingles().length).toBeGreaterThan(35);
    expect(heldOutSingles().length).toBeLessThan(60);
    expect(heldOutPairs().length).toBeGreaterThan(160);
    expect(heldOutPairs().length).toBeLessThan(240);
  });

  it("come in prompt lists without repetition, apart from the training prompts, in all styles and sizes", () => {
    const heldOut = heldOutPrompts(600);
    const training = trainingPrompts(1000);
    const captions = new Set(heldOut.map(({ caption }) => caption));
    expect(captions.size).toBe(600);
    expect(training.filter(({ caption }) => captions.has(caption))).toEqual([]);
    for (const { word } of styles)
      expect(
        heldOut.filter(({ scene }) => scene.said.style && scene.style === word).length,
      ).toBeGreaterThan(80);
    for (const size of sizes)
      expect(heldOut.filter(({ scene }) => scene.size === size).length).toBeGreaterThan(50);
    expect(heldOut.filter(({ scene }) => scene.objects.length === 2).length).toBeGreaterThan(120);
    expect(heldOutPrompts(20)).toEqual(heldOut.slice(0, 20));
  });

  it("refuse a prompt list longer than the grammar", () => {
    expect(() => heldOutPrompts(-1)).toThrow(UsageError);
  });
});

describe("the mix of training scenes", () => {
  it("has the documented shares", () => {
    const scenes = Array.from({ length: 5000 }, (_, index) =>
      drawScene("training", { seed: 2, stream: "test", index }),
    );
    const share = (is: (scene: Scene) => boolean): number =>
      scenes.filter(is).length / scenes.length;
    expect(share(({ objects: shown }) => shown.length === 2)).toBeCloseTo(0.3, 1);
    expect(share(({ said }) => said.style)).toBeCloseTo(0.7, 1);
    expect(share(({ said }) => !said.background)).toBeCloseTo(0.08, 1);
    expect(share(({ background }) => background.length === 2)).toBeCloseTo(0.14, 1);
  });
});
