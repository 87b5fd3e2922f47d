import { existsSync } from "node:fs";
import { basename, join } from "node:path";

import { asJsonObject, checkTokenIds, loadCheckpoint, parseJson, readTensorFloat64 } from "@tastemaker/diffusion";
import { type DType, type HostTensor, nearestName, type Shape, UsageError } from "@tastemaker/tensor";
import { z } from "zod";

import { openNodeFile } from "../platform/node-files.ts";

const toleranceSchema = z.object({ relative: z.number(), absolute: z.number() });

/** The fields that every kind of case has; a kind reads its own from `fields`. */
const caseSchema = z.looseObject({
  format: z.literal(1),
  name: z.string(),
  kind: z.string(),
  model: z.string().optional(),
  tolerance: z.record(z.string(), toleranceSchema).default({}),
});

/** How far a tensor may be from its expected values: max|p − e| ≤ relative·max|e| + absolute. */
export type Tolerance = z.infer<typeof toleranceSchema>;

/** Values read from a file or computed by a replay; always float64 on this side. */
export interface CaseTensor {
  readonly shape: Shape;
  readonly data: Float64Array;
  readonly dtype: DType;
}

/** A reference case: a directory with `case.json`, `inputs.safetensors` and usually `expected.safetensors`. */
export interface CaseFile {
  readonly directory: string;
  readonly name: string;
  readonly kind: string;
  /** Path of the model (a diffusers directory or a single-file checkpoint); undefined for kinds without one. */
  readonly model: string | undefined;
  /** By tensor name, or by group: a name ending in `*`. */
  readonly tolerance: Readonly<Record<string, Tolerance>>;
  /** All fields of `case.json`, to be read by the kind's own schema. */
  readonly fields: Readonly<Record<string, unknown>>;
  readonly inputs: ReadonlyMap<string, CaseTensor>;
}

/** All tensors of a safetensors file as float64; whole numbers are marked int32. */
export async function readCaseTensors(path: string): Promise<Map<string, CaseTensor>> {
  const checkpoint = await loadCheckpoint([await openNodeFile(path)]);
  const tensors = new Map<string, CaseTensor>();
  for (const key of checkpoint.keys()) {
    const { file, entry } = checkpoint.entry(key);
    const dtype = entry.dtype.startsWith("I") || entry.dtype.startsWith("U") ? "int32" : "float32";
    tensors.set(key, { shape: entry.shape, data: await readTensorFloat64(file, entry), dtype });
  }
  return tensors;
}

/** What reward cases are judged by where they say nothing: scores 1e-4, gradients 1e-3 of the largest entry; token ids exactly. */
const rewardTolerance: Readonly<Record<string, Tolerance>> = {
  "*": { relative: 1e-4, absolute: 1e-6 },
  "grad_*": { relative: 1e-3, absolute: 0 },
  "float.grad_*": { relative: 1e-3, absolute: 0 },
  "itm_grad_*": { relative: 1e-3, absolute: 0 },
};

/** The fields of `case.json`, or of the `config.json` of a reward's case. */
async function readFields(directory: string): Promise<{ readonly fields: z.infer<typeof caseSchema>; readonly hasInputs: boolean }> {
  const own = join(directory, "case.json");
  const reward = join(directory, "config.json");
  const isReward = !existsSync(own) && existsSync(reward);
  const file = await openNodeFile(isReward ? reward : own);
  const json = parseJson(new TextDecoder().decode(await file.read(0, file.sizeBytes)), file.name);
  const parsed = caseSchema.safeParse(isReward ? { format: 1, name: basename(directory), tolerance: rewardTolerance, ...asJsonObject(json, file.name) } : json);
  if (!parsed.success) throw new UsageError("case-invalid", `case: expected the fields of a reference case, got ${describeIssues(parsed.error)} (at ${file.name})`);
  return { fields: parsed.data, hasInputs: !isReward || existsSync(join(directory, "inputs.safetensors")) };
}

/**
 * Reads `case.json` (for a reward: `config.json`) and the inputs of a case.
 *
 * @throws UsageError `case-invalid` when it lacks a field, or the file reader's errors.
 */
