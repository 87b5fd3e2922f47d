import { dirname, resolve } from "node:path";
import { type PixelStatistics, type Preprocessing, shorterSideCrop } from "@tastemaker/diffusion";
import { type Backend, concat, gradients, importOnnx, input, type OnnxModel, type OnnxPort, reshape, sizeOf, sliceAxis, sum, type Tensor, transpose, uniform, UsageError } from "@tastemaker/tensor";
import { z } from "zod";
import { type OnnxSetting, onnxSchema } from "../config/train-config.ts";
import { openNodeFile, openNodeFolder } from "../platform/node-files.ts";
import { modelReward } from "./model-reward.ts";
import type { Reward } from "./reward.ts";

/** Key of the file's metadata that holds what the file says of itself, as JSON. */
const metadataKey = "tastemaker.reward";

/** The settings of a configuration, and words for reports. */
const metadataSchema = z.strictObject({
  ...onnxSchema.shape,
  unit: z.string().min(1).max(200).default("points"),
  typicalRange: z.tuple([z.number(), z.number()]).readonly().default([0, 1]),
  source: z.string().max(1000).optional(),
  describe: z.string().max(1000).optional(),
});

/** Where pictures enter: side of the square and whether channels come last. */
interface PictureInput {
  readonly name: string;
  readonly size: number;
  /** Number of pictures that the file is for, or undefined for any. */
  readonly batch: number | undefined;
  readonly isChannelsLast: boolean;
}

const largestSide = 2048;

function describePort({ name, dtype, shape }: OnnxPort): string {
  return `${name.slice(0, 80)} ${dtype}[${shape?.join(", ") ?? "…"}]`;
}

/** The input that takes pictures, and the size it wants. @throws UsageError `onnx-reward` */
function pictureInput(name: string, path: string, ports: readonly OnnxPort[], setting: OnnxSetting): PictureInput {
  const fail = (expected: string, got: string, hint?: string): never => {
    throw new UsageError("onnx-reward", `reward ${name}: expected ${expected}, got ${got} (at ${path})`, hint);
  };
  const list = ports.map(describePort).join(", ");
  const [port] = ports;
  if (!port || ports.length > 1) return fail("a model with one input, the picture", port ? `${ports.length} inputs: ${list}` : "none", "export a model that scores pictures alone, with texts worked in");
  const { dtype, shape } = port;
  const isChannelsLast = shape?.[1] !== 3 && shape?.[3] === 3;
  if (dtype !== "float32" || shape?.length !== 4 || (!isChannelsLast && typeof shape[1] === "number" && shape[1] !== 3)) return fail("an input of float32[B, 3, H, W] or float32[B, H, W, 3]", list);
  const [batch] = shape;
  if (typeof batch === "number" && batch !== 1) return fail("a model for one picture or any number", `${batch} at a time`, "export it with a dynamic batch axis");
  const sides = (isChannelsLast ? [shape[1], shape[2]] : [shape[2], shape[3]]).map((side) => (typeof side === "number" ? side : undefined));
  const [height = setting.size, width = setting.size] = sides;
  if (height === undefined || width === undefined) return fail("a model with a fixed size, or a size to use", list, 'say it: "onnx": {"size": 224}');
  if (height !== width) return fail("square pictures", list);
  if (setting.size !== undefined && setting.size !== height) return fail(`size ${height}, which the model has`, String(setting.size));
  if (height > largestSide) return fail(`pictures of at most ${largestSide} pixels a side`, list);
  return { name: port.name, size: height, batch: typeof batch === "number" ? batch : undefined, isChannelsLast };
}

