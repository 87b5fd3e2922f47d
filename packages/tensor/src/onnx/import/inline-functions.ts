import { onnxInvalid } from "./wire-reader.ts";
import type { OnnxAttributeValue, ProtoFunction, ProtoModel, ProtoNode } from "./model-proto.ts";

/** Functions may call functions; doubling at each level would make a small file endless. */
const MOST_NODES = 200_000;
const DEEPEST = 32;

const keyOf = (domain: string, name: string): string => `${domain}\0${name}`;

/**
 * The model's nodes with calls of its own functions replaced by their bodies; inner values get names of their own.
 * @throws UsageError `onnx-invalid` for endless or enormous ones
 */
export function inlineFunctions({ nodes, functions }: Pick<ProtoModel, "nodes" | "functions">, file: string): readonly ProtoNode[] {
  if (functions.length === 0) return nodes;
  const known = new Map<string, ProtoFunction>(functions.map((fn) => [keyOf(fn.domain, fn.name), fn]));
  const result: ProtoNode[] = [];
  let calls = 0;
  const add = (node: ProtoNode, depth: number): void => {
    const fn = known.get(keyOf(node.domain, node.opType));
    if (result.length >= MOST_NODES || calls >= MOST_NODES) throw onnxInvalid(`expected at most ${MOST_NODES} nodes, got more`, file);
    if (!fn) {
      result.push(node);
      return;
    }
    if (depth >= DEEPEST) throw onnxInvalid(`expected functions nested at most ${DEEPEST} deep, got more (in "${fn.name.slice(0, 80)}")`, file);
    const prefix = `${node.name || fn.name}#${calls++}/`;
    const names = new Map<string, string>([["", ""]]);
    fn.inputs.forEach((name, i) => names.set(name, node.inputs[i] ?? ""));
    fn.outputs.forEach((name, i) => names.set(name, node.outputs[i] || prefix + name));
    const renamed = (name: string): string => names.get(name) ?? prefix + name;
    const attributeOf = (name: string): OnnxAttributeValue | undefined => node.attributes.get(name) ?? fn.defaults.get(name);
    for (const inner of fn.nodes) {
      const attributes = [...inner.attributes].flatMap(([name, value]): [string, OnnxAttributeValue][] => {
        const resolved = value.kind === "reference" ? attributeOf(value.name) : value;
        return resolved ? [[name, resolved]] : [];
      });
      add({ ...inner, name: prefix + inner.name, inputs: inner.inputs.map(renamed), outputs: inner.outputs.map(renamed), attributes: new Map(attributes) }, depth + 1);
    }
    // An input handed out unchanged needs a node that names it anew.
    fn.outputs.forEach((name, i) => {
      const wanted = node.outputs[i] ?? "";
      if (fn.inputs.includes(name) && wanted !== "") result.push({ name: prefix, opType: "Identity", domain: "", inputs: [node.inputs[fn.inputs.indexOf(name)] ?? ""], outputs: [wanted], attributes: new Map() });
    });
  };
  for (const node of nodes) add(node, 0);
  return result;
}
