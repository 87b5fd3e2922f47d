import { existsSync } from "node:fs";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { UsageError } from "@tastemaker/tensor";
import sharp from "sharp";
import { objects, styles } from "./vocabulary.ts";

/** Longest side of a stored sprite, px; twice the largest size drawn. */
const storedSize = 128;
const magic = "tastemaker-sprites-1";

/** A cut-out picture: colour multiplied by alpha, so that resizing and compositing leave no halos. */
export interface Sprite {
  readonly width: number;
  readonly height: number;
  /** [height, width, 4], premultiplied RGBA, 0..255. */
  readonly rgba: Uint8Array;
}

/** All sprites, trimmed to their visible pixels, longest side 128 px. */
export interface SpriteAtlas {
  /** @throws UsageError for a name that is not in `vocabulary.ts`. */
  sprite(object: string, style: string): Sprite;
}

interface IconSet {
  readonly icons: Record<string, Icon>;
  readonly aliases?: Record<string, { readonly parent: string }>;
  readonly width?: number;
  readonly height?: number;
}
interface Icon {
  readonly body: string;
  readonly width?: number;
  readonly height?: number;
}

/** True when the picture packages are installed under `worldDirectory` (normally `worlds/emoji`). */
export function hasPicturePackages(worldDirectory: string): boolean {
  return styles.every(({ pack }) =>
    existsSync(join(worldDirectory, "node_modules", pack, "icons.json")),
  );
}

function iconSvg(set: IconSet, name: string, pack: string): string {
  const icon = set.icons[name] ?? set.icons[set.aliases?.[name]?.parent ?? ""];
  if (icon === undefined)
    throw new UsageError(
      "picture-missing",
      `picture "${name}": expected in ${pack}, got none`,
      "install the versions in worlds/emoji/package-lock.json",
    );
  const width = icon.width ?? set.width ?? 16;
  const height = icon.height ?? set.height ?? 16;
  return `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 ${width} ${height}" width="512" height="512">${icon.body}</svg>`;
}

/** Draws one icon, trims what is invisible, and shrinks it to the stored size. */
async function rasterise(svg: string): Promise<Sprite> {
  const { data, info } = await sharp(Buffer.from(svg))
    .ensureAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  let [left, right, top, bottom] = [info.width, -1, info.height, -1];
  for (let y = 0; y < info.height; y++) {
    for (let x = 0; x < info.width; x++) {
      if (data[4 * (y * info.width + x) + 3]! < 16) continue;
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = Math.max(bottom, y);
    }
  }
  const [cutWidth, cutHeight] = [right - left + 1, bottom - top + 1];
  const scale = storedSize / Math.max(cutWidth, cutHeight);
  const [width, height] = [
    Math.max(1, Math.round(cutWidth * scale)),
    Math.max(1, Math.round(cutHeight * scale)),
  ];
  // sharp premultiplies before resizing and undoes it afterwards by itself.
  const straight = await sharp(data, {
    raw: { width: info.width, height: info.height, channels: 4 },
  })
    .extract({ left, top, width: cutWidth, height: cutHeight })
    .resize(width, height, { fit: "fill" })
    .raw()
    .toBuffer();
  const rgba = new Uint8Array(straight.length);
  for (let i = 0; i < straight.length; i += 4) {
    const alpha = straight[i + 3]!;
    for (let c = 0; c < 3; c++) rgba[i + c] = Math.round((straight[i + c]! * alpha) / 255);
    rgba[i + 3] = alpha;
  }
  return { width, height, rgba };
}

/** Format: magic, newline, JSON header {spriteKey: [offset, width, height]}, newline, pixels. */
function encode(sprites: ReadonlyMap<string, Sprite>): Buffer {
  const header: Record<string, [number, number, number]> = {};
  let offset = 0;
  for (const [key, { width, height, rgba }] of sprites) {
    header[key] = [offset, width, height];
    offset += rgba.length;
  }
  return Buffer.concat([
    Buffer.from(`${magic}\n${JSON.stringify(header)}\n`),
    ...Array.from(sprites.values(), ({ rgba }) => rgba),
  ]);
}

const allKeys = (): string[] =>
  styles.flatMap((style) => objects.map(({ word }) => `${style.word}/${word}`));

/** The atlas in `bytes`, or undefined when it is of another version or other objects. */
function decode(bytes: Buffer): SpriteAtlas | undefined {
  const first = bytes.indexOf("\n");
  if (bytes.toString("latin1", 0, Math.max(first, 0)) !== magic) return undefined;
  const second = bytes.indexOf("\n", first + 1);
  const header = JSON.parse(bytes.toString("utf8", first + 1, second)) as Record<
    string,
    [number, number, number]
  >;
  const sprites = new Map<string, Sprite>();
  for (const [key, [offset, width, height]] of Object.entries(header)) {
    const start = second + 1 + offset;
    if (start + 4 * width * height > bytes.length) return undefined;
    sprites.set(key, { width, height, rgba: bytes.subarray(start, start + 4 * width * height) });
  }
  if (allKeys().some((key) => !sprites.has(key)) || sprites.size !== allKeys().length)
    return undefined;
  return {
    sprite(object, style) {
      const sprite = sprites.get(`${style}/${object}`);
      if (sprite === undefined)
        throw new UsageError(
          "unknown-name",
          `sprite: expected an object and style of the emoji world, got "${object}" in "${style}"`,
        );
      return sprite;
    },
  };
}

/**
 * Loads the sprites from `<worldDirectory>/build/sprites.bin`, making that file from the picture packages when it is absent or outdated
 * (about 4 s; afterwards 10 ms).
 *
 * @throws UsageError `pictures-not-installed` when the file has to be made and the packages are not there.
 */
export async function loadSprites(worldDirectory: string): Promise<SpriteAtlas> {
  const file = join(worldDirectory, "build", "sprites.bin");
  if (existsSync(file)) {
    const atlas = decode(await readFile(file));
    if (atlas !== undefined) return atlas;
  }
  if (!hasPicturePackages(worldDirectory)) {
    throw new UsageError(
      "pictures-not-installed",
      `emoji pictures: expected the packages of ${join(worldDirectory, "package.json")} to be installed, got none`,
      `run: npm ci --prefix ${worldDirectory}`,
    );
  }
  const sprites = new Map<string, Sprite>();
  for (const style of styles) {
    const path = join(worldDirectory, "node_modules", style.pack, "icons.json");
    const set = JSON.parse(await readFile(path, "utf8")) as IconSet;
    for (const { word, icon } of objects)
      sprites.set(`${style.word}/${word}`, await rasterise(iconSvg(set, icon, style.pack)));
  }
  const bytes = encode(sprites);
  await mkdir(dirname(file), { recursive: true });
  // Several workers may get here at once: each writes its own file, the rename is atomic, the contents are equal.
  const temporary = `${file}.${process.pid}`;
  await writeFile(temporary, bytes);
  await rename(temporary, file);
  return decode(bytes)!;
}