/** The output that is the score. @throws UsageError `onnx-reward` */
function scoreOutput(name: string, path: string, ports: readonly OnnxPort[], output: string | undefined): string {
  const names = ports.map((port) => port.name);
  const chosen = output ?? (names.length === 1 ? names[0] : undefined);
  if (chosen !== undefined && names.includes(chosen)) return chosen;
  const got = chosen === undefined ? `${names.length} outputs: ${ports.map(describePort).join(", ")}` : `"${chosen}", which is none of ${names.join(", ")}`;
  throw new UsageError("onnx-reward", `reward ${name}: expected one output, the score, got ${got} (at ${path})`, `choose one: "onnx": {"output": "${names[0]?.slice(0, 80)}"}`);
}

/** x → (x − mean)/std that the settings ask for; pictures have values in [0, 1]. */
function statisticsOf(name: string, path: string, { range, mean, std }: OnnxSetting): PixelStatistics {
  if (range !== undefined) {
    if (mean !== undefined || std !== undefined) throw new UsageError("onnx-reward", `reward ${name}: expected "range" or "mean" and "std", got both (at ${path})`);
    const [low, high] = range;
    if (!(low < high)) throw new UsageError("onnx-reward", `reward ${name}: expected a range [low, high], got [${range.join(", ")}] (at ${path})`);
    return { mean: [0, 1, 2].map(() => -low / (high - low)), std: [0, 1, 2].map(() => 1 / (high - low)) };
  }
  return { mean: mean ?? [0, 0, 0], std: std ?? [1, 1, 1] };
}

/** What the file says of itself, beneath what the configuration says. @throws UsageError `onnx-reward` */
function settingsOf(name: string, path: string, metadata: OnnxModel["metadata"], setting: OnnxSetting): z.infer<typeof metadataSchema> {
  const text = metadata.get(metadataKey);
  let json: unknown = {};
  try {
    if (text !== undefined) json = JSON.parse(text);
  } catch {
    throw new UsageError("onnx-reward", `reward ${name}: expected JSON under "${metadataKey}" in the file's metadata, got "${text?.slice(0, 60)}" (at ${path})`);
  }
  const parsed = metadataSchema.safeParse(json);
  if (!parsed.success) throw new UsageError("onnx-reward", `reward ${name}: expected {"size", "mean", "std", …} under "${metadataKey}" in the file's metadata, got ${z.prettifyError(parsed.error).replaceAll("\n", " ")} (at ${path})`, 'see "An ONNX file" in docs/rewards.md');
  const { mean, std, range, ...rest } = parsed.data;
  // One way of scaling replaces the other as a whole.
  const scaling = setting.range === undefined && setting.mean === undefined && setting.std === undefined ? { mean, std, range } : {};
  return { ...rest, ...scaling, ...setting };
}

/** The model's score of normalised pictures, `[B, 3, S, S]` → `[B]`. */
function scoreFunction(name: string, path: string, model: OnnxModel, picture: PictureInput, output: string, column: number | undefined): (pixelValues: Tensor) => Tensor {
  const some = (pixels: Tensor): Tensor => {
    const image = picture.isChannelsLast ? transpose(pixels, [0, 2, 3, 1]) : pixels;
    const score = model.build({ [picture.name]: image })[output]!;
    const [batch] = pixels.shape as [number];
    const width = sizeOf(score.shape) / batch;
    const isRow = score.shape.length <= 2 && (score.shape[0] === batch || (score.shape.length === 0 && batch === 1));
    const got = `${score.dtype}[${score.shape.join(", ")}] for ${batch} picture${batch === 1 ? "" : "s"}`;
    if (score.dtype !== "float32" || !isRow || (column === undefined ? width !== 1 : !(column < width))) {
      const expected = column === undefined ? "[B] or [B, 1], one number per picture" : `[B, N] with a column ${column}`;
      const hint = isRow && column === undefined && width > 1 ? `choose one of its ${width} numbers: "onnx": {"column": 0}` : undefined;
      throw new UsageError("onnx-reward", `reward ${name}: expected "${output.slice(0, 80)}" to be ${expected}, got ${got} (at ${path})`, hint);
    }
    return reshape(column === undefined ? score : sliceAxis(score, 1, column, column + 1), [batch]);
  };
  if (picture.batch === undefined) return some;
  // A file for one picture is written down once per picture.
  return (pixels) => concat(Array.from({ length: pixels.shape[0]! }, (_, row) => some(sliceAxis(pixels, 0, row, row + 1))), 0);
}

