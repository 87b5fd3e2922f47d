import { describe, expect, it } from "vitest";
import { meanOf, standardErrorOf } from "../../report/paired-statistics.ts";
import { goldOpinion, offCentre } from "./gold-annotator.ts";
import { goldTaste } from "./gold-taste.ts";
import { develop, forgetOne, isHeldOutPlace, labelPairs, picturesPerPrompt, planPreferencePictures } from "./preference-plan.ts";
import { preferencePrompts } from "./preference-size.ts";
import { isTrainingCombination } from "./held-out.ts";
import { trainingPrompts } from "./prompts.ts";
import { parseCaption } from "./scene.ts";

const plane = 64 * 64;
/** A yellow disc at a place on blue, the blue brighter towards the bottom. */
function disc(cx: number, cy: number): Float32Array {
  const pixels = new Float32Array(3 * plane);
  for (let y = 0; y < 64; y++) {
    for (let x = 0; x < 64; x++) {
      const rgb = Math.hypot(x - cx, y - cy) < 12 ? [0.95, 0.85, 0.2] : [0.2, 0.3, 0.5 + y / 200];
      for (let c = 0; c < 3; c++) pixels[c * plane + y * 64 + x] = rgb[c]!;
    }
  }
  return pixels;
}

const scene = parseCaption("a lemon on a blue background, glossy style");
const sure = { left: 1, right: 1, top: 1, bottom: 1, style: 1, size: 1 };
const glossy = { probability: sure, styles: [0, 0, 1] };
const flat = { probability: sure, styles: [0, 1, 0] };

describe("the gold annotator", () => {
  it("finds the subject on a background that changes from top to bottom", () => {
    expect(offCentre(disc(31.5, 31.5))).toBeLessThan(0.01);
    expect(offCentre(disc(47.5, 31.5))).toBeCloseTo(0.5, 1);
    expect(offCentre(disc(31.5, 15.5))).toBeCloseTo(0.5, 1);
    expect(offCentre(new Float32Array(3 * plane).fill(0.4))).toBe(0);
  });

  it("likes glossy pictures and centred subjects, besides what the taste likes", () => {
    const [middle, aside] = [disc(31.5, 31.5), disc(47.5, 31.5)];
    expect(goldOpinion(middle, glossy, scene).appeal - goldOpinion(middle, flat, scene).appeal).toBeCloseTo(2, 10);
    expect(goldOpinion(middle, flat, scene).appeal).toBeGreaterThan(goldOpinion(aside, flat, scene).appeal + 1);
    expect(goldOpinion(middle, flat, scene).appeal).toBeCloseTo(2 * (goldTaste(middle, 1) + Math.exp(-((offCentre(middle) / 0.15) ** 2) / 2)), 10);
  });

  it("lets a picture of something else lose 6, of another style 2, and its appeal nothing", () => {
    const picture = disc(31.5, 31.5);
    const lossOf = (probability: Partial<typeof sure>, told = scene): number => {
      const [right, wrong] = [goldOpinion(picture, glossy, told), goldOpinion(picture, { ...glossy, probability: { ...sure, ...probability } }, told)];
      expect(right.appeal).toBe(wrong.appeal);
      expect(right.preference).toBe(right.appeal);
      return right.preference - wrong.preference;
    };
    expect(lossOf({ left: 0 })).toBeCloseTo(6, 10);
    expect(lossOf({ top: 0 })).toBeCloseTo(6, 10);
    expect(lossOf({ style: 0 })).toBeCloseTo(2, 10);
    // What is recognised is recognised.
    expect(lossOf({ left: 0.6, style: 0.5 })).toBe(0);
    expect(lossOf({ left: 0.25 })).toBeCloseTo(3, 10);
    // What the prompt leaves open cannot be wrong.
    expect(lossOf({ top: 0, bottom: 0, style: 0 }, parseCaption("a lemon"))).toBe(0);
  });
});

