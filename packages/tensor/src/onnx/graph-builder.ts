import type { Shape } from "../shape.ts";
import type { OnnxAttribute, OnnxEmitter, WeightSource } from "../tensor.ts";
import { ELEMENT_TYPE, type OnnxInitializer, type OnnxNode } from "./writer.ts";

/** Bytes of a number list in the element type's little-endian form. */
function bytesOf(values: ArrayLike<number>, type: "float32" | "int32" | "int64" | "bool"): Uint8Array {
  if (type === "int64") return new Uint8Array(BigInt64Array.from(Array.from(values), BigInt).buffer);
  if (type === "int32") return new Uint8Array(Int32Array.from(values).buffer);
  return type === "bool" ? Uint8Array.from(values) : new Uint8Array(Float32Array.from(values).buffer);
}

/** Collects ONNX nodes and initializers; equal constants are stored once. Their names begin with % so that they are not an input's. */
export class GraphBuilder implements OnnxEmitter {
  readonly provider: OnnxEmitter["provider"];
  readonly convInputGradient: OnnxEmitter["convInputGradient"];
  readonly nodes: OnnxNode[] = [];
  readonly initializers: Map<string, OnnxInitializer> = new Map<string, OnnxInitializer>();
  private nextName = 0;

  constructor(options: Pick<OnnxEmitter, "provider" | "convInputGradient">) {
    this.provider = options.provider;
    this.convInputGradient = options.convInputGradient;
  }

  node(
    opType: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, OnnxAttribute>> = {},
    options: { readonly domain?: string; readonly outputCount?: number } = {},
  ): string[] {
    const outputs = Array.from({ length: options.outputCount ?? 1 }, () => `%${this.nextName++}`);
    this.nodes.push({ opType, inputs, outputs, attributes, domain: options.domain ?? "" });
    return outputs;
  }

  private initializer(values: ArrayLike<number>, shape: Shape, type: "float32" | "int32" | "int64" | "bool"): string {
    const content = bytesOf(values, type);
    // Small constants are shared by content; large ones are few.
    const key = content.length <= 4096 ? `${type}[${shape}]${content.join()}` : `unique${this.initializers.size}`;
    const known = this.initializers.get(key);
    if (known) return known.name;
    const name = `%c${this.initializers.size}`;
    this.initializers.set(key, { name, shape, elementType: ELEMENT_TYPE[type], content });
    return name;
  }

  floats(values: ArrayLike<number>, shape: Shape = [values.length]): string {
    return this.initializer(values, shape, "float32");
  }

  ints(values: readonly number[]): string {
    return this.initializer(values, [values.length], "int64");
  }

  int32s(values: ArrayLike<number>, shape: Shape): string {
    return this.initializer(values, shape, "int32");
  }

  bools(values: ArrayLike<number>, shape: Shape): string {
    return this.initializer(values, shape, "bool");
  }

  external(source: WeightSource): string {
    const key = `${source.file}@${source.offset}[${source.shape}]`;
    const known = this.initializers.get(key);
    if (known) return known.name;
    const name = `%w${this.initializers.size}`;
    this.initializers.set(key, { name, shape: source.shape, elementType: ELEMENT_TYPE[source.dtype], content: source });
    return name;
  }
}
