import { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";

// Field numbers of TensorFlow's event.proto and summary.proto; only what is written or read here.
const EVENT = { wallTime: 1, step: 2, fileVersion: 3, summary: 5, sessionLog: 7 } as const;
const VALUE = { tag: 1, simpleValue: 2, image: 4 } as const;
const IMAGE = { height: 1, width: 2, colorspace: 3, png: 4 } as const;
const WIRE = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;
/** Channels by the colour type in a PNG header (grey, RGB, palette, grey with alpha, RGBA), which is what `colorspace` counts. */
const pngChannels: Readonly<Record<number, number>> = { 0: 1, 2: 3, 3: 3, 4: 2, 6: 4 };

/** A PNG and what TensorBoard wants to know of it beforehand. */
export interface PngImage {
  readonly png: Uint8Array;
  /** Pixels. */
  readonly width: number;
  readonly height: number;
  readonly channels: number;
}

/** What one event says, by tag. */
export interface EventValues {
  readonly scalars?: ReadonlyMap<string, number>;
  readonly images?: ReadonlyMap<string, PngImage>;
}

/** Reads the size of a PNG from its header, or undefined when the bytes are no PNG. */
export function describePng(png: Uint8Array): PngImage | undefined {
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength);
  // Signature, length of the first chunk, its name IHDR.
  if (png.length < 33 || view.getUint32(0) !== 0x89504e47 || view.getUint32(4) !== 0x0d0a1a0a || view.getUint32(12) !== 0x49484452) return undefined;
  const channels = pngChannels[png[25]!];
  return channels === undefined ? undefined : { png, width: view.getUint32(16), height: view.getUint32(20), channels };
}

function event(wallTimeMs: number, step: number): BinaryWriter {
  return new BinaryWriter().tag(EVENT.wallTime, WIRE.fixed64).double(wallTimeMs / 1000).tag(EVENT.step, WIRE.varint).int64(step);
}

/** The first event of a file. */
export function encodeFileVersion(wallTimeMs: number): Uint8Array {
  return event(wallTimeMs, 0).tag(EVENT.fileVersion, WIRE.bytes).string("brain.Event:2").finish();
}

/** Says that a process begins to write at `step`: from the second time on, an open TensorBoard forgets what it has read of this step and later ones. */
export function encodeSessionStart(wallTimeMs: number, step: number): Uint8Array {
  const start = new BinaryWriter().tag(1, WIRE.varint).int32(1).finish();
  return event(wallTimeMs, step).tag(EVENT.sessionLog, WIRE.bytes).bytes(start).finish();
}

/**
 * An event with scalars and pictures of one step. The values are in the form `simple_value` and `image`, not in tensors: every version of TensorBoard, its
 * `EventAccumulator` and the other readers of these files understand it (TensorBoard turns it into tensors itself), and it needs no metadata.
 */
export function encodeSummary(wallTimeMs: number, step: number, { scalars = new Map(), images = new Map() }: EventValues): Uint8Array {
  const summary = new BinaryWriter();
  const value = (tag: string): BinaryWriter => new BinaryWriter().tag(VALUE.tag, WIRE.bytes).string(tag);
  const add = (message: BinaryWriter): unknown => summary.tag(1, WIRE.bytes).bytes(message.finish());
  for (const [tag, number] of scalars) add(value(tag).tag(VALUE.simpleValue, WIRE.fixed32).float(toFloat32(number)));
  for (const [tag, { png, width, height, channels }] of images) {
    const image = new BinaryWriter().tag(IMAGE.height, WIRE.varint).int32(height).tag(IMAGE.width, WIRE.varint).int32(width).tag(IMAGE.colorspace, WIRE.varint).int32(channels);
    add(value(tag).tag(VALUE.image, WIRE.bytes).bytes(image.tag(IMAGE.png, WIRE.bytes).bytes(png).finish()));
  }
  return event(wallTimeMs, step).tag(EVENT.summary, WIRE.bytes).bytes(summary.finish()).finish();
}

/** The writer refuses finite numbers beyond float32, which as float32 are infinities. */
function toFloat32(value: number): number {
  return Math.fround(value);
}

/** What an event of these files says of itself: its step and the tags it has values of. @throws an error for bytes that are no event */
export function readEventHead(data: Uint8Array): { readonly step: number; readonly tags: readonly string[]; readonly fileVersion: string | undefined } {
  const reader = new BinaryReader(data);
  let step = 0;
  let fileVersion: string | undefined;
  const tags: string[] = [];
  while (reader.pos < reader.len) {
    const [field, wire] = reader.tag();
    if (field === EVENT.step && wire === WIRE.varint) step = Number(reader.int64());
    else if (field === EVENT.fileVersion && wire === WIRE.bytes) fileVersion = reader.string();
    else if (field === EVENT.summary && wire === WIRE.bytes) tags.push(...readTags(reader.bytes()));
    else reader.skip(wire, field);
  }
  return { step, tags, fileVersion };
}

function readTags(summary: Uint8Array): string[] {
  const tags: string[] = [];
  const reader = new BinaryReader(summary);
  while (reader.pos < reader.len) {
    const [field, wire] = reader.tag();
    if (field !== 1 || wire !== WIRE.bytes) {
      reader.skip(wire, field);
      continue;
    }
    const value = new BinaryReader(reader.bytes());
    while (value.pos < value.len) {
      const [part, kind] = value.tag();
      if (part === VALUE.tag && kind === WIRE.bytes) tags.push(value.string());
      else value.skip(kind, part);
    }
  }
  return tags;
}
