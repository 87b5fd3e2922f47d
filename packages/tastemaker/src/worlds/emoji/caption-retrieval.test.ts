import { describe, expect, it } from "vitest";
import { scoreRetrieval } from "./caption-retrieval.ts";
import { isTrueOf, parseCaption } from "./scene.ts";

const prompt = (caption: string): { caption: string; scene: ReturnType<typeof parseCaption> } => ({ caption, scene: parseCaption(caption) });

describe("captions of pictures", () => {
  it.each([
    ["a cat on a blue background", "a cat on a blue background, flat style", true],
    ["a cat on a blue background, noto style", "a cat on a blue background, flat style", false],
    ["a cat", "a cat on a white background", true],
    ["a small cat", "a cat", false],
    ["a cat next to a dog", "a dog next to a cat", false],
    ["a cat on a blue to red background", "a cat on a blue background", false],
  ])("%s: true of %s? %s", (told, shown, expected) => {
    expect(isTrueOf(parseCaption(told), parseCaption(shown))).toBe(expected);
  });

  it("are counted as found exactly, found truly, and as far as anybody could tell", () => {
    const captions = ["a cat, flat style", "a cat", "a dog", "a fox"].map(prompt);
    // The second picture is a cat in flat style whose caption does not say so.
    const shown = ["a cat, flat style", "a cat, flat style", "a dog, noto style", "a fox, noto style"].map(parseCaption);
    const scores = [
      [0.9, 0.8, 0, 0],
      [0.9, 0.8, 0, 0],
      [0.5, 0.1, 0.4, 0],
      [0, 0, 0.1, 0.2],
    ];
    expect(scoreRetrieval(scores.flat(), captions, shown)).toEqual({ exact: 0.5, isTrue: 0.75, exactCeiling: 0.75, count: 4 });
  });
});
