import * as library from "@huggingface/tokenizers";
import { UsageError } from "@tastemaker/tensor";
import { asJsonObject, parseJson, type Folder } from "../files/random-access-file.ts";
import { modelOf } from "./byte-pairs.ts";
import { packTokens, type EncodedTexts, type Tokenizer } from "./tokenizer.ts";

type JsonObject = Readonly<Record<string, unknown>>;

/** The parts of the library used here. Its own declarations import without file extensions, which TypeScript cannot follow in an ES module. */
interface Normalizer {
  normalize(text: string): string;
}
interface PreTokenizer {
  /** Of a sequence. */
  readonly tokenizers?: readonly (PreTokenizer | null)[];
}
interface BpeTokenizer {
  normalizer: Normalizer | null;
  readonly pre_tokenizer: PreTokenizer | null;
  encode(text: string, options: { add_special_tokens: boolean }): { readonly ids: readonly number[] };
  token_to_id(token: string): number | undefined;
  get_vocab(): ReadonlyMap<string, number>;
}
const { Tokenizer: LibraryTokenizer, LowercaseNormalizer, SequenceNormalizer, ByteLevelPreTokenizer } = library as unknown as {
  readonly Tokenizer: new (tokenizer: JsonObject, config: JsonObject) => BpeTokenizer;
  readonly LowercaseNormalizer: new (config: JsonObject) => Normalizer;
  readonly SequenceNormalizer: new (config: JsonObject) => Normalizer & { normalizers: (Normalizer | null)[] };
  readonly ByteLevelPreTokenizer: new (config: JsonObject) => PreTokenizer & { pattern: RegExp };
};

/**
 * Lower case of each character by itself, as Hugging Face's tokenizers do it: a Greek capital sigma at the end of a word becomes σ, where
 * `toLowerCase` of the whole text would give ς.
 */
class PerCharacterLowercase extends LowercaseNormalizer {
  override normalize(text: string): string {
    return Array.from(text, (character) => character.toLowerCase()).join("");
  }
}

function withPerCharacterLowercase(tokenizer: BpeTokenizer): void {
  const replace = (normalizer: Normalizer | null): Normalizer | null => {
    if (normalizer instanceof SequenceNormalizer) normalizer.normalizers = normalizer.normalizers.map(replace);
    return normalizer instanceof LowercaseNormalizer ? new PerCharacterLowercase({ type: "Lowercase" }) : normalizer;
  };
  tokenizer.normalizer = replace(tokenizer.normalizer);
}

/** Makes white space that of Unicode, as in Hugging Face's tokenizers: JavaScript counts the byte-order mark U+FEFF too. */
function withUnicodeSpaces({ pre_tokenizer }: BpeTokenizer): void {
  for (const step of [pre_tokenizer, ...(pre_tokenizer?.tokenizers ?? [])]) {
    if (step instanceof ByteLevelPreTokenizer) step.pattern = new RegExp(step.pattern.source.replaceAll("\\s", "\\p{White_Space}").replaceAll("\\S", "\\P{White_Space}"), "gu");
  }
}

/** CLIP's tokenizer: lower-cased byte-pair encoding between a start and an end token, padded to a fixed length. */
export class ClipTokenizer implements Tokenizer {
  readonly startId: number;
  readonly endId: number;
  readonly padId: number;
  /** Length that the tokenizer's configuration states (77 for CLIP), the default of `encode`. */
  readonly maxLength: number;
  readonly vocabularySize: number;
  readonly #tokenizer: BpeTokenizer;