/** Whether the gradient of the score by the picture is more than a constant zero. */
function hasGradient(score: (pixelValues: Tensor) => Tensor, size: number): boolean {
  const pixels = input("pixels", [1, 3, size, size]);
  const [slope] = gradients(sum(score(pixels)), [pixels]) as [Tensor];
  return slope.node.operator.name !== "constant";
}

/** Two unlike pictures, always the same. */
const probes = (size: number): Uint8Array[] => [1, 2].map((seed) => Uint8Array.from(uniform({ seed, stream: "onnx-reward probe", indices: [] }, 3 * size * size), (u) => Math.floor(256 * u)));

/**
 * Opens an ONNX file that scores pictures. Its graph becomes part of our programs, so it is differentiated by us and nothing of it is executed as code.
 *
 * Input: `float32[B, 3, S, S]` (or channels last), RGB in [0, 1] unless `range` or `mean` and `std` say otherwise, shorter side resized to S and centre-cropped. Output: `[B]` or `[B, 1]`.
 * Settings come from the configuration, else from the file's metadata (`tastemaker.reward`, JSON).
 * @throws UsageError `onnx-reward` for a file that is no such function or does not depend on the picture, and what `importOnnx` gives reason to
 */
export async function openOnnxReward(name: string, location: string, backend: Backend, setting: OnnxSetting = {}): Promise<Reward> {
  const file = await openNodeFile(location);
  const path = file.name;
  // What lies beside a link lies beside the link, not beside what it points to.
  const folder = await openNodeFolder(dirname(resolve(location)));
  const external = new Set<string>();
  const openExternal = async (relative: string): ReturnType<typeof openNodeFile> => {
    const opened = await folder.open(relative);
    external.add(opened.name);
    return opened;
  };
  const model = await importOnnx(file, {
    openExternal,
    outputs: ({ outputs, metadata }) => [scoreOutput(name, path, outputs, settingsOf(name, path, metadata, setting).output)],
  });
  const { size, column, unit, typicalRange, source = path, describe = "An ONNX model of one's own.", ...scaling } = settingsOf(name, path, model.metadata, setting);
  const picture = pictureInput(name, path, model.inputs, size === undefined ? {} : { size });
  const statistics = statisticsOf(name, path, scaling);
  const score = scoreFunction(name, path, model, picture, model.outputs[0]!.name, column);
  if (!hasGradient(score, picture.size)) throw new UsageError("onnx-reward", `reward ${name}: expected a score that depends on the picture, got one whose gradient is 0 (at ${path})`, "its graph may round, compare or count, or not look at its input");

  const crop = shorterSideCrop(picture.size, "floor", statistics);
  const preprocessing: Preprocessing = { ...crop, describe: `${crop.describe}, (x − [${statistics.mean.join(", ")}])/[${statistics.std.join(", ")}]` };
  const reward = modelReward(
    { name, unit, typicalRange, source, needsText: false, describe, files: [path, ...external] },
    { preprocessing, textInputs: () => ({}), textsOf: () => Promise.resolve({}), score, dispose: () => Promise.resolve() },
    backend,
  );
  const scores = await reward.score(probes(picture.size).map((pixels) => ({ height: picture.size, width: picture.size, pixels })), ["", ""]);
  const got = scores.every(Number.isFinite) ? `${scores[0]} for two different ones` : `${scores.join(" and ")}`;
  if (!scores.every(Number.isFinite) || scores[0] === scores[1]) {
    await reward.dispose();
    throw new UsageError("onnx-reward", `reward ${name}: expected a finite score that depends on the picture, got ${got} (at ${path})`, 'check "range", "mean" and "std" against how the model was trained');
  }
  return reward;
}
