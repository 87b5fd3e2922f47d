import { InternalError, type Shape, type Tensor, UsageError, input } from "@tastemaker/tensor";

/** How a parameter starts when a model is made from scratch; see `initialise.ts`. */
export type InitialValue =
  /** U(−bound, bound). */
  | { readonly kind: "uniform"; readonly bound: number }
  /** N(0, std²). */
  | { readonly kind: "normal"; readonly std: number }
  | { readonly kind: "constant"; readonly value: number };

/** One parameter of a model: its checkpoint key, shape and starting value. */
export interface Parameter {
  readonly key: string;
  readonly shape: Shape;
  readonly initial: InitialValue;
}

/** Gives the tensor of a parameter: a `weight()` leaf (frozen), an `input()` leaf (trainable), or any computed tensor. */
export type ParameterProvider = (key: string, shape: Shape, initial: InitialValue) => Tensor;

/** A low-rank update of one linear layer, already placed in a graph. */
export interface LoraModule {
  /** `[rank, in]`, lora_A. */
  readonly down: Tensor;
  /** `[out, rank]`, lora_B. */
  readonly up: Tensor;
  /** `[B]`, as a tensor or known numbers: 1 for rows that use the adapter, 0 for rows that do not. */
  readonly scale: Tensor | readonly number[];
  /** alpha / rank. */
  readonly factor: number;
}

/** Receives the output of every module that reports one, under its path. */
export type ModuleObserver = (path: string, value: Tensor) => void;

/** A position in a checkpoint: `path` is the key prefix, verbatim, without the last dot ("" at the root). */
export interface Scope {
  readonly path: string;
  /** The scope below, e.g. `scope.at("resnets.0")`. */
  at(path: string): Scope;
  /**
   * The parameter `path.name`. The same key gives the same tensor however often it is asked for.
   *
   * @param initial Starting value when the model is made from scratch; default 0.
   */
  get(name: string, shape: Shape, initial?: InitialValue): Tensor;
  /** The adapter of the linear layer at this path, or of `path.module`; undefined when it has none. */
  lora(module?: string): LoraModule | undefined;
  /** Reports `value` as the output of the module at this path and returns it. */
  report(value: Tensor): Tensor;
}

/** What a tree of scopes shares. */
interface Root {
  readonly find: ParameterProvider;
  readonly adapter: (module: string) => LoraModule | undefined;
  readonly observers: readonly ModuleObserver[];
}

const ZERO: InitialValue = { kind: "constant", value: 0 };

/** Joins two parts of a key; either may be empty. */
export function joinPath(a: string, b: string): string {
  return a === "" ? b : b === "" ? a : `${a}.${b}`;
}

/** Remembers which root a scope was made from, so that `withLora` and `observed` can add to it. */
const roots: WeakMap<Scope, Root> = new WeakMap<Scope, Root>();

function scopeAt(root: Root, path: string): Scope {
  const scope: Scope = {
    path,
    at: (below) => scopeAt(root, joinPath(path, below)),
    get: (name, shape, initial = ZERO) => root.find(joinPath(path, name), shape, initial),
    lora: (module = "") => root.adapter(joinPath(path, module)),
    report: (value) => {
      for (const observer of root.observers) observer(path, value);
      return value;
    },
  };
  roots.set(scope, root);
  return scope;
}

function rootOf(scope: Scope): Root {
  const root = roots.get(scope);
  if (root === undefined) throw new InternalError(`scope "${scope.path}" was not made by scopeOf`);
  return root;
}

/**
 * The root scope over `provider`. Each key is asked for once and the tensor is kept, so a network that is called several times in one trace
 * shares its leaves.
 *
 * @throws UsageError `weight-shape` when the provider's tensor or an earlier request of the same key has another shape.
 */
export function scopeOf(provider: ParameterProvider): Scope {
  const known = new Map<string, Tensor>();
  const find: ParameterProvider = (key, shape, initial) => {
    const tensor = known.get(key) ?? provider(key, shape, initial);
    if (tensor.shape.length !== shape.length || tensor.shape.some((size, axis) => size !== shape[axis])) {
      throw new UsageError(
        "weight-shape",
        `weight: expected shape [${shape.join(", ")}], got [${tensor.shape.join(", ")}] (at ${key})`,
        "check that the configuration belongs to these weights",
      );
    }
    known.set(key, tensor);
    return tensor;
  };
  return scopeAt({ find, adapter: () => undefined, observers: [] }, "");
}

/** The same scope, with `observer` told the output of every module below that reports one. */
export function observed(scope: Scope, observer: ModuleObserver): Scope {
  const root = rootOf(scope);
  return scopeAt({ ...root, observers: [...root.observers, observer] }, scope.path);
}

/** The same scope, whose linear layers ask `adapter` (by full module path) for a low-rank update; replaces an earlier adapter. */
export function adapted(scope: Scope, adapter: (module: string) => LoraModule | undefined): Scope {
  return scopeAt({ ...rootOf(scope), adapter }, scope.path);
}

/** Every parameter that `model` asks for, in the order of first use, found by running it on leaves without data. */
export function collectParameters(model: (scope: Scope) => void): Parameter[] {
  const found: Parameter[] = [];
  model(
    scopeOf((key, shape, initial) => {
      found.push({ key, shape, initial });
      return input(key, shape);
    }),
  );
  return found;
}
