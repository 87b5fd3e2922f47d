import { readSync } from "node:fs";
import { crc32c } from "./crc32c.ts";

/** Records above this are taken for damage, so that a length from a broken or hostile file cannot exhaust memory. */
export const maxRecordBytes: number = 128 * 2 ** 20;

const headerBytes = 12;
const footerBytes = 4;

/** A checksum that may itself be checksummed: rotated and shifted as TensorFlow's `record_writer` does. */
function maskedCrc(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

/** One TFRecord: length (8 bytes, little-endian), masked CRC-32C of the length, data, masked CRC-32C of the data. */
export function encodeRecord(data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(headerBytes + data.length + footerBytes);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  view.setUint32(8, maskedCrc(bytes.subarray(0, 8)), true);
  bytes.set(data, headerBytes);
  view.setUint32(headerBytes + data.length, maskedCrc(data), true);
  return bytes;
}

function readAt(fd: number, position: number, length: number): DataView | undefined {
  const bytes = new Uint8Array(length);
  return readSync(fd, bytes, 0, length, position) === length ? new DataView(bytes.buffer) : undefined;
}

/**
 * The whole and undamaged records from the start of an open file, each with the byte at which it ends. Stops silently at the first that is torn or damaged.
 * Reads synchronously: a long run's file has a hundred thousand small records.
 */
export function* readRecords(fd: number): Generator<{ readonly data: Uint8Array; readonly end: number }> {
  for (let position = 0; ; ) {
    const header = readAt(fd, position, headerBytes);
    if (header === undefined || maskedCrc(new Uint8Array(header.buffer, 0, 8)) !== header.getUint32(8, true)) return;
    const length = Number(header.getBigUint64(0, true));
    if (length > maxRecordBytes) return;
    const body = readAt(fd, position + headerBytes, length + footerBytes);
    if (body === undefined) return;
    const data = new Uint8Array(body.buffer, 0, length);
    if (maskedCrc(data) !== body.getUint32(length, true)) return;
    position += headerBytes + length + footerBytes;
    yield { data, end: position };
  }
}
