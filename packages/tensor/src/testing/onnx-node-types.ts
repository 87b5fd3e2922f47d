import { BinaryReader } from "@bufbuild/protobuf/wire";

/** All occurrences of a length-delimited field in a protobuf message. */
function submessages(message: Uint8Array, field: number): Uint8Array[] {
  const reader = new BinaryReader(message);
  const found: Uint8Array[] = [];
  while (reader.pos < reader.len) {
    const [number, wireType] = reader.tag();
    if (number === field && wireType === 2) found.push(reader.bytes());
    else reader.skip(wireType, number);
  }
  return found;
}

/** Operator types of an ONNX model's nodes in order, with their domain when it is not the default. Field numbers of onnx.proto. */
export function onnxNodeTypes(model: Uint8Array): string[] {
  const text = new TextDecoder();
  return submessages(model, 7).flatMap((graph) =>
    submessages(graph, 1).map((node) => {
      const domain = submessages(node, 7)[0];
      const type = text.decode(submessages(node, 4)[0]);
      return domain && domain.length > 0 ? `${text.decode(domain)}.${type}` : type;
    }),
  );
}
