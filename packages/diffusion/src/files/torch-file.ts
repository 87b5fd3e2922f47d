import { UsageError } from "@tastemaker/tensor";
import { decodeUtf8, type RandomAccessFile } from "./random-access-file.ts";
import { SAFETENSORS_DTYPE_BITS, type SafetensorsDType } from "./safetensors.ts";
import { PickleCallable, type PickleValue, unpickle, type UnpickleRules } from "./unpickle.ts";
import { readZipDirectory, type ZipRecord } from "./zip-archive.ts";

/** A tensor of a PyTorch file: where its storage lies and how it looks into it. Shape and strides count elements. */
export class TorchTensor {
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  /** Byte position of the first element from the beginning of the file. */
  readonly offset: number;

  constructor(dtype: SafetensorsDType, shape: readonly number[], strides: readonly number[], offset: number) {
    this.dtype = dtype;
    this.shape = shape;
    this.strides = strides;
    this.offset = offset;
  }

  /** Number of elements. */
  get count(): number {
    return this.shape.reduce((product, size) => product * size, 1);
  }

  get sizeBytes(): number {
    return this.count * (SAFETENSORS_DTYPE_BITS[this.dtype] / 8);
  }

  /** Whether the elements lie in the file as in a new tensor of this shape, so that they can be used in place. */
  get isContiguous(): boolean {
    let expected = 1;
    for (let axis = this.shape.length - 1; axis >= 0; axis--) {
      const size = this.shape[axis]!;
      if (size === 0) return true;
      if (size !== 1 && this.strides[axis] !== expected) return false;
      expected *= size;
    }
    return true;
  }
}

/** What a PyTorch file holds. */
export interface TorchFile {
  /** `zip` (since 1.6), `legacy` (before) or `torchscript`. */
  readonly layout: "zip" | "legacy" | "torchscript";
  /** The object that was saved. */
  readonly root: PickleValue;
  /** Every tensor of it by dotted path: keys of dictionaries, places in lists. "" when the file is a single tensor. */
  readonly tensors: ReadonlyMap<string, TorchTensor>;
}

/** A run of elements in the file. */
class Storage {
  readonly dtype: SafetensorsDType | undefined;
  readonly offset: number;
  readonly sizeBytes: number;

  constructor(dtype: SafetensorsDType | undefined, offset: number, sizeBytes: number) {
    this.dtype = dtype;
    this.offset = offset;
    this.sizeBytes = sizeBytes;
  }
}

/** The type of a storage (undefined for untyped ones), or of a tensor. */
class TypeName {
  readonly dtype: SafetensorsDType | undefined;

  constructor(dtype: SafetensorsDType | undefined) {
    this.dtype = dtype;
  }
}

const storageTypes: Readonly<Record<string, SafetensorsDType>> = {
  FloatStorage: "F32", DoubleStorage: "F64", HalfStorage: "F16", BFloat16Storage: "BF16", LongStorage: "I64", IntStorage: "I32", ShortStorage: "I16",
  CharStorage: "I8", ByteStorage: "U8", BoolStorage: "BOOL", ComplexFloatStorage: "C64",
};
const tensorTypes: Readonly<Record<string, SafetensorsDType>> = {
  float32: "F32", float64: "F64", float16: "F16", bfloat16: "BF16", int64: "I64", int32: "I32", int16: "I16", int8: "I8", uint8: "U8", bool: "BOOL",
  uint16: "U16", uint32: "U32", uint64: "U64", float8_e4m3fn: "F8_E4M3", float8_e5m2: "F8_E5M2", complex64: "C64",
};
/** A pickle without its tensors' data is small: names and shapes. */
const largestPickleBytes = 256 * 2 ** 20;
const mostTensors = 1_000_000;
const deepestNesting = 200;
/** No real weight is larger; an expanded tensor (stride 0) could claim anything. */
const largestTensorBytes = 2 ** 40;

