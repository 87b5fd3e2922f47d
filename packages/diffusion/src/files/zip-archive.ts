import { UsageError } from "@tastemaker/tensor";
import type { RandomAccessFile } from "./random-access-file.ts";

/** Where a record of an archive lies in its file. */
export interface ZipRecord {
  /** Byte position from the beginning of the file. */
  readonly offset: number;
  /** Bytes in the file. */
  readonly sizeBytes: number;
  /** Whether the bytes are the content itself; TorchScript's source texts, which nobody here reads, are compressed. */
  readonly isStored: boolean;
}

const endSize = 22;
const longestComment = 65_535;
/** A directory entry takes at least 46 bytes; no checkpoint has a million records. */
const largestDirectoryBytes = 256 * 2 ** 20;

function zipError(what: string, file: RandomAccessFile): UsageError {
  return new UsageError("zip-invalid", `archive: ${what} (at ${file.name})`, "the file is damaged or not what its name says; fetch it again");
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Number of entries, size and position of the central directory. */
async function findDirectory(file: RandomAccessFile): Promise<{ count: number; size: number; offset: number; end: number }> {
  const tailSize = Math.min(file.sizeBytes, endSize + longestComment);
  const tailStart = file.sizeBytes - tailSize;
  const tail = await file.read(tailStart, tailSize);
  const view = viewOf(tail);
  let at = tailSize - endSize;
  while (at >= 0 && !(view.getUint32(at, true) === 0x06054b50 && view.getUint16(at + 20, true) === tailSize - endSize - at)) at--;
  if (at < 0) throw zipError("expected a directory at the end, got none", file);
  const number64 = (from: DataView, position: number): number => {
    const value = from.getBigUint64(position, true);
    if (value > BigInt(file.sizeBytes)) throw zipError(`expected a position inside the file of ${file.sizeBytes} bytes, got ${value}`, file);
    return Number(value);
  };
  const hasLocator = at >= 20 && view.getUint32(at - 20, true) === 0x07064b50;
  if (!hasLocator) return { count: view.getUint16(at + 10, true), size: view.getUint32(at + 12, true), offset: view.getUint32(at + 16, true), end: tailStart + at };
  const position = number64(view, at - 20 + 8);
  if (position + 56 > file.sizeBytes) throw zipError("expected a directory at the end, got a position outside the file", file);
  const record = viewOf(await file.read(position, 56));
  if (record.getUint32(0, true) !== 0x06064b50) throw zipError("expected a 64-bit directory record", file);
  return { count: number64(record, 32), size: number64(record, 40), offset: number64(record, 48), end: position };
}

/** Sizes beyond 4 GiB stand in an extra field, in this order and only where the short field is all ones. */
function wideFields(extra: DataView, shorts: readonly number[]): number[] {
  const wide = [...shorts];
  for (let at = 0; at + 4 <= extra.byteLength; at += 4 + extra.getUint16(at + 2, true)) {
    if (extra.getUint16(at, true) !== 1) continue;
    let position = at + 4;
    const end = Math.min(extra.byteLength, position + extra.getUint16(at + 2, true));
    for (const [i, short] of shorts.entries()) {
      if (short !== 0xffffffff) continue;
      if (position + 8 > end) return wide;
      wide[i] = Number(extra.getBigUint64(position, true));
      position += 8;
    }
  }
  return wide;
}

/**
 * The records of a ZIP archive by name, for reading in place those that are stored. Encrypted, repeated and overlong records are refused, and every record's own header has to agree
 * with the directory, so that a file cannot mean two things.
 *
 * @throws UsageError `zip-invalid`
 */
export async function readZipDirectory(file: RandomAccessFile): Promise<ReadonlyMap<string, ZipRecord>> {
  if (file.sizeBytes < endSize) throw zipError(`expected an archive, got ${file.sizeBytes} bytes`, file);
  const { count, size, offset, end } = await findDirectory(file);
  if (size > largestDirectoryBytes || offset + size > end) throw zipError(`expected a directory of at most ${Math.min(largestDirectoryBytes, end)} bytes inside the file, got ${size} bytes at ${offset}`, file);
  const bytes = await file.read(offset, size);
  const view = viewOf(bytes);
  const records = new Map<string, ZipRecord>();
  const decode = (from: number, length: number): string => {
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes.subarray(from, from + length));
    } catch {
      throw zipError("expected record names in UTF-8", file);
    }
  };
  let at = 0;
  while (at < size) {
    if (at + 46 > size || view.getUint32(at, true) !== 0x02014b50) throw zipError(`expected a directory entry at byte ${offset + at}`, file);
    const [nameLength, extraLength, commentLength] = [view.getUint16(at + 28, true), view.getUint16(at + 30, true), view.getUint16(at + 32, true)];
    const entryEnd = at + 46 + nameLength + extraLength + commentLength;
    if (entryEnd > size) throw zipError(`expected a directory entry at byte ${offset + at}, got one that is cut short`, file);
    const name = decode(at + 46, nameLength);
    const flags = view.getUint16(at + 8, true);
    const method = view.getUint16(at + 10, true);
    if ((flags & 1) !== 0) throw zipError(`expected readable records, got "${name.slice(0, 80)}" encrypted`, file);
    if (records.has(name)) throw zipError(`expected each record once, got "${name.slice(0, 80)}" twice`, file);
    const extra = new DataView(bytes.buffer, bytes.byteOffset + at + 46 + nameLength, extraLength);
    // Order of the extra field: uncompressed size, compressed size, position.
    const [plain, packed, position] = wideFields(extra, [view.getUint32(at + 24, true), view.getUint32(at + 20, true), view.getUint32(at + 42, true)]) as [number, number, number];
    const isStored = method === 0;
    if (isStored && plain !== packed) throw zipError(`expected one size of "${name.slice(0, 80)}", got ${plain} and ${packed}`, file);
    records.set(name, { ...(await locate(file, name, nameLength, position, { stored: packed, plain }, offset)), isStored });
    at = entryEnd;
  }
  if (records.size !== count) throw zipError(`expected ${count} records as the directory says, got ${records.size}`, file);
  return records;
}

/** The place of a record's data, after its own header, which must say the same as the directory. */
async function locate(file: RandomAccessFile, name: string, nameLength: number, position: number, size: { readonly stored: number; readonly plain: number }, directory: number): Promise<Omit<ZipRecord, "isStored">> {
  const shown = name.slice(0, 80);
  if (!(position + 30 + nameLength <= directory)) throw zipError(`expected "${shown}" before the directory, got byte ${position}`, file);
  const header = await file.read(position, 30 + nameLength);
  const view = viewOf(header);
  if (view.getUint32(0, true) !== 0x04034b50) throw zipError(`expected the header of "${shown}" at byte ${position}`, file);
  const found = new TextDecoder().decode(header.subarray(30));
  if (view.getUint16(26, true) !== nameLength || found !== name) throw zipError(`expected the header of "${shown}", got that of "${found.slice(0, 80)}"`, file);
  // Sizes may follow the data instead (bit 3), or stand in an extra field.
  const own = view.getUint32(22, true);
  if ((view.getUint16(6, true) & 8) === 0 && own !== 0xffffffff && own !== size.plain) throw zipError(`expected "${shown}" to take ${size.plain} bytes, got ${own} in its header`, file);
  const offset = position + 30 + nameLength + view.getUint16(28, true);
  if (!(offset + size.stored <= directory)) throw zipError(`expected "${shown}" of ${size.stored} bytes before the directory, got byte ${offset}`, file);
  return { offset, sizeBytes: size.stored };
}
