import { UsageError } from "@tastemaker/tensor";

/**
 * What a pickle may hold here. Tuples and lists are both arrays; dictionaries are `Map`s, so that no key can touch a prototype. Objects that the rules make
 * (tensors, storages) appear as they are.
 */
export type PickleValue = null | boolean | number | bigint | string | Uint8Array | object;

/** A name that the rules allow, and what calling it with arguments makes. */
export class PickleCallable {
  readonly name: string;
  readonly call: (args: readonly PickleValue[]) => PickleValue;

  constructor(name: string, call: (args: readonly PickleValue[]) => PickleValue) {
    this.name = name;
    this.call = call;
  }
}

/** What the names in a pickle mean. Nothing is looked up anywhere else. */
export interface UnpickleRules {
  /** The value of a global name, asked for as soon as the name appears; undefined refuses the file. */
  global(module: string, name: string): PickleValue | undefined;
  /** The object behind a persistent id. */
  persistent(id: PickleValue): PickleValue;
  /** Gives an object its state; false refuses the file. */
  build(target: PickleValue, state: PickleValue): boolean;
}

const MARK = Symbol("mark");
type StackItem = PickleValue | typeof MARK;

/** Opcodes that are refused by name, so that the message tells what the file wanted. */
const refused: Readonly<Record<number, string>> = {
  0x50: "PERSID", 0x69: "INST", 0x6f: "OBJ", 0x82: "EXT1", 0x83: "EXT2", 0x84: "EXT4", 0x92: "NEWOBJ_EX", 0x97: "NEXT_BUFFER", 0x98: "READONLY_BUFFER",
  0x67: "GET", 0x70: "PUT", 0x49: "INT", 0x4c: "LONG", 0x46: "FLOAT", 0x53: "STRING", 0x56: "UNICODE",
};
const longestIntegerBytes = 32;

/** One character per byte. (`TextDecoder("latin1")` is Windows-1252.) */
const latin1 = (bytes: Uint8Array): string => Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");

function pickleError(what: string, where: string): UsageError {
  return new UsageError("pickle-refused", `pickle: ${what} (at ${where})`, "only plain tensors, lists, dictionaries, numbers and texts are read; save the weights as safetensors where the file comes from");
}

const isKey = (value: PickleValue): value is string | number | bigint | boolean | null => value === null || ["string", "number", "bigint", "boolean"].includes(typeof value);

/** Little-endian two's complement. */
function signedInteger(bytes: Uint8Array): number | bigint {
  let value = 0n;
  bytes.forEach((byte, i) => (value |= BigInt(byte) << BigInt(8 * i)));
  if (bytes.length > 0 && bytes.at(-1)! >= 128) value -= 1n << BigInt(8 * bytes.length);
  return value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}

/**
 * Reads one pickle (binary opcodes of protocols 2 to 5) from `bytes` without executing anything: names mean only what `rules` say, everything is bounded by the
 * bytes at hand, and nothing recurses.
 *
 * @returns the value and the position after it.
 * @throws UsageError `pickle-refused` naming the opcode or the global; `RangeError` when the bytes end first (the caller may have more).
 */
