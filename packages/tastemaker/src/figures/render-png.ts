import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { initWasm, Resvg } from "@resvg/resvg-wasm";
import { UsageError } from "@tastemaker/tensor";
import sharp from "sharp";

interface Renderer {
  /** Arimo regular and bold. */
  readonly fonts: Uint8Array[];
}

async function startRenderer(): Promise<Renderer> {
  const require = createRequire(import.meta.url);
  const read = (name: string): Promise<Uint8Array> => readFile(require.resolve(name));
  await initWasm(await read("@resvg/resvg-wasm/index_bg.wasm"));
  return { fonts: await Promise.all([read("@expo-google-fonts/arimo/400Regular/Arimo_400Regular.ttf"), read("@expo-google-fonts/arimo/700Bold/Arimo_700Bold.ttf")]) };
}

/** The module can be started once per process, whoever asks first. */
let renderer: Promise<Renderer> | undefined;

export interface RenderOptions {
  /** Pixels of the PNG per unit of the SVG; 2 unless told, which prints 7 inches at 192 dots per inch. */
  readonly scale?: number;
}

/**
 * An SVG as PNG. Text is set in Arimo, which comes with us, and nothing is read from the machine, so the result is the same everywhere.
 * @throws UsageError `bad-svg` for text that is no SVG
 */
export async function renderPng(svg: string, { scale = 2 }: RenderOptions = {}): Promise<Uint8Array> {
  const { fonts } = await (renderer ??= startRenderer());
  let drawing: InstanceType<typeof Resvg> | undefined;
  try {
    drawing = new Resvg(svg, { fitTo: { mode: "zoom", value: scale }, font: { fontBuffers: fonts, defaultFontFamily: "Arimo", sansSerifFamily: "Arimo" } });
    const picture = drawing.render();
    const png = picture.asPng();
    picture.free();
    // A third of the size: charts have few colours; photographs keep all of theirs.
    return await sharp(png).png(svg.includes("<image ") ? { compressionLevel: 9, adaptiveFiltering: true } : { palette: true, quality: 100, dither: 0 }).toBuffer();
  } catch (error) {
    throw new UsageError("bad-svg", `figure: expected an SVG document, got one that cannot be drawn (${error instanceof Error ? error.message : String(error)})`, "make the figure again");
  } finally {
    drawing?.free();
  }
}
