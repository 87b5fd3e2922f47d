import type { NodeMapping } from "./node-context.ts";
import { convolutionNodes } from "./nodes/convolution.ts";
import { elementwiseNodes } from "./nodes/elementwise.ts";
import { indexingNodes } from "./nodes/indexing.ts";
import { linearNodes } from "./nodes/linear.ts";
import { microsoftNodes } from "./nodes/microsoft.ts";
import { normalizationNodes } from "./nodes/normalization.ts";
import { poolingNodes } from "./nodes/pooling.ts";
import { reductionNodes } from "./nodes/reductions.ts";
import { resizeNodes } from "./nodes/resize.ts";
import { shapingNodes } from "./nodes/shaping.ts";

/** ONNX's own operators that can be imported, in alphabetical order of their files. To add one, add a row to the table of its file. */
export const onnxMappings: ReadonlyMap<string, NodeMapping> = new Map(
  [convolutionNodes, elementwiseNodes, indexingNodes, linearNodes, normalizationNodes, poolingNodes, reductionNodes, resizeNodes, shapingNodes].flatMap((table) =>
    Object.entries(table),
  ),
);

const microsoftMappings: ReadonlyMap<string, NodeMapping> = new Map(Object.entries(microsoftNodes));

/** How an operator of a domain ("" is ONNX's own) is written with ours, or undefined. */
export function mappingOf(domain: string, opType: string): NodeMapping | undefined {
  if (domain === "") return onnxMappings.get(opType);
  return domain === "com.microsoft" ? microsoftMappings.get(opType) : undefined;
}
