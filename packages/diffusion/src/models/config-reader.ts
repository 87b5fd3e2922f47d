import { UsageError, unknownNameError } from "@tastemaker/tensor";

/** A parsed `config.json`. */
export type ConfigJson = Readonly<Record<string, unknown>>;

function shown(value: unknown): string {
  return JSON.stringify(value) ?? "nothing";
}

/** Reads a model configuration key by key; every error names the model and the key. `null` counts as absent, as in diffusers. */
export class ConfigReader {
  readonly #model: string;
  readonly #json: ConfigJson;
  readonly #read: Set<string> = new Set<string>();

  /** @param model Class name shown in errors, e.g. `UNet2DConditionModel`. */
  constructor(model: string, json: ConfigJson) {
    this.#model = model;
    this.#json = json;
  }

  #value(key: string): unknown {
    this.#read.add(key);
    return Object.hasOwn(this.#json, key) ? (this.#json[key] ?? undefined) : undefined;
  }

  #fail(key: string, expected: string, value: unknown, hint?: string): UsageError {
    return new UsageError("model-config", `${this.#model} config: expected ${expected}, got ${shown(value)} (at ${key})`, hint);
  }

  /** A finite number. */
  number(key: string, fallback?: number): number {
    const value = this.#value(key) ?? fallback;
    if (typeof value !== "number" || !Number.isFinite(value)) throw this.#fail(key, "a number", value);
    return value;
  }

  /** A finite number of at least 0. */
  nonNegative(key: string, fallback?: number): number {
    const value = this.number(key, fallback);
    if (value < 0) throw this.#fail(key, "a number of at least 0", value);
    return value;
  }

  /** An integer of at least 0. */
  index(key: string, fallback?: number): number {
    const value = this.#value(key) ?? fallback;
    if (!Number.isSafeInteger(value) || (value as number) < 0) throw this.#fail(key, "an integer of at least 0", value);
    return value as number;
  }

  /** An integer of at least 1. */
  count(key: string, fallback?: number): number {
    const value = this.#value(key) ?? fallback;
    if (!Number.isSafeInteger(value) || (value as number) < 1) throw this.#fail(key, "an integer of at least 1", value);
    return value as number;
  }

  /** An integer of at least 1, or undefined when absent. */
  optionalCount(key: string): number | undefined {
    return this.#value(key) === undefined ? undefined : this.count(key);
  }

  /** An integer of at least 1, or a height and a width; undefined when absent. */
  optionalSize(key: string): number | readonly [number, number] | undefined {
    if (!Array.isArray(this.#value(key))) return this.optionalCount(key);
    const sizes = this.counts(key);
    if (sizes.length !== 2) throw this.#fail(key, "one number, or a height and a width", sizes);
    return sizes as unknown as readonly [number, number];
  }

  boolean(key: string, fallback: boolean): boolean {
    const value = this.#value(key) ?? fallback;
    if (typeof value !== "boolean") throw this.#fail(key, "true or false", value);
    return value;
  }

  /** One of the known names. */
  oneOf<Name extends string>(key: string, names: readonly Name[], fallback?: Name): Name {
    const value = this.#value(key) ?? fallback;
    if (typeof value !== "string") throw this.#fail(key, `one of ${names.join(", ")}`, value);
    const found = names.find((name) => name === value);
    if (found === undefined) throw unknownNameError(`${this.#model} config ${key}`, value, names);
    return found;
  }

  /** A non-empty list of known names. */
  listOf<Name extends string>(key: string, names: readonly Name[], fallback?: readonly Name[]): readonly Name[] {
    const value = this.#value(key) ?? fallback;
    if (!Array.isArray(value) || value.length === 0) throw this.#fail(key, `a list of ${names.join(", ")}`, value);
    return value.map((item: unknown) => {
      const found = names.find((name) => name === item);
      if (found === undefined) throw unknownNameError(`${this.#model} config ${key}`, String(item), names);
      return found;
    });
  }

  /** A non-empty list of integers of at least 1. */
  counts(key: string, fallback?: readonly number[]): readonly number[] {
    const value = this.#value(key) ?? fallback;
    if (!Array.isArray(value) || value.length === 0 || value.some((item: unknown) => !Number.isSafeInteger(item) || (item as number) < 1)) {
      throw this.#fail(key, "a list of integers of at least 1", value);
    }
    return value as readonly number[];
  }

  /** One integer for every block, or a list with one per block; undefined when absent. */
  perBlock(key: string, blocks: number): readonly number[] | undefined {
    const value = this.#value(key);
    if (value === undefined) return undefined;
    const list = Array.isArray(value) ? this.counts(key) : Array.from({ length: blocks }, () => this.count(key));
    if (list.length !== blocks) throw this.#fail(key, `one number or a list of ${blocks}`, value);
    return list;
  }

  /** A nested configuration; empty when absent. */
  nested(key: string): ConfigJson {
    const value = this.#value(key) ?? {};
    if (typeof value !== "object" || Array.isArray(value)) throw this.#fail(key, "an object", value);
    return value as ConfigJson;
  }

  /** Demands the value that this implementation computes with, for all blocks alike where there is a list; absent is fine. */
  mustBe(key: string, ...supported: readonly (string | number | boolean | null)[]): void {
    const value = this.#value(key) ?? null;
    const items: readonly unknown[] = Array.isArray(value) ? value : [value];
    if (value !== null && !items.every((item) => supported.includes(item as string | number | boolean))) {
      throw this.#fail(key, supported.map(shown).join(" or "), value, "this variant of the architecture is not supported");
    }
  }

  /** Refuses a key that is there and null, where null means something else than absence. */
  refuseNull(key: string, supported: string): void {
    if (Object.hasOwn(this.#json, key) && this.#json[key] === null) throw this.#fail(key, shown(supported), null, "this variant of the architecture is not supported");
  }

  /** Marks keys that do not change the computation. */
  ignore(...keys: readonly string[]): void {
    for (const key of keys) this.#read.add(key);
  }

  /** @throws UsageError `model-config` when the file holds a key that nobody asked for (names beginning with `_` are notes). */
  finish(): void {
    for (const key of Object.keys(this.#json)) {
      if (!this.#read.has(key) && !key.startsWith("_") && this.#json[key] !== null) {
        throw new UsageError(
          "model-config",
          `${this.#model} config: expected only known keys, got ${key} = ${shown(this.#json[key])}`,
          "this variant of the architecture is not supported",
        );
      }
    }
  }
}