function torchError(what: string, where: string, hint = "the file is damaged or was made to look like a checkpoint; fetch it again"): UsageError {
  return new UsageError("torch-file-invalid", `PyTorch file: ${what} (at ${where})`, hint);
}

const isCount = (value: unknown): value is number => typeof value === "number" && Number.isSafeInteger(value) && value >= 0;

/** The tensor that `_rebuild_tensor*` makes, checked against its storage. */
function rebuildTensor(storage: unknown, start: unknown, shape: unknown, strides: unknown, dtype: SafetensorsDType | undefined, where: string): TorchTensor {
  if (!(storage instanceof Storage)) throw torchError("expected the storage of a tensor, got something else", where);
  const type = dtype ?? storage.dtype;
  if (type === undefined) throw torchError("expected a tensor with a known type", where);
  if (!isCount(start) || !Array.isArray(shape) || !Array.isArray(strides) || !shape.every(isCount) || !strides.every(isCount) || shape.length !== strides.length) {
    throw torchError("expected shape and strides of whole numbers of equal length", where);
  }
  const size = SAFETENSORS_DTYPE_BITS[type] / 8;
  const count = shape.reduce((product: number, length: number) => product * length, 1);
  const last = count === 0 ? start - 1 : shape.reduce((index: number, length: number, axis: number) => index + (length - 1) * (strides[axis] as number), start);
  // Products beyond 2^53 are rounded, but then they are far larger than any file.
  if (!((last + 1) * size <= storage.sizeBytes) || !(count * size <= largestTensorBytes)) {
    throw torchError(`expected a tensor [${shape.slice(0, 16).join(", ")}] inside its storage of ${storage.sizeBytes} bytes, got one that reaches beyond`, where);
  }
  return new TorchTensor(type, [...(shape as number[])], [...(strides as number[])], storage.offset + start * size);
}

/** Dictionaries that stand for modules of a TorchScript archive: their state becomes their content. */
type Modules = WeakSet<Map<PickleValue, PickleValue>>;

/**
 * The only names that mean anything: tensors, their storages and types, ordered dictionaries, sets, sizes and devices; in a TorchScript archive also the classes of its modules,
 * which become dictionaries.
 */
