import type { TensorToStore } from "../files/safetensors-writer.ts";

const text = (value: string): number[] => {
  const bytes = [...new TextEncoder().encode(value)];
  return [0x58, bytes.length & 255, bytes.length >> 8, 0, 0, ...bytes];
};
const integer = (value: number): number[] => [0x4a, value & 255, (value >> 8) & 255, (value >> 16) & 255, (value >> 24) & 255];
const global = (module: string, name: string): number[] => [0x63, ...new TextEncoder().encode(`${module}\n${name}\n`)];
const tuple = (...items: readonly number[][]): number[] => [0x28, ...items.flat(), 0x74];

/** A pickled dictionary of float32 tensors, as torch.save writes it. `storage` names the records. */
function pickleOf(tensors: ReadonlyMap<string, TensorToStore>): Uint8Array {
  const items = [...tensors].flatMap(([key, { shape, data }], index) => {
    const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((product, size) => product * size, 1));
    const id = tuple(text("storage"), global("torch", "FloatStorage"), text(String(index)), text("cpu"), integer(data.length));
    const args = tuple([...id, 0x51], integer(0), tuple(...shape.map(integer)), tuple(...strides.map(integer)), [0x89], [...global("collections", "OrderedDict"), 0x29, 0x52]);
    return [...text(key), ...global("torch._utils", "_rebuild_tensor_v2"), ...args, 0x52];
  });
  return Uint8Array.from([0x80, 2, 0x7d, 0x28, ...items, 0x75, 0x2e]);
}

/** A PyTorch checkpoint (zip layout, float32) for tests: the bytes of `torch.save(dict)`, without checksums. */
export function encodeTorchZip(tensors: ReadonlyMap<string, TensorToStore>): Uint8Array {
  const records: [string, Uint8Array][] = [["archive/data.pkl", pickleOf(tensors)]];
  for (const [index, { data }] of [...tensors.values()].entries()) records.push([`archive/data/${index}`, new Uint8Array(Float32Array.from(data as ArrayLike<number>).buffer)]);
  const parts: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let position = 0;
  for (const [name, bytes] of records) {
    const label = new TextEncoder().encode(name);
    const local = new Uint8Array(30 + label.length);
    const central = new Uint8Array(46 + label.length);
    const [l, c] = [new DataView(local.buffer), new DataView(central.buffer)];
    l.setUint32(0, 0x04034b50, true);
    c.setUint32(0, 0x02014b50, true);
    for (const [view, at] of [[l, 18], [c, 20]] as const) {
      view.setUint32(at, bytes.length, true);
      view.setUint32(at + 4, bytes.length, true);
      view.setUint16(at + 8, label.length, true);
    }
    c.setUint32(42, position, true);
    local.set(label, 30);
    central.set(label, 46);
    parts.push(local, bytes);
    directory.push(central);
    position += local.length + bytes.length;
  }
  const end = new Uint8Array(22);
  const view = new DataView(end.buffer);
  const size = directory.reduce((total, { length }) => total + length, 0);
  view.setUint32(0, 0x06054b50, true);
  view.setUint16(8, records.length, true);
  view.setUint16(10, records.length, true);
  view.setUint32(12, size, true);
  view.setUint32(16, position, true);
  const all = [...parts, ...directory, end];
  const result = new Uint8Array(all.reduce((total, { length }) => total + length, 0));
  let at = 0;
  for (const part of all) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}