  /**
   * @param tokenizerJson Contents of `tokenizer.json`, or what `clipTokenizerJson` builds.
   * @param config Contents of `tokenizer_config.json`: `pad_token`, `bos_token`, `eos_token`, `model_max_length`. Absent: CLIP's.
   * @param where Path for messages. Throws `UsageError` when the files do not describe a CLIP tokenizer.
   */
  constructor(tokenizerJson: JsonObject, config: JsonObject = {}, where: string = "tokenizer.json") {
    const model = modelOf(tokenizerJson, where);
    if (model["type"] !== "BPE" || model["end_of_word_suffix"] !== "</w>") {
      throw new UsageError("tokenizer-kind", `tokenizer: expected CLIP's byte-pair encoding with "</w>", got ${String(model["type"])} with ${JSON.stringify(model["end_of_word_suffix"])} (at ${where})`);
    }
    checkIds(asJsonObject(model["vocab"], `vocab in ${where}`), where);
    checkIds(addedTokens(tokenizerJson), where);
    try {
      this.#tokenizer = new LibraryTokenizer(tokenizerJson, config);
    } catch (error) {
      throw new UsageError("tokenizer-invalid", `tokenizer: expected a readable tokenizer.json, got ${String((error as Error).message)} (at ${where})`);
    }
    withPerCharacterLowercase(this.#tokenizer);
    withUnicodeSpaces(this.#tokenizer);
    const idOf = (role: string, fallback: string): number => {
      const value = config[role] ?? fallback;
      const token = typeof value === "object" && value !== null ? (value as JsonObject)["content"] : value;
      const id = typeof token === "string" ? this.#tokenizer.token_to_id(token) : undefined;
      if (id === undefined) throw new UsageError("tokenizer-token", `tokenizer ${role}: expected a token of the vocabulary, got ${JSON.stringify(token)} (at ${where})`);
      return id;
    };
    this.startId = idOf("bos_token", "<|startoftext|>");
    this.endId = idOf("eos_token", "<|endoftext|>");
    this.padId = idOf("pad_token", "<|endoftext|>");
    const length = config["model_max_length"];
    // Hugging Face writes 1e30 for "no limit".
    this.maxLength = typeof length === "number" && Number.isSafeInteger(length) && length >= 2 && length <= 4096 ? length : 77;
    this.vocabularySize = this.#tokenizer.get_vocab().size;
  }

  tokenIds(text: string): readonly number[] {
    return [this.startId, ...this.#tokenizer.encode(text, { add_special_tokens: false }).ids, this.endId];
  }

  encode(texts: readonly string[], maxLength: number = this.maxLength): EncodedTexts {
    return packTokens(texts.map((text) => this.tokenIds(text)), maxLength, this.endId, this.padId);
  }
}

/** An id names a row of an embedding, so that a huge one is damage; the library would fill a list up to it. */
function checkIds(vocabulary: JsonObject, where: string): void {
  for (const [token, id] of Object.entries(vocabulary)) {
    if (!Number.isInteger(id) || (id as number) < 0 || (id as number) >= 2 ** 24) throw new UsageError("tokenizer-vocabulary", `vocabulary: expected a whole number below ${2 ** 24} for "${token}", got ${JSON.stringify(id)} (at ${where})`);
  }
}

/** Ids of the tokens that a `tokenizer.json` adds to its vocabulary, by token. */
function addedTokens({ added_tokens: added }: JsonObject): JsonObject {
  if (!Array.isArray(added)) return {};
  return Object.fromEntries(added.map((token: unknown): [string, unknown] => (typeof token === "object" && token !== null ? [String((token as JsonObject)["content"]), (token as JsonObject)["id"]] : ["", token])));
}

/**
 * Builds the `tokenizer.json` object of a CLIP tokenizer from the two files of older models. Throws `UsageError` when they do not fit together.
 *
 * @param vocabulary Contents of `vocab.json`: token to id. @param merges Text of `merges.txt`.
 */
export function clipTokenizerJson(vocabulary: JsonObject, merges: string, where: string = "vocab.json"): JsonObject {
  checkIds(vocabulary, where);
  const special = (content: string): JsonObject => {
    const id = Object.hasOwn(vocabulary, content) ? vocabulary[content] : undefined;
    if (id === undefined) throw new UsageError("tokenizer-vocabulary", `vocabulary: expected the token "${content}", got none (at ${where})`, "this is not a CLIP vocabulary");
    // Normalised: recognised in any case, as transformers 4 builds it from the same files.
    return { id, content, single_word: false, lstrip: false, rstrip: false, normalized: true, special: true };
  };
  const start = special("<|startoftext|>");
  const end = special("<|endoftext|>");
  const pairs = merges
    .split(/\r?\n/)
    .filter((line) => line !== "" && !line.startsWith("#version"))
    .map((line, index) => {
      const pair = line.split(" ");
      if (pair.length !== 2) throw new UsageError("tokenizer-merges", `merges: expected two parts, got "${line.slice(0, 40)}" (at merge ${index + 1} beside ${where})`);
      return pair;
    });
  const specialTokens = "<\\|startoftext\\|>|<\\|endoftext\\|>";
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [start, end],
    normalizer: { type: "Sequence", normalizers: [{ type: "NFC" }, { type: "Replace", pattern: { Regex: "\\s+" }, content: " " }, { type: "Lowercase" }] },
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "Split", pattern: { Regex: `${specialTokens}|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+` }, behavior: "Removed", invert: true },
        { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
      ],
    },
    post_processor: { type: "RobertaProcessing", sep: [end["content"], end["id"]], cls: [start["content"], start["id"]], trim_offsets: false, add_prefix_space: false },
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { type: "BPE", dropout: null, unk_token: "<|endoftext|>", continuing_subword_prefix: "", end_of_word_suffix: "</w>", fuse_unk: false, byte_fallback: false, ignore_merges: false, vocab: vocabulary, merges: pairs },
  };
}

/**
 * Opens the tokenizer of a model folder: `tokenizer.json` if there is one, else `vocab.json` with `merges.txt`; the padding token from
 * `special_tokens_map.json` or `tokenizer_config.json`. Throws `UsageError` when files are missing or of another kind.
 *
 * @param below Subfolder, e.g. "tokenizer/"; empty for a folder with everything at its root.
 */
export async function openClipTokenizer(folder: Folder, below: string = ""): Promise<ClipTokenizer> {
  const optional = async (name: string): Promise<JsonObject> => ((await folder.has(below + name)) ? asJsonObject(await folder.readJson(below + name), `${folder.path}/${below}${name}`) : {});
  const where = `${folder.path}/${below}tokenizer.json`;
  const config = { ...(await optional("special_tokens_map.json")), ...(await optional("tokenizer_config.json")) };
  if (await folder.has(`${below}tokenizer.json`)) {
    return new ClipTokenizer(asJsonObject(parseJson(await folder.readText(`${below}tokenizer.json`), where), where), config, where);
  }
  const vocabularyPath = `${folder.path}/${below}vocab.json`;
  const vocabulary = asJsonObject(await folder.readJson(`${below}vocab.json`), vocabularyPath);
  return new ClipTokenizer(clipTokenizerJson(vocabulary, await folder.readText(`${below}merges.txt`), vocabularyPath), config, vocabularyPath);
}
