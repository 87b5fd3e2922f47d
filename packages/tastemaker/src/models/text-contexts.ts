import { checkTokenIds, clipText, scopeOf } from "@tastemaker/diffusion";
import { type Backend, type Executable, input, program, UsageError, weight } from "@tastemaker/tensor";
import type { OpenedModel } from "./open-model.ts";

/** Longest prompt that is accepted, in characters; every text encoder here reads a few hundred at most. */
const longestPrompt = 5000;

/**
 * Refuses prompts that cannot be meant.
 * @throws UsageError `prompt-empty`, `prompt-too-long`
 */
export function checkPrompt(prompt: string): void {
  if (prompt.trim() === "") throw new UsageError("prompt-empty", `prompt: expected some text, got ${prompt === "" ? "an empty one" : "only blanks"}`, "describe the picture, for example \"a cat\"");
  if (prompt.length > longestPrompt) {
    throw new UsageError("prompt-too-long", `prompt: expected at most ${longestPrompt} characters, got ${prompt.length} ("${prompt.slice(0, 30)}…")`, "text encoders read only the first few dozen words; shorten it");
  }
}

/** The text encoder's outputs, computed once per distinct prompt and kept. */
export class TextContexts {
  /** `[L, E]`: tokens and width of a context. */
  readonly shape: readonly [number, number];
  readonly #model: OpenedModel;
  readonly #backend: Backend;
  readonly #known: Map<string, Float32Array> = new Map();
  readonly #warn: (text: string) => void;
  /** A promise, so that callers that overlap share one. */
  #executable: Promise<Executable> | undefined;

  /** @param warn Told once per prompt of which words were cut off. */
  constructor(model: OpenedModel, backend: Backend, warn: (text: string) => void) {
    this.#model = model;
    this.#backend = backend;
    this.#warn = warn;
    this.shape = [Math.min(model.text.positions, model.parts.tokenizer.maxLength), model.text.width];
  }

  /**
   * The context of a prompt, row-major `[L, E]`. One prompt per run of the encoder, so the numbers do not depend on company.
   * @throws UsageError `prompt-empty`, `prompt-too-long`
   */
  async of(prompt: string): Promise<Float32Array> {
    const known = this.#known.get(prompt);
    if (known !== undefined) return known;
    checkPrompt(prompt);
    return this.#encode(prompt);
  }

  /** The context of the empty prompt, for classifier-free guidance. */
  async empty(): Promise<Float32Array> {
    return this.#known.get("") ?? this.#encode("");
  }

  async #encode(prompt: string): Promise<Float32Array> {
    const { ids, truncated } = this.#model.parts.tokenizer.encode([prompt], this.shape[0]);
    if (truncated[0] === true) this.#warn(`the text encoder reads ${this.shape[0]} tokens; the end of "${prompt.slice(0, 60)}…" is ignored`);
    checkTokenIds(ids, this.#model.text.vocabulary, `tokenizer of ${this.#model.path}`);
    this.#executable ??= this.#compile();
    const { hidden } = await (await this.#executable).run({ ids });
    const context = hidden!.data as Float32Array;
    this.#known.set(prompt, context);
    return context;
  }

  /** Contexts of several prompts one after the other, `[B, L, E]`. */
  async batch(prompts: readonly string[]): Promise<Float32Array> {
    const size = this.shape[0] * this.shape[1];
    const result = new Float32Array(prompts.length * size);
    for (const [row, prompt] of prompts.entries()) result.set(await this.of(prompt), row * size);
    return result;
  }

  /** Gives the encoder's memory back; contexts that are known stay. */
  async dispose(): Promise<void> {
    await (await this.#executable)?.dispose();
    this.#executable = undefined;
  }

  async #compile(): Promise<Executable> {
    const { parts, text } = this.#model;
    const scope = scopeOf((key, shape) => weight(parts.textEncoder.weights.take(key, shape)));
    const { hidden } = clipText(scope, text, input("ids", [1, this.shape[0]], "int32"));
    return this.#backend.compile(program({ hidden }));
  }
}
