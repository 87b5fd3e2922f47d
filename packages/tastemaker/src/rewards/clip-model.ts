import { asJsonObject, type Checkpoint, checkTokenIds, type ClipConfig, clipTextEmbedding, type ClipTokenizer, loadCheckpoint, openClipTokenizer, openWeightFiles, parseClipConfig, type Scope, scopeOf } from "@tastemaker/diffusion";
import { type Backend, type Executable, input, program, weight } from "@tastemaker/tensor";
import { openNodeFolder } from "../platform/node-files.ts";

/** A transformers `CLIPModel` on disk. */
export interface ClipFiles {
  readonly path: string;
  readonly config: ClipConfig;
  readonly weights: Checkpoint;
  readonly tokenizer: ClipTokenizer | undefined;
  /** Absolute paths of the weight files. */
  readonly files: readonly string[];
}

/**
 * Opens a folder with `config.json`, `model.safetensors` (or shards, or `pytorch_model.bin`) and, where texts are read, the tokenizer.
 * @throws UsageError `weights-missing` and whatever its files give reason to
 */
export async function openClipFiles(path: string, needsText: boolean): Promise<ClipFiles> {
  const folder = await openNodeFolder(path);
  const config = parseClipConfig(asJsonObject(await folder.readJson("config.json"), `${folder.path}/config.json`));
  const files = await openWeightFiles(folder, "", "model");
  const weights = (await loadCheckpoint(files)).renamed((key) => (key.endsWith(".position_ids") ? undefined : key));
  return { path: folder.path, config, weights, tokenizer: needsText ? await openClipTokenizer(folder) : undefined, files: files.map(({ name }) => name) };
}

/** Frozen weights of the CLIP, each asked for once. */
export function clipScope({ weights }: ClipFiles): Scope {
  return scopeOf((key, shape) => weight(weights.take(key, shape)));
}

/** Text embeddings `[E]` before normalisation, computed once per distinct text, outside the training graph because they never change. */
export class TextEmbeddings {
  readonly #files: ClipFiles;
  readonly #backend: Backend;
  readonly #known: Map<string, Float32Array> = new Map();
  #executable: Promise<Executable> | undefined;

  constructor(files: ClipFiles, backend: Backend) {
    this.#files = files;
    this.#backend = backend;
  }

  /** Embeddings of the texts one after the other, `[B, E]`. */
  async batch(texts: readonly string[]): Promise<Float32Array> {
    const { projection } = this.#files.config;
    const rows = new Float32Array(texts.length * projection);
    for (const [row, text] of texts.entries()) rows.set(await this.#of(text), row * projection);
    return rows;
  }

  async dispose(): Promise<void> {
    await (await this.#executable)?.dispose();
    this.#executable = undefined;
  }

  async #of(text: string): Promise<Float32Array> {
    const known = this.#known.get(text);
    if (known !== undefined) return known;
    const { tokenizer, config } = this.#files;
    const length = Math.min(config.text.positions, tokenizer!.maxLength);
    if (this.#executable === undefined) {
      const embedding = clipTextEmbedding(clipScope(this.#files), config, input("ids", [1, length], "int32"));
      this.#executable = this.#backend.compile(program({ embedding }));
    }
    const { ids } = tokenizer!.encode([text], length);
    checkTokenIds(ids, config.text.vocabulary, `tokenizer of ${this.#files.path}`);
    const { embedding } = await (await this.#executable).run({ ids });
    const values = embedding!.data as Float32Array;
    this.#known.set(text, values);
    return values;
  }
}