function rulesOf(where: string, storageOf: (type: TypeName, key: string, count: number, view: PickleValue | undefined) => Storage, isTorchScript: boolean): UnpickleRules {
  const modules: Modules = new WeakSet();
  const make = (name: string, call: (args: readonly PickleValue[]) => PickleValue): PickleCallable => new PickleCallable(name, call);
  const orderedDict = make("OrderedDict", ([pairs]) => {
    const made = new Map<PickleValue, PickleValue>();
    if (pairs !== undefined && !Array.isArray(pairs)) throw torchError("expected pairs in an OrderedDict", where);
    for (const pair of (pairs as PickleValue[] | undefined) ?? []) {
      if (!Array.isArray(pair) || pair.length !== 2 || typeof pair[0] === "object") throw torchError("expected pairs in an OrderedDict", where);
      made.set(pair[0] as PickleValue, pair[1] as PickleValue);
    }
    return made;
  });
  const set = make("set", ([items]) => (Array.isArray(items) ? [...(items as PickleValue[])] : []));
  const names = new Map<string, PickleValue>([
    ["collections.OrderedDict", orderedDict],
    ["__builtin__.set", set],
    ["builtins.set", set],
    ["torch._utils._rebuild_tensor", make("_rebuild_tensor", ([storage, start, shape, strides]) => rebuildTensor(storage, start, shape, strides, undefined, where))],
    ["torch._utils._rebuild_tensor_v2", make("_rebuild_tensor_v2", ([storage, start, shape, strides]) => rebuildTensor(storage, start, shape, strides, undefined, where))],
    [
      "torch._utils._rebuild_tensor_v3",
      make("_rebuild_tensor_v3", ([storage, start, shape, strides, _grad, _hooks, dtype]) => {
        if (!(dtype instanceof TypeName)) throw torchError("expected the type of a tensor", where);
        return rebuildTensor(storage, start, shape, strides, dtype.dtype, where);
      }),
    ],
    [
      "torch._utils._rebuild_parameter",
      make("_rebuild_parameter", ([tensor]) => {
        if (!(tensor instanceof TorchTensor)) throw torchError("expected a tensor in a parameter", where);
        return tensor;
      }),
    ],
    ["torch.Size", make("Size", ([sizes]) => (Array.isArray(sizes) ? [...(sizes as PickleValue[])] : []))],
    ["torch.device", make("device", (args) => args.map(String).join(":"))],
    ["torch.storage.UntypedStorage", new TypeName(undefined)],
    ["torch.UntypedStorage", new TypeName(undefined)],
    ...Object.entries(storageTypes).map(([name, dtype]): [string, PickleValue] => [`torch.${name}`, new TypeName(dtype)]),
    ...Object.entries(tensorTypes).map(([name, dtype]): [string, PickleValue] => [`torch.${name}`, new TypeName(dtype)]),
  ]);
  const moduleClass = make("a module", () => {
    const made = new Map<PickleValue, PickleValue>();
    modules.add(made);
    return made;
  });
  return {
    global: (module, name) => {
      // A dot in the name would walk into attributes.
      if (name.includes(".")) return undefined;
      return names.get(`${module}.${name}`) ?? (isTorchScript && /^__torch__(?:\.|$)/.test(module) ? moduleClass : undefined);
    },
    persistent: (id) => {
      const [kind, type, key, _location, count, view] = Array.isArray(id) ? (id as PickleValue[]) : [];
      if (kind !== "storage" || !(type instanceof TypeName) || typeof key !== "string" || !isCount(count)) throw torchError("expected the persistent id of a storage", where);
      return storageOf(type, key, count, view);
    },
    build: (target, state) => {
      if (!(target instanceof Map)) return false;
      if (modules.has(target)) {
        if (!(state instanceof Map)) return false;
        for (const [key, value] of state) target.set(key, value);
        return true;
      }
      // An OrderedDict's attributes (`_metadata` of a state dict): versions of modules, nothing that is needed.
      return state instanceof Map;
    },
  };
}

/** Collects the tensors of a value by dotted path, without recursion. */
function collectTensors(root: PickleValue, where: string): Map<string, TorchTensor> {
  const found = new Map<string, TorchTensor>();
  const waiting: { readonly value: PickleValue; readonly path: string; readonly depth: number }[] = [{ value: root, path: "", depth: 0 }];
  let visited = 0;
  while (waiting.length > 0) {
    const { value, path, depth } = waiting.pop()!;
    if (++visited > mostTensors) throw torchError(`expected at most ${mostTensors} values, got more: the file repeats itself`, where);
    if (value instanceof TorchTensor) {
      if (found.has(path)) throw torchError(`expected each name once, got "${path.slice(0, 200)}" twice`, where);
      found.set(path, value);
      continue;
    }
    const children = value instanceof Map ? [...value].map(([key, child]) => [String(key), child as PickleValue] as const) : Array.isArray(value) ? value.map((child, i) => [String(i), child as PickleValue] as const) : [];
    if (children.length > 0 && depth >= deepestNesting) throw torchError(`expected at most ${deepestNesting} levels, got more`, where);
    // Last in, first out: reversed, so that tensors come out in the file's order.
    for (const [key, child] of children.toReversed()) waiting.push({ value: child, path: path === "" ? key : `${path}.${key}`, depth: depth + 1 });
  }
  return found;
}