export function unpickle(bytes: Uint8Array, start: number, rules: UnpickleRules, where: string): { readonly value: PickleValue; readonly end: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const stack: StackItem[] = [];
  const memo = new Map<number, PickleValue>();
  let at = start;
  const fail = (what: string): never => {
    throw pickleError(`${what} at byte ${at}`, where);
  };
  const take = (count: number): Uint8Array => {
    if (count > bytes.length - at) throw new RangeError(`${where} ends at byte ${bytes.length}`);
    at += count;
    return bytes.subarray(at - count, at);
  };
  const unsigned = (size: 1 | 2 | 4): number => {
    take(size);
    return size === 1 ? view.getUint8(at - 1) : size === 2 ? view.getUint16(at - 2, true) : view.getUint32(at - 4, true);
  };
  const long = (): number => {
    take(8);
    const value = view.getBigUint64(at - 8, true);
    return value > BigInt(Number.MAX_SAFE_INTEGER) ? fail(`expected a length, got ${value}`) : Number(value);
  };
  const text = (count: number): string => {
    const part = take(count);
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(part);
    } catch {
      return fail("expected UTF-8 text");
    }
  };
  const line = (): string => {
    const end = bytes.indexOf(10, at);
    if (end < 0) throw new RangeError(`${where} ends within a name`);
    const result = text(end - at);
    at++;
    return result;
  };
  const pop = (): PickleValue => {
    const item = stack.pop();
    if (item === undefined || item === MARK) return fail("expected a value on the stack");
    return item as PickleValue;
  };
  const top = (): PickleValue => {
    const item = stack.at(-1);
    if (item === undefined || item === MARK) return fail("expected a value on the stack");
    return item as PickleValue;
  };
  const toMark = (): PickleValue[] => {
    const from = stack.lastIndexOf(MARK);
    if (from < 0) return fail("expected a mark on the stack");
    const items = stack.splice(from).slice(1);
    return items as PickleValue[];
  };
  const several = (count: number): PickleValue[] => Array.from({ length: count }, pop).reverse();
  const recall = (index: number): PickleValue => {
    const value = memo.get(index);
    return value === undefined ? fail(`expected memo ${index} to exist`) : value;
  };
  const setItems = (target: PickleValue, items: readonly PickleValue[]): void => {
    if (!(target instanceof Map)) fail("expected a dictionary");
    if (items.length % 2 !== 0) fail("expected keys with values");
    for (let i = 0; i < items.length; i += 2) {
      const key = items[i]!;
      // Only plain keys name tensors; the rest could not be told apart anyway.
      if (!isKey(key)) fail("expected a text or a number as a key");
      (target as Map<PickleValue, PickleValue>).set(key, items[i + 1]!);
    }
  };
  const addItems = (target: PickleValue, items: readonly PickleValue[]): void => {
    if (!Array.isArray(target)) fail("expected a list");
    for (const item of items) (target as PickleValue[]).push(item);
  };
  const globalOf = (module: string, name: string): PickleValue => {
    const value = rules.global(module, name);
    return value === undefined ? fail(`expected only tensors and plain values, got the name "${`${module}.${name}`.slice(0, 120)}"`) : value;
  };
  const call = (target: PickleValue, args: PickleValue): PickleValue => {
    if (!(target instanceof PickleCallable)) return fail("expected something that makes tensors or dictionaries");
    if (!Array.isArray(args)) return fail(`expected arguments of ${target.name}`);
    return target.call(args);
  };

  for (;;) {
    const opcode = unsigned(1);
    switch (opcode) {
      case 0x80: // PROTO
        if (unsigned(1) > 5) fail("expected a protocol up to 5");
        break;
      case 0x95: // FRAME: only a hint for readers of streams
        if (long() > bytes.length - at) throw new RangeError(`${where} ends within a frame`);
        break;
      case 0x2e: // STOP
        return { value: pop(), end: at };
      case 0x28: stack.push(MARK); break;
      case 0x30: if (stack.pop() === undefined) fail("expected a value on the stack"); break; // POP
      case 0x31: toMark(); break; // POP_MARK
      case 0x32: stack.push(top()); break; // DUP
      case 0x4e: stack.push(null); break; // NONE
      case 0x88: stack.push(true); break;
      case 0x89: stack.push(false); break;
      case 0x4a: take(4); stack.push(view.getInt32(at - 4, true)); break; // BININT
      case 0x4b: stack.push(unsigned(1)); break; // BININT1
      case 0x4d: stack.push(unsigned(2)); break; // BININT2
      case 0x8a: case 0x8b: { // LONG1, LONG4
        const count = unsigned(opcode === 0x8a ? 1 : 4);
        if (count > longestIntegerBytes) fail(`expected an integer of at most ${longestIntegerBytes} bytes, got ${count}`);
        stack.push(signedInteger(take(count)));
        break;
      }
      case 0x47: take(8); stack.push(view.getFloat64(at - 8, false)); break; // BINFLOAT
      case 0x58: stack.push(text(unsigned(4))); break; // BINUNICODE
      case 0x8c: stack.push(text(unsigned(1))); break; // SHORT_BINUNICODE
      case 0x8d: stack.push(text(long())); break; // BINUNICODE8
      // Texts of Python 2, one byte per character.
      case 0x55: stack.push(latin1(take(unsigned(1)))); break; // SHORT_BINSTRING
      case 0x54: stack.push(latin1(take(unsigned(4)))); break; // BINSTRING
      case 0x43: stack.push(take(unsigned(1)).slice()); break; // SHORT_BINBYTES
      case 0x42: stack.push(take(unsigned(4)).slice()); break; // BINBYTES
      case 0x8e: case 0x96: stack.push(take(long()).slice()); break; // BINBYTES8, BYTEARRAY8
      case 0x5d: stack.push([]); break; // EMPTY_LIST
      case 0x61: { const item = pop(); addItems(top(), [item]); break; } // APPEND
      case 0x65: { const items = toMark(); addItems(top(), items); break; } // APPENDS
      case 0x6c: case 0x74: stack.push(toMark()); break; // LIST, TUPLE
      case 0x29: stack.push([]); break; // EMPTY_TUPLE
      case 0x85: case 0x86: case 0x87: stack.push(several(opcode - 0x84)); break; // TUPLE1, TUPLE2, TUPLE3
      case 0x7d: stack.push(new Map()); break; // EMPTY_DICT
      case 0x64: { const items = toMark(); const made = new Map(); setItems(made, items); stack.push(made); break; } // DICT
      case 0x73: { const items = several(2); setItems(top(), items); break; } // SETITEM
      case 0x75: { const items = toMark(); setItems(top(), items); break; } // SETITEMS
      case 0x68: stack.push(recall(unsigned(1))); break; // BINGET
      case 0x6a: stack.push(recall(unsigned(4))); break; // LONG_BINGET
      case 0x71: memo.set(unsigned(1), top()); break; // BINPUT
      case 0x72: memo.set(unsigned(4), top()); break; // LONG_BINPUT
      case 0x94: memo.set(memo.size, top()); break; // MEMOIZE
      case 0x63: { const module = line(); stack.push(globalOf(module, line())); break; } // GLOBAL
      case 0x93: { // STACK_GLOBAL
        const [module, name] = several(2);
        stack.push(typeof module === "string" && typeof name === "string" ? globalOf(module, name) : fail("expected the name of a global"));
        break;
      }
      case 0x52: case 0x81: { const [target, args] = several(2); stack.push(call(target!, args!)); break; } // REDUCE, NEWOBJ
      case 0x62: { // BUILD
        const state = pop();
        if (!rules.build(top(), state)) fail("expected a plain value, got an object with a state of its own");
        break;
      }
      case 0x51: stack.push(rules.persistent(pop())); break; // BINPERSID
      default:
        fail(`expected a known opcode, got ${refused[opcode] ?? `0x${opcode.toString(16)}`}`);
    }
  }
}
