import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** An event as it stands in a file. Written without the program's own encoder, checksum or protobuf library, so that the two can disagree. */
export interface ReadEvent {
  readonly wallTime: number;
  readonly step: number;
  readonly fileVersion?: string;
  /** Status of a SessionLog; 1 is START. */
  readonly session?: number;
  readonly scalars: Readonly<Record<string, number>>;
  readonly images: Readonly<Record<string, { readonly height: number; readonly width: number; readonly colorspace: number; readonly png: Buffer }>>;
}

/** The bitwise definition of CRC-32C, masked as TFRecords hold it. */
function maskedCrc(bytes: Buffer): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (0x82f63b78 & -(crc & 1));
  }
  crc = ~crc >>> 0;
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

function splitRecords(bytes: Buffer): Buffer[] {
  const records: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = Number(bytes.readBigUInt64LE(at));
    if (bytes.readUInt32LE(at + 8) !== maskedCrc(bytes.subarray(at, at + 8))) throw new Error(`wrong checksum of a length at byte ${at}`);
    const data = bytes.subarray(at + 12, at + 12 + length);
    if (bytes.readUInt32LE(at + 12 + length) !== maskedCrc(data)) throw new Error(`wrong checksum of the data at byte ${at}`);
    records.push(data);
    at += 16 + length;
  }
  return records;
}

type Field = readonly [number: number, value: number | Buffer];

/** The fields of a protobuf message: varints as numbers, everything else as bytes. */
function fieldsOf(message: Buffer): Field[] {
  const fields: Field[] = [];
  let at = 0;
  const varint = (): number => {
    for (let value = 0, factor = 1; ; factor *= 128) {
      const byte = message[at++]!;
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const tag = varint();
    const wire = tag & 7;
    if (wire === 0) {
      fields.push([tag >>> 3, varint()]);
      continue;
    }
    const length = wire === 1 ? 8 : wire === 5 ? 4 : wire === 2 ? varint() : Number.NaN;
    if (!(at + length <= message.length)) throw new Error(`a field of wire type ${wire} leaves its message`);
    fields.push([tag >>> 3, message.subarray(at, at + length)]);
    at += length;
  }
  return fields;
}

function bytesOf(fields: readonly Field[], number: number): Buffer | undefined {
  const value = fields.find(([field]) => field === number)?.[1];
  return value instanceof Buffer ? value : undefined;
}

function numberOf(fields: readonly Field[], number: number): number {
  const value = fields.find(([field]) => field === number)?.[1];
  return typeof value === "number" ? value : 0;
}

function readEvent(data: Buffer): ReadEvent {
  const event = fieldsOf(data);
  const scalars: Record<string, number> = {};
  const images: Record<string, ReadEvent["images"][string]> = {};
  for (const [field, message] of fieldsOf(bytesOf(event, 5) ?? Buffer.alloc(0))) {
    if (field !== 1 || typeof message === "number") throw new Error(`unknown field ${field} of a summary`);
    const value = fieldsOf(message);
    const tag = bytesOf(value, 1)!.toString();
    const [simple, picture] = [bytesOf(value, 2), bytesOf(value, 4)];
    if (simple !== undefined) scalars[tag] = simple.readFloatLE();
    if (picture === undefined) continue;
    const image = fieldsOf(picture);
    images[tag] = { height: numberOf(image, 1), width: numberOf(image, 2), colorspace: numberOf(image, 3), png: bytesOf(image, 4)! };
  }
  const [version, session] = [bytesOf(event, 3), bytesOf(event, 7)];
  return {
    wallTime: bytesOf(event, 1)!.readDoubleLE(),
    step: numberOf(event, 2),
    ...(version === undefined ? {} : { fileVersion: version.toString() }),
    ...(session === undefined ? {} : { session: numberOf(fieldsOf(session), 1) }),
    scalars,
    images,
  };
}

/** Event files of a folder in the order in which they are read. */
export function eventFiles(folder: string): string[] {
  return readdirSync(folder).filter((name) => name.includes("tfevents")).sort().map((name) => join(folder, name));
}

/** All events of a folder, file after file. @throws an error for a wrong checksum, a torn record, an unknown field */
export function readEvents(folder: string): ReadEvent[] {
  return eventFiles(folder).flatMap((path) => splitRecords(readFileSync(path)).map(readEvent));
}

/** The curves of a folder: tag → [step, value] in the order of the files. */
export function readCurves(folder: string): Record<string, [number, number][]> {
  const curves: Record<string, [number, number][]> = {};
  for (const { step, scalars } of readEvents(folder)) {
    for (const [tag, value] of Object.entries(scalars)) (curves[tag] ??= []).push([step, value]);
  }
  return curves;
}