async function readZipLayout(file: RandomAccessFile): Promise<TorchFile> {
  const records = await readZipDirectory(file);
  const roots = [...records.keys()].filter((name) => /^[^/]+\/data\.pkl$/.test(name)).map((name) => name.slice(0, -"data.pkl".length));
  const [prefix] = roots;
  if (prefix === undefined || roots.length > 1) {
    throw torchError(`expected one data.pkl in the archive, got ${roots.length}`, file.name, prefix === undefined ? "this archive is not a PyTorch checkpoint" : undefined);
  }
  const find = (name: string): ZipRecord | undefined => {
    const record = records.get(prefix + name);
    if (record?.isStored === false) throw torchError(`expected the record ${name.slice(0, 80)} as it is, got it compressed`, file.name, "unpack the archive and pack it again without compression, or save the model again");
    return record;
  };
  const textOf = async (name: string): Promise<string | undefined> => {
    const record = find(name);
    return record && record.sizeBytes < 100 ? decodeUtf8(await file.read(record.offset, record.sizeBytes), file.name) : undefined;
  };
  const order = (await textOf("byteorder"))?.trim() ?? "little";
  if (order !== "little") throw torchError(`expected little-endian numbers, got ${order.slice(0, 20)}`, file.name, "save it again on a little-endian machine");
  const isTorchScript = records.has(`${prefix}constants.pkl`) || [...records.keys()].some((name) => name.startsWith(`${prefix}code/`));
  const pickle = find("data.pkl")!;
  if (pickle.sizeBytes > largestPickleBytes) throw torchError(`expected a pickle of at most ${largestPickleBytes} bytes, got ${pickle.sizeBytes}`, file.name);
  const rules = rulesOf(
    file.name,
    ({ dtype }, key, count) => {
      const record = find(`data/${key}`);
      if (record === undefined) throw torchError(`expected a record data/${key.slice(0, 80)}, got none`, file.name);
      // Untyped storages count bytes.
      const size = dtype === undefined ? 1 : SAFETENSORS_DTYPE_BITS[dtype] / 8;
      if (!(count * size <= record.sizeBytes)) throw torchError(`expected ${count * size} bytes in data/${key.slice(0, 80)}, got ${record.sizeBytes}`, file.name);
      return new Storage(dtype, record.offset, count * size);
    },
    isTorchScript,
  );
  const bytes = await file.read(pickle.offset, pickle.sizeBytes);
  const { value } = withinBytes(file, () => unpickle(bytes, 0, rules, file.name));
  return { layout: isTorchScript ? "torchscript" : "zip", root: value, tensors: collectTensors(value, file.name) };
}

function withinBytes<T>(file: RandomAccessFile, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof RangeError) throw torchError("expected a whole pickle, got one that is cut short", file.name, "the file is cut short; fetch it again");
    throw error;
  }
}

const legacyMagic = 0x1950a86a20f9469cfc6cn;
const legacyProtocol = 1001;