export async function readCase(directory: string): Promise<CaseFile> {
  const { fields, hasInputs } = await readFields(directory);
  const { name, kind, model, tolerance } = fields;
  const inputs = hasInputs ? await readCaseTensors(join(directory, "inputs.safetensors")) : new Map<string, CaseTensor>();
  for (const [tensor, { data }] of inputs) {
    const bad = data.findIndex((value) => !Number.isFinite(value));
    if (bad >= 0) throw new UsageError("case-input", `case: expected finite numbers, got ${data[bad]} in element ${bad} of "${tensor}" (at ${directory}/inputs.safetensors)`);
  }
  return { directory, name, kind, model: model === undefined ? undefined : join(directory, model), tolerance, fields, inputs };
}

/** A value that a replay computed. */
export type ReplayedTensor = Pick<HostTensor, "shape" | "data">;

/**
 * The fields of `case.json` that a kind needs.
 *
 * @throws UsageError `case-invalid` naming the field.
 */
export function fieldsOf<Schema extends z.ZodObject>(kase: CaseFile, schema: Schema): z.infer<Schema> {
  const parsed = schema.safeParse(kase.fields);
  if (!parsed.success) throw caseError(kase, `the fields of kind "${kase.kind}"`, describeIssues(parsed.error));
  // Further fields are notes of whoever wrote the case, unless they look like a slip of the pen.
  const known = [...Object.keys(caseSchema.shape), ...Object.keys(schema.shape)];
  for (const field of Object.keys(kase.fields)) {
    const meant = known.includes(field) ? undefined : nearestName(field, known, field.length > 5 ? 2 : 1);
    if (meant !== undefined) throw caseError(kase, `known fields of kind "${kase.kind}"`, `"${field}"; did you mean "${meant}"?`);
  }
  return parsed.data;
}

/** What is wrong with some fields, in one line. */
function describeIssues(error: z.ZodError): string {
  return error.issues.map(({ message, path }) => `${message.charAt(0).toLowerCase()}${message.slice(1)} at ${path.join(".") || "the top"}`).join("; ");
}

/** An error about the content of a case. */
export function caseError({ directory }: Pick<CaseFile, "directory">, expected: string, got: string): UsageError {
  return new UsageError("case-invalid", `case: expected ${expected}, got ${got} (at ${directory})`);
}

/**
 * An input of a case with its shape checked: numbers must be equal, names are free.
 *
 * @throws UsageError `case-input` when it is missing or has another shape.
 */
export function inputOf(kase: CaseFile, name: string, shape: readonly (number | string)[]): CaseTensor {
  const found = kase.inputs.get(name);
  const wanted = `an input "${name}" of shape [${shape.join(", ")}]`;
  if (found === undefined) throw new UsageError("case-input", `case: expected ${wanted}, got ${[...kase.inputs.keys()].join(", ") || "no inputs"} (at ${kase.directory}/inputs.safetensors)`);
  const fits = found.shape.length === shape.length && shape.every((size, axis) => (typeof size === "number" ? found.shape[axis] === size : found.shape[axis]! > 0));
  if (!fits) throw new UsageError("case-input", `case: expected ${wanted}, got [${found.shape.join(", ")}] (at ${kase.directory}/inputs.safetensors)`);
  return found;
}

/**
 * Token ids of a case, `[B, L]`, all inside the vocabulary.
 *
 * @throws UsageError `case-input`, `token-id`
 */
export function tokenIdsOf(kase: CaseFile, name: string, shape: readonly (number | string)[], vocabulary: number): CaseTensor {
  const ids = inputOf(kase, name, shape);
  const where = `${name} in ${kase.directory}/inputs.safetensors`;
  if (ids.dtype !== "int32") throw new UsageError("case-input", `case: expected whole numbers (I32 or I64), got real ones (at ${where})`);
  checkTokenIds(ids.data, vocabulary, where);
  return ids;
}

/** A value to feed to a program: integers as int32, the rest in float64, which a float32 backend rounds. */
export function feed({ shape, data, dtype }: CaseTensor): HostTensor {
  return { shape, dtype, data: dtype === "int32" ? Int32Array.from(data) : data };
}
