import { realpathSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { type Picture, planarOf } from "@tastemaker/diffusion";
import * as ops from "@tastemaker/tensor";
import { type Backend, type Executable, type HostData, type InputSpec, nearestName, Tensor, trace, UsageError } from "@tastemaker/tensor";
import { z } from "zod";
import { checkScores } from "./check-scores.ts";
import type { DifferentiableScore, Reward } from "./reward.ts";
import type { RewardModule } from "./reward-module.ts";

const isFunction = (value: unknown): boolean => typeof value === "function";

const moduleSchema = z.strictObject({
  trace: z.custom<NonNullable<RewardModule["trace"]>>(isFunction, "expected a function (image, { ops, inputs }) => Tensor").optional(),
  prompt: z
    .strictObject({
      inputs: z.record(z.string().regex(/^[A-Za-z]\w{0,63}$/, "expected names of letters, digits and _"), z.array(z.int().min(1)).max(4)),
      values: z.custom<NonNullable<RewardModule["prompt"]>["values"]>(isFunction, "expected a function (prompt) => numbers"),
    })
    .optional(),
  score: z.custom<NonNullable<RewardModule["score"]>>(isFunction, "expected a function (pictures, prompts) => numbers").optional(),
  unit: z.string().min(1).max(200).default("points"),
  typicalRange: z.tuple([z.number(), z.number()]).readonly().default([0, 1]),
  source: z.string().max(1000).optional(),
  describe: z.string().max(1000).optional(),
  files: z.array(z.string().min(1)).default([]),
});

/** A module's export, checked, with its defaults. */
type CheckedModule = z.infer<typeof moduleSchema>;

/** Says in one line why a module could not be loaded. */
export function moduleLoadError(name: string, path: string, error: unknown): UsageError {
  const fail = (got: string, cure?: string): UsageError => {
    const made = new UsageError("reward-module", `reward ${name}: expected a module that loads, got ${got} (at ${path})`, cure);
    made.cause = error;
    return made;
  };
  const { code, message } = error instanceof Error ? (error as Error & { code?: string }) : { code: undefined, message: String(error) };
  if (code === "ERR_UNKNOWN_FILE_EXTENSION" && /\.m?ts$/.test(path)) {
    return fail(
      `TypeScript, which Node ${process.versions.node} cannot read`,
      "use Node 22.18 or newer; or install tsx (npm install tsx) and set NODE_OPTIONS=--import=tsx; or write the module as .mjs",
    );
  }
  if (code === "ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX") return fail(message, "Node only strips types: avoid enum, namespace and parameter properties");
  return fail(`${error instanceof Error ? error.name : "an error"}: ${message.split("\n", 1)[0]}`);
}

async function loadModule(name: string, path: string): Promise<CheckedModule> {
  const loaded = (await import(/* @vite-ignore */ pathToFileURL(path).href).catch((error: unknown) => {
    throw moduleLoadError(name, path, error);
  })) as { readonly default?: unknown };
  const fail = (expected: string, got: string, cure = 'see "A module" in docs/rewards.md'): never => {
    throw new UsageError("reward-module", `reward ${name}: expected ${expected}, got ${got} (at ${path})`, cure);
  };
  const found = loaded.default;
  if (typeof found !== "object" || found === null) return fail("a reward as the module's default export", found === undefined ? "none" : `a ${typeof found}`, "export default { trace: (image, { ops }) => … }");
  const parsed = moduleSchema.safeParse(found);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    if (issue?.code === "unrecognized_keys") {
      const known = Object.keys(moduleSchema.shape);
      const nearest = nearestName(issue.keys[0]!, known);
      return fail(`one of ${known.join(", ")}`, `"${issue.keys[0]}"`, nearest === undefined ? undefined : `did you mean "${nearest}"?`);
    }
    return fail("a reward as the module's default export", `${issue?.path.join(".")}: ${issue?.message}`);
  }
  const { trace, score, prompt, typicalRange } = parsed.data;
  if (trace === undefined && score === undefined) return fail('"trace" (can be trained on by gradient) or "score" (numbers)', "neither");
  if (prompt !== undefined && trace === undefined) return fail('"trace" beside "prompt"', "none", '"score" is given the prompts themselves');
  if (typicalRange[0] >= typicalRange[1]) return fail("a typicalRange [low, high]", `[${typicalRange.join(", ")}]`);
  return parsed.data;
}