/** The parts of the layout before version 1.6: four pickles, the keys of the storages, then per storage its count and its elements. */
async function readLegacyLayout(file: RandomAccessFile): Promise<TorchFile> {
  const where = file.name;
  const plain = rulesOf(where, () => { throw torchError("expected no tensors in the header", where); }, false);
  // The pickles come first and their length is written nowhere: read more until they fit.
  for (let length = Math.min(file.sizeBytes, 2 ** 20); ; length = Math.min(file.sizeBytes, 8 * length)) {
    const bytes = await file.read(0, length);
    try {
      const { result, counts } = parseLegacy(bytes);
      for (const { at, count } of counts) {
        const stored = new DataView((await file.read(at, 8)).buffer).getBigInt64(0, true);
        if (stored !== BigInt(count)) throw torchError(`expected ${count} elements in the storage at byte ${at}, got ${stored}`, where);
      }
      return result;
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      if (length === file.sizeBytes || length >= largestPickleBytes) throw torchError("expected whole pickles, got some that are cut short", where, "the file is cut short; fetch it again");
    }
  }

  function parseLegacy(bytes: Uint8Array): { readonly result: TorchFile; readonly counts: readonly { readonly at: number; readonly count: number }[] } {
    const magic = unpickle(bytes, 0, plain, where);
    if (magic.value !== legacyMagic) throw torchError("expected a PyTorch checkpoint, got another pickle", where, "only checkpoints written by torch.save are read");
    const protocol = unpickle(bytes, magic.end, plain, where);
    if (protocol.value !== legacyProtocol) throw torchError(`expected protocol ${legacyProtocol}, got ${String(protocol.value).slice(0, 40)}`, where);
    const system = unpickle(bytes, protocol.end, plain, where);
    if (!(system.value instanceof Map) || system.value.get("little_endian") !== true) throw torchError("expected little-endian numbers", where, "save it again on a little-endian machine");

    // Where storages lie is known only after the object, so it is read twice.
    const declared = new Map<string, { readonly dtype: SafetensorsDType; readonly count: number }>();
    const viewed = (type: TypeName, base: number, count: number, view: PickleValue | undefined): Storage => {
      const { dtype } = type;
      if (dtype === undefined) throw torchError("expected storages with a type", where);
      const size = SAFETENSORS_DTYPE_BITS[dtype] / 8;
      if (view === undefined || view === null) return new Storage(dtype, base, count * size);
      const [, first, length] = Array.isArray(view) ? (view as PickleValue[]) : [];
      if (!isCount(first) || !isCount(length) || first + length > count) throw torchError("expected a view inside its storage", where);
      return new Storage(dtype, base + first * size, length * size);
    };
    const first = unpickle(bytes, system.end, rulesOf(where, (type, key, count, view) => {
      const storage = viewed(type, 0, count, view);
      const known = declared.get(key);
      if (known && (known.count !== count || known.dtype !== storage.dtype)) throw torchError(`expected storage ${key.slice(0, 80)} to be one thing, got two`, where);
      declared.set(key, { dtype: storage.dtype!, count });
      return storage;
    }, false), where);
    const keys = unpickle(bytes, first.end, plain, where);
    if (!Array.isArray(keys.value) || !keys.value.every((key) => typeof key === "string")) throw torchError("expected a list of storages", where);
    const bases = new Map<string, number>();
    let at = keys.end;
    for (const key of keys.value as string[]) {
      const storage = declared.get(key);
      if (storage === undefined || bases.has(key)) throw torchError(`expected storages that the object names, got ${key.slice(0, 80)}`, where);
      bases.set(key, at + 8);
      at += 8 + storage.count * (SAFETENSORS_DTYPE_BITS[storage.dtype] / 8);
      if (!(at <= file.sizeBytes)) throw torchError(`expected storage ${key.slice(0, 80)} up to byte ${at}, got a file of ${file.sizeBytes} bytes`, where, "the file is cut short; fetch it again");
    }
    const second = unpickle(bytes, system.end, rulesOf(where, (type, key, count, view) => {
      const base = bases.get(key);
      if (base === undefined) throw torchError(`expected storage ${key.slice(0, 80)} in the file, got nothing`, where);
      return viewed(type, base, count, view);
    }, false), where);
    const counts = [...bases].map(([key, base]) => ({ at: base - 8, count: declared.get(key)!.count }));
    return { result: { layout: "legacy", root: second.value, tensors: collectTensors(second.value, where) }, counts };
  }
}

/**
 * Reads what a PyTorch file (`.pt`, `.pth`, `.bin`, `.ckpt`; zip, TorchScript or the layout before 1.6) holds, without executing anything of it: names of functions and classes other than tensors,
 * their types and ordered dictionaries refuse the file. No tensor data is read.
 *
 * @throws UsageError `torch-file-invalid`, `pickle-refused`, `zip-invalid`
 */
export async function readTorchFile(file: RandomAccessFile): Promise<TorchFile> {
  const start = await file.read(0, Math.min(4, file.sizeBytes));
  if (start[0] === 0x50 && start[1] === 0x4b) return readZipLayout(file);
  if (start[0] === 0x80) return readLegacyLayout(file);
  throw torchError(`expected a zip archive or a pickle, got ${file.sizeBytes === 0 ? "an empty file" : `"${String.fromCharCode(...start).replace(/[^\x20-\x7e]/g, "?")}…"`}`, file.name, "the file is not a PyTorch checkpoint");
}
