import { describe, expect, it } from "vitest";
import { drawScene } from "./draw-scene.ts";
import { isTrainingCombination } from "./held-out.ts";
import { isTrueOf, printCaption, type Scene } from "./scene.ts";
import { siblingScene } from "./sibling-scene.ts";

const scenes = Array.from({ length: 3000 }, (_, index) => drawScene("training", { seed: 5, stream: "test", index }));
const siblings = scenes.map((scene, index) => siblingScene(scene, { seed: 5, stream: "test", index }));

/** What of a scene differs from another. */
function differences(a: Scene, b: Scene): string[] {
  const isSame = (x: readonly string[], y: readonly string[]): boolean => x.join() === y.join();
  return [
    ...(isSame(a.objects, b.objects) ? [] : [isSame(a.objects, b.objects.toReversed()) ? "order" : "object"]),
    ...(isSame(a.background, b.background) ? [] : ["color"]),
    ...(a.size === b.size ? [] : ["size"]),
    ...(a.style === b.style ? [] : ["style"]),
  ];
}

describe("the sibling of a scene", () => {
  it("differs in one thing, each kind often, and neither's caption is true of the other", () => {
    const counts = new Map<string, number>();
    for (const [i, scene] of scenes.entries()) {
      const sibling = siblings[i]!;
      const [kind, ...more] = differences(scene, sibling);
      expect(more, printCaption(scene)).toEqual([]);
      counts.set(kind!, (counts.get(kind!) ?? 0) + 1);
      expect(isTrueOf(scene, sibling) || isTrueOf(sibling, scene), `${printCaption(scene)} | ${printCaption(sibling)}`).toBe(false);
    }
    for (const kind of ["object", "order", "color", "size", "style"]) expect(counts.get(kind) ?? 0, kind).toBeGreaterThan(150);
  });

  it("is a training scene with the two objects' and colours' rules kept", () => {
    for (const { objects, background, size } of siblings) {
      expect(isTrainingCombination(objects, background), `${objects.join()} on ${background.join()}`).toBe(true);
      expect(new Set(objects).size + new Set(background).size).toBe(objects.length + background.length);
      if (objects.length === 2) expect(size).toBe("normal");
    }
  });

  it("is the same each time and another for another address", () => {
    const again = scenes.map((scene, index) => siblingScene(scene, { seed: 5, stream: "test", index }));
    expect(again).toEqual(siblings);
    const others = scenes.map((scene, index) => siblingScene(scene, { seed: 6, stream: "test", index }));
    expect(others.filter((other, i) => printCaption(other) === printCaption(siblings[i]!)).length).toBeLessThan(scenes.length / 4);
  });
});