describe("the preference set", () => {
  const plan = planPreferencePictures(200, 3);

  it("plans four pictures of each training prompt, of which about a third forget something", () => {
    expect(plan).toHaveLength(200 * picturesPerPrompt);
    const forgetful = plan.filter(({ prompt, drawn }) => drawn !== prompt).length / plan.length;
    // A part of those that should forget would leave the training split, and is left as it was.
    expect(forgetful).toBeGreaterThan(0.15);
    expect(forgetful).toBeLessThan(0.35);
    expect(plan.slice(0, 40)).toEqual(planPreferencePictures(10, 3));
    for (const { drawn } of plan) {
      const { objects, background } = parseCaption(drawn);
      expect(isTrainingCombination(objects, background)).toBe(true);
    }
  });

  it("holds out prompts that are as long as the others, wherever the list ends", () => {
    const words = (isHeldOut: boolean): number[] => trainingPrompts(2000).flatMap(({ caption }, place) => (isHeldOutPlace(place) === isHeldOut ? [caption.split(" ").length] : []));
    const [heldOut, others] = [words(true), words(false)];
    expect(heldOut).toHaveLength(100);
    const error = standardErrorOf(heldOut);
    expect(Math.abs(meanOf(heldOut) - meanOf(others))).toBeLessThan(2.5 * error);
    // The last prompts are not: short captions are used up.
    const last = trainingPrompts(preferencePrompts).slice(-100).map(({ caption }) => caption.split(" ").length);
    expect(meanOf(last) - meanOf(others)).toBeGreaterThan(2.5 * error);
  });

  it("changes one thing, or keeps a scene whose change would be held out", () => {
    const told = parseCaption("a dog on a blue background, flat style");
    const other = parseCaption("a pizza on a white background, noto style");
    expect(forgetOne(told, other, 0.1).objects).toEqual(["pizza"]);
    expect(forgetOne(told, other, 0.5).background).toEqual(["white"]);
    expect(forgetOne(told, other, 0.8).style).toBe("noto");
    expect(forgetOne(told, other, 0.9)).toEqual(other);
  });

  it("develops more than half of them, each by its own contrast, saturation and brightness", () => {
    const developed = plan.flatMap(({ development }) => (development === undefined ? [] : [development]));
    expect(developed.length / plan.length).toBeCloseTo(0.6, 1);
    const picture = { width: 2, height: 1, pixels: Uint8Array.from([200, 100, 100, 60, 80, 60]) };
    expect(develop(picture, { contrast: 1, saturation: 1, brightness: 0 })).toEqual(picture);
    // Without saturation all channels are the luma, without contrast the picture is its mean.
    expect([...develop(picture, { contrast: 1, saturation: 0, brightness: 0 }).pixels]).toEqual([130, 130, 130, 72, 72, 72]);
    expect(new Set(develop(picture, { contrast: 0, saturation: 1, brightness: 0.1 }).pixels)).toEqual(new Set([126]));
    expect([...develop(picture, { contrast: 30, saturation: 0, brightness: 0 }).pixels]).toEqual([255, 255, 255, 0, 0, 0]);
  });

  it("decides pairs in Bradley–Terry proportion, with sides that tell nothing", () => {
    const preferences = Array.from({ length: 4000 }, (_, i) => (i % 4) * 0.6);
    const pairs = labelPairs(preferences, 1);
    expect(pairs).toHaveLength(6000);
    expect(pairs.filter(({ label }) => label === 1).length / pairs.length).toBeCloseTo(0.5, 1);
    const expected = pairs.reduce((sum, { probability }) => sum + Math.max(probability, 1 - probability), 0) / pairs.length;
    const right = pairs.filter(({ label, probability }) => (label === 1) === probability > 0.5).length / pairs.length;
    expect(Math.abs(right - expected)).toBeLessThan(0.02);
    for (const { a, b } of pairs) expect(Math.floor(a / 4)).toBe(Math.floor(b / 4));
  });
});
