import { checkTokenIds, type Tokenizer } from "@tastemaker/diffusion";
import { type Backend, type Executable, type Tensor, trace } from "@tastemaker/tensor";

/** Prompts whose embeddings are kept. */
const mostKept = 20_000;

/** How a text becomes a row of numbers. */
export interface TextTower {
  readonly tokenizer: Tokenizer;
  /** Tokens per text. */
  readonly length: number;
  /** Rows of the embedding table. */
  readonly vocabulary: number;
  /** Where the tokenizer comes from, for messages. */
  readonly where: string;
  /** Numbers per text. */
  readonly width: number;
  /** Ids as the model reads them, `length` many; default `tokenizer.encode`. */
  idsOf?(text: string): Int32Array;
  /** `ids` and `mask` `[1, length]`, int32 → `[1, width]` */
  embed(ids: Tensor, mask: Tensor): Tensor;
}

/** Text embeddings, computed once per distinct text, outside the training graph because they never change. */
export class TextEmbeddings {
  readonly #tower: TextTower;
  readonly #backend: Backend;
  readonly #known: Map<string, Float32Array> = new Map();
  #executable: Promise<Executable> | undefined;

  constructor(tower: TextTower, backend: Backend) {
    this.#tower = tower;
    this.#backend = backend;
  }

  /** Embeddings of the texts one after the other, `[B, width]`. */
  async batch(texts: readonly string[]): Promise<Float32Array> {
    const { width } = this.#tower;
    const rows = new Float32Array(texts.length * width);
    for (const [row, text] of texts.entries()) rows.set(await this.#of(text), row * width);
    return rows;
  }

  async dispose(): Promise<void> {
    await (await this.#executable)?.dispose();
    this.#executable = undefined;
  }

  async #of(text: string): Promise<Float32Array> {
    const known = this.#known.get(text);
    if (known !== undefined) return known;
    const { tokenizer, length, vocabulary, where, embed, idsOf } = this.#tower;
    const spec = { shape: [1, length], dtype: "int32" } as const;
    this.#executable ??= this.#backend.compile(trace(({ ids, mask }) => ({ embedding: embed(ids!, mask!) }), { ids: spec, mask: spec }));
    const encoded = tokenizer.encode([text], length);
    const ids = idsOf === undefined ? encoded.ids : idsOf(text);
    checkTokenIds(ids, vocabulary, where);
    const { embedding } = await (await this.#executable).run({ ids, mask: encoded.mask });
    const values = embedding!.data as Float32Array;
    if (this.#known.size >= mostKept) this.#known.delete(this.#known.keys().next().value!);
    this.#known.set(text, values);
    return values;
  }
}
