import { UsageError } from "../../errors.ts";

/** A file whose bytes can be read in any order; how it is opened is the caller's business. */
export interface OnnxFile {
  /** Absolute path with symbolic links resolved: weights used in place are looked for there. */
  readonly name: string;
  readonly sizeBytes: number;
  /** The `length` bytes at `offset`, as an array of its own. */
  read(offset: number, length: number): Promise<Uint8Array>;
}

/** Bytes of the file, from `start` to before `end`. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** One field of a protobuf message: a number (varint or fixed width) or the place of its bytes. */
export type WireField =
  | { readonly number: number; readonly kind: "varint" | "fixed32" | "fixed64"; readonly value: bigint }
  | { readonly number: number; readonly kind: "bytes"; readonly range: ByteRange };

/** Bytes read at a time. Weights are skipped, so a large file is read in few pieces. */
const WINDOW_BYTES = 1 << 15;
/** A model has some hundred thousand fields; this many small ones could fill the memory. */
const MOST_FIELDS = 8_000_000;
const LONGEST_TEXT_BYTES = 1 << 24;
/** Tag and varint take at most ten bytes each. */
const FIELD_HEAD_BYTES = 20;

export function onnxInvalid(what: string, name: string): UsageError {
  return new UsageError("onnx-invalid", `ONNX: ${what} (at ${name})`, "the file is damaged or no ONNX model; export it again");
}

/** A signed 64-bit number of a varint field; those beyond 2⁵³ are rounded. */
export const signed = (value: bigint): number => Number(BigInt.asIntN(64, value));

/**
 * Reads a protobuf file piece by piece, never more than asked for: lengths are compared with what is there before they are believed,
 * nothing recurses, and the number of fields is bounded. Throws `UsageError` `onnx-invalid`.
 */
export class WireReader {
  readonly file: OnnxFile;
  #window: Uint8Array = new Uint8Array(0);
  #start = 0;
  #fieldsLeft: number = MOST_FIELDS;

  constructor(file: OnnxFile) {
    this.file = file;
  }

  /** The fields of the message that fills the range. */
  async *fields({ start, end }: ByteRange): AsyncGenerator<WireField> {
    let position = start;
    while (position < end) {
      if (--this.#fieldsLeft < 0) throw onnxInvalid(`expected at most ${MOST_FIELDS} fields, got more`, this.file.name);
      if (!this.#holds(position, Math.min(end, position + FIELD_HEAD_BYTES))) await this.#load(position);
      const [tag, afterTag] = this.#varint(position, end);
      const number = Number(tag >> 3n);
      if (number < 1 || number >= 2 ** 29) throw onnxInvalid(`expected a field number, got ${number} at byte ${position}`, this.file.name);
      switch (Number(tag & 7n)) {
        case 0: {
          const [value, after] = this.#varint(afterTag, end);
          position = after;
          yield { number, kind: "varint", value };
          break;
        }
        case 1: {
          position = this.#checked(afterTag + 8, end);
          yield { number, kind: "fixed64", value: this.#view(afterTag, 8).getBigUint64(0, true) };
          break;
        }
        case 2: {
          const [length, after] = this.#varint(afterTag, end);
          if (length > BigInt(end - after)) throw onnxInvalid(`expected at most ${end - after} bytes in field ${number}, got ${length}: the file is cut short or damaged`, this.file.name);
          position = after + Number(length);
          yield { number, kind: "bytes", range: { start: after, end: position } };
          break;
        }
        case 5: {
          position = this.#checked(afterTag + 4, end);
          yield { number, kind: "fixed32", value: BigInt(this.#view(afterTag, 4).getUint32(0, true)) };
          break;
        }
        default:
          throw onnxInvalid(`expected a protobuf field, got wire type ${tag & 7n} at byte ${position}`, this.file.name);
      }
    }
  }

  /** The bytes of a range, at most `most`. */
  async bytes({ start, end }: ByteRange, most: number): Promise<Uint8Array> {
    const length = end - start;
    if (length > most) throw onnxInvalid(`expected at most ${most} bytes at byte ${start}, got ${length}`, this.file.name);
    if (length > WINDOW_BYTES) return this.file.read(start, length);
    if (!this.#holds(start, end)) await this.#load(start);
    return this.#window.slice(start - this.#start, end - this.#start);
  }

  /** The UTF-8 text of a range. */
  async text(range: ByteRange): Promise<string> {
    return new TextDecoder().decode(await this.bytes(range, LONGEST_TEXT_BYTES));
  }

  #holds(start: number, end: number): boolean {
    return start >= this.#start && end <= this.#start + this.#window.length;
  }

  async #load(start: number): Promise<void> {
    this.#window = await this.file.read(start, Math.min(WINDOW_BYTES, this.file.sizeBytes - start));
    this.#start = start;
  }

  #checked(position: number, end: number): number {
    if (position > end) throw onnxInvalid(`expected more bytes, got the end at byte ${end}`, this.file.name);
    return position;
  }

  #view(position: number, length: number): DataView {
    return new DataView(this.#window.buffer, this.#window.byteOffset + position - this.#start, length);
  }

  #varint(position: number, end: number): [value: bigint, after: number] {
    const [value, after] = readVarint(this.#window, position - this.#start, Math.min(end - this.#start, this.#window.length), this.file.name);
    return [value, after + this.#start];
  }
}

/** A varint of a byte array: its value (64 bits) and the position after it. `name` is the file's, for messages. */
function readVarint(bytes: Uint8Array, from: number, end: number, name: string): [value: bigint, after: number] {
  // Most are one byte.
  const first = bytes[from]!;
  if (from < end && first < 128) return [BigInt(first), from + 1];
  let value = 0n;
  for (let i = 0; i < 10 && from + i < end; i++) {
    const byte = bytes[from + i]!;
    value |= BigInt(byte & 127) << BigInt(7 * i);
    if (byte < 128) return [BigInt.asUintN(64, value), from + i + 1];
  }
  throw onnxInvalid("expected a whole number, got the end or more than ten bytes", name);
}

/** All numbers of a packed field of varints. */
export function unpackVarints(bytes: Uint8Array, name: string): bigint[] {
  const values: bigint[] = [];
  let position = 0;
  while (position < bytes.length) {
    const [value, after] = readVarint(bytes, position, bytes.length, name);
    values.push(value);
    position = after;
  }
  return values;
}
