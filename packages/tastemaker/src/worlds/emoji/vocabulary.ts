/** One thing the world can show: its word in captions and the name of its picture in the emoji packages. */
export interface WorldObject {
  /** The word, one lower-case English noun. */
  readonly word: string;
  /** Icon name, the same in all three picture packages (`worlds/emoji/README.md`). */
  readonly icon: string;
  /**
   * Backgrounds on which one of the styles nearly disappears; never drawn, never asked for. Measured on the sprites: over 45 % of the visible
   * pixels or over 60 % of the outline within 60 of the colour (Euclidean, 0..255). White is exempt: it is the default, and emoji are made for it.
   */
  readonly clashes: readonly string[];
}

function object(word: string, icon: string = word, clashes: string = ""): WorldObject {
  return { word, icon, clashes: clashes === "" ? [] : clashes.split(" ") };
}

/**
 * The 64 objects, chosen by looking at every candidate at 44 px in all three styles: dropped were look-alikes (tiger and cat, tomato
 * and apple, tulip and rose, broccoli and tree), thin shapes (bicycle, key, spoon) and things that differ too much between styles (bus stop, hat).
 * The order is part of the format: judge labels are indices into this list.
 */
export const objects: readonly WorldObject[] = [
  object("dog", "dog-face"),
  object("cat", "cat-face", "orange yellow"),
  object("fox", "fox", "orange"),
  object("panda"),
  object("frog", "frog", "green"),
  object("penguin", "penguin", "black"),
  object("fish", "tropical-fish", "yellow"),
  object("octopus", "octopus", "purple"),
  object("butterfly", "butterfly", "black"),
  object("owl"),
  object("bee", "honeybee"),
  object("ladybug", "lady-beetle", "red gray black"),
  object("turtle", "turtle", "green"),
  object("snail", "snail", "yellow pink"),
  object("pig", "pig-face", "pink"),
  object("koala"),
  object("rabbit", "rabbit-face", "pink"),
  object("crab", "crab", "red orange"),
  object("whale", "spouting-whale", "blue gray"),
  object("flamingo", "flamingo", "pink"),
  object("elephant"),
  object("spider", "spider", "gray black"),
  object("apple", "red-apple", "red"),
  object("banana", "banana", "yellow"),
  object("strawberry", "strawberry", "red"),
  object("watermelon", "watermelon", "red green"),
  object("pineapple", "pineapple", "orange yellow"),
  object("lemon", "lemon", "orange yellow"),
  object("grape", "grapes", "purple"),
  object("carrot", "carrot", "orange"),
  object("avocado", "avocado", "green"),
  object("burger", "hamburger", "orange"),
  object("pizza", "pizza", "orange yellow"),
  object("donut", "doughnut"),
  object("mushroom"),
  object("pumpkin", "jack-o-lantern", "orange"),
  object("eggplant", "eggplant", "purple"),
  object("rose", "rose", "red"),
  object("sunflower", "sunflower", "orange yellow"),
  object("cactus", "cactus", "green"),
  object("tree", "deciduous-tree", "green"),
  object("clover", "four-leaf-clover", "green"),
  object("car", "automobile", "red"),
  object("rocket"),
  object("bus"),
  object("plane", "airplane"),
  object("sailboat"),
  object("tractor"),
  object("house"),
  object("star", "star", "orange yellow"),
  object("rainbow"),
  object("heart", "red-heart", "red"),
  object("guitar", "guitar", "red"),
  object("umbrella", "umbrella", "purple"),
  object("balloon", "balloon", "red"),
  object("crown", "crown", "orange yellow"),
  object("fire", "fire", "orange"),
  object("bell", "bell", "orange yellow"),
  object("ball", "soccer-ball"),
  object("diamond", "gem-stone", "blue"),
  object("snowman", "snowman-without-snow"),
  object("robot", "robot", "gray"),
  object("globe", "globe-showing-americas"),
  object("gift", "wrapped-gift", "orange yellow"),
];

/** A drawing style: its word in captions and the package whose pictures show it. */
export interface WorldStyle {
  readonly word: string;
  /** npm package that holds the pictures. */
  readonly pack: string;
}

/** The three styles. The order is part of the format. */
export const styles: readonly WorldStyle[] = [
  { word: "noto", pack: "@iconify-json/noto" },
  { word: "flat", pack: "@iconify-json/twemoji" },
  { word: "glossy", pack: "@iconify-json/fluent-emoji" },
];

/** A background colour: its word and its sRGB value, 0..255. */
export interface WorldColor {
  readonly word: string;
  readonly rgb: readonly [number, number, number];
}

/** The ten background colours; a picture's own colour is within ±14 of these per channel (mostly lighter or darker, a little off in hue). The order is part of the format. */
export const colors: readonly WorldColor[] = [
  { word: "red", rgb: [204, 52, 52] },
  { word: "orange", rgb: [240, 140, 48] },
  { word: "yellow", rgb: [247, 218, 86] },
  { word: "green", rgb: [76, 160, 84] },
  { word: "blue", rgb: [58, 108, 206] },
  { word: "purple", rgb: [122, 76, 172] },
  { word: "pink", rgb: [246, 166, 196] },
  { word: "white", rgb: [241, 241, 241] },
  { word: "gray", rgb: [134, 134, 134] },
  { word: "black", rgb: [30, 30, 30] },
];

/** The colour behind a picture whose caption names none. */
export const unsaidColor = "white";

/** The three sizes of a single object; `normal` is never said. Pairs are always `normal`. The order is part of the format. */
export const sizes = ["small", "normal", "big"] as const;
export type SizeName = (typeof sizes)[number];

/** Every word of the grammar, each once: what the world's tokenizer must hold as one token. */
export function vocabularyWords(): string[] {
  const grammar = ["a", "an", "small", "big", "next", "to", "on", "background", ",", "style"];
  return [...grammar, ...[...objects, ...colors, ...styles].map(({ word }) => word)];
}