/** What a person's code threw is theirs, so it is told without our stack but with their line. */
function moduleFailure(name: string, path: string, part: string, error: unknown): UsageError {
  const stack = error instanceof Error ? (error.stack ?? "") : "";
  const place = stack.split("\n").find((line) => line.includes(path) || line.includes(pathToFileURL(path).pathname));
  const line = /:(\d+):\d+\)?$/.exec(place ?? "")?.[1];
  const made = new UsageError("reward-module", `reward ${name}: ${part} failed: ${error instanceof Error ? error.message : String(error)} (at ${path}${line === undefined ? "" : `:${line}`})`);
  made.cause = error;
  return made;
}

function ofModule<T>(name: string, path: string, part: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw moduleFailure(name, path, part, error);
  }
}

/** The prompt inputs of `count` pictures and how they are filled. */
function promptInputs(name: string, path: string, { prompt }: CheckedModule): { specs(count: number): Record<string, InputSpec>; values(prompts: readonly string[]): Record<string, HostData> } {
  const shapes = Object.entries(prompt?.inputs ?? {});
  const numbersOf = (text: string): Readonly<Record<string, number | readonly number[]>> => {
    const found = ofModule(name, path, "prompt.values", () => prompt!.values(text)) as unknown;
    if (typeof found === "object" && found !== null) return found as Record<string, number | readonly number[]>;
    throw new UsageError("reward-module", `reward ${name}: expected prompt.values to return numbers by name, got ${String(found)} (at ${path}, prompt "${text}")`);
  };
  return {
    specs: (count) => Object.fromEntries(shapes.map(([key, shape]) => [key, { shape: [count, ...shape] }])),
    values: (prompts) => {
      const rows = shapes.length === 0 ? [] : prompts.map(numbersOf);
      return Object.fromEntries(
        shapes.map(([key, shape]) => {
          const size = shape.reduce((product, length) => product * length, 1);
          const data = new Float32Array(prompts.length * size);
          for (const [row, numbers] of rows.entries()) {
            const value = numbers[key];
            const list = typeof value === "number" ? [value] : value;
            if (!Array.isArray(list) || list.length !== size || !list.every(Number.isFinite)) {
              throw new UsageError("reward-module", `reward ${name}: expected ${size} finite numbers as prompt input ${key}, got ${JSON.stringify(value)?.slice(0, 80)} (at ${path}, prompt "${prompts[row]}")`);
            }
            data.set(list as number[], row * size);
          }
          return [key, data];
        }),
      );
    },
  };
}

type Traced = (image: Tensor, inputs: Readonly<Record<string, Tensor>>) => Tensor;

/** The module's traced function, its result checked. */
function tracedOf(name: string, path: string, trace: NonNullable<RewardModule["trace"]>): Traced {
  return (image, inputs) => {
    const score: unknown = ofModule(name, path, "trace", () => trace(image, { ops, inputs }));
    const fail = (got: string): never => {
      throw new UsageError("reward-module", `reward ${name}: expected trace to return a tensor [B], one number per picture, got ${got} (at ${path})`, "for example ops.mean(image, [1, 2, 3])");
    };
    if (!(score instanceof Tensor)) return fail(score instanceof Promise ? "a promise" : `${score === null ? "null" : typeof score} that the given ops did not make`);
    return score.shape.length === 1 && score.shape[0] === image.shape[0] ? score : fail(`[${score.shape.join(", ")}] for ${image.shape[0]} picture${image.shape[0] === 1 ? "" : "s"}`);
  };
}

/** Scores by the traced function, one picture at a time, compiled anew when the size of the pictures changes. */
class TracedScores {
  readonly #score: Traced;
  readonly #specs: Readonly<Record<string, InputSpec>>;
  readonly #backend: Backend;
  #compiled: { readonly size: string; readonly executable: Promise<Executable> } | undefined;

  constructor(score: Traced, specs: Readonly<Record<string, InputSpec>>, backend: Backend) {
    this.#score = score;
    this.#specs = specs;
    this.#backend = backend;
  }

  async of(picture: Picture, values: Readonly<Record<string, HostData>>): Promise<number> {
    const { height, width } = picture;
    const size = `${height}×${width}`;
    if (this.#compiled?.size !== size) {
      await this.dispose();
      const names = Object.keys(this.#specs);
      const leaves: Record<string, InputSpec> = { image: { shape: [1, 3, height, width] }, ...Object.fromEntries(names.map((key) => [promptLeaf(key), this.#specs[key]!])) };
      const traced = trace((inputs) => ({ score: this.#score(inputs["image"]!, Object.fromEntries(names.map((key) => [key, inputs[promptLeaf(key)]!]))) }), leaves);
      this.#compiled = { size, executable: this.#backend.compile(traced) };
    }
    const feeds = Object.fromEntries(Object.entries(values).map(([key, data]) => [promptLeaf(key), data]));
    const { score } = await (await this.#compiled!.executable).run({ ...feeds, image: planarOf(picture) });
    return score!.data[0]!;
  }

  async dispose(): Promise<void> {
    const compiled = this.#compiled;
    this.#compiled = undefined;
    await (await compiled?.executable)?.dispose();
  }
}

const promptLeaf = (key: string): string => `prompt.${key}`;

/** The files a module depends on: itself and those it names. */
function filesOf(name: string, path: string, files: readonly string[]): string[] {
  const named = files.map((file) => {
    const full = resolve(dirname(path), file);
    if (statSync(full, { throwIfNoEntry: false })?.isFile() !== true) throw new UsageError("reward-module", `reward ${name}: expected a file that the module names in "files", got none (at ${full})`, "paths are relative to the module");
    return realpathSync(full);
  });
  return [path, ...named];
}

/**
 * Loads and runs a module that the person named: its code may do anything. The interface is `RewardModule`.
 * @throws UsageError `reward-module` when it does not load or is no reward
 */
export async function openModuleReward(name: string, location: string, backend: Backend): Promise<Reward> {
  const path = realpathSync(location);
  const found = await loadModule(name, path);
  const { unit, typicalRange, source = path, describe = "A reward of one's own.", prompt } = found;
  const inputs = promptInputs(name, path, found);
  const score = found.trace && tracedOf(name, path, found.trace);
  const numbers = score && new TracedScores(score, inputs.specs(1), backend);
  const gradient: DifferentiableScore | undefined = score && {
    term: (weight, batchSize) => ({ name, weight, inputs: inputs.specs(batchSize), score }),
    inputsFor: (prompts) => Promise.resolve(inputs.values(prompts)),
  };
  return {
    name,
    unit,
    typicalRange,
    source,
    describe,
    // A function of one parameter is not given the prompts.
    needsText: prompt !== undefined || (found.score !== undefined && found.score.length !== 1),
    files: filesOf(name, path, found.files),
    score: async (pictures, prompts) => {
      if (found.score !== undefined) {
        const scores: unknown = await Promise.resolve()
          .then(() => found.score!(pictures, prompts))
          .catch((error: unknown) => {
            throw moduleFailure(name, path, "score", error);
          });
        return checkScores(name, scores, pictures.length, path);
      }
      const scores: number[] = [];
      for (const [row, picture] of pictures.entries()) scores.push(await numbers!.of(picture, inputs.values([prompts[row]!])));
      return checkScores(name, scores, pictures.length, path);
    },
    ...(gradient === undefined ? {} : { gradient }),
    dispose: async () => numbers?.dispose(),
  };
}
