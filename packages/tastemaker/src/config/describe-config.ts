import { z } from "zod";

interface JsonSchema {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly anyOf?: readonly JsonSchema[];
  readonly items?: JsonSchema;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly exclusiveMaximum?: number;
  readonly expected?: string;
}

function numberRange(schema: JsonSchema): string {
  const low = schema.exclusiveMinimum !== undefined ? `> ${schema.exclusiveMinimum}` : schema.minimum !== undefined && schema.minimum > Number.MIN_SAFE_INTEGER ? `>= ${schema.minimum}` : "";
  const high = schema.exclusiveMaximum !== undefined ? `< ${schema.exclusiveMaximum}` : schema.maximum !== undefined && schema.maximum < Number.MAX_SAFE_INTEGER ? `<= ${schema.maximum}` : "";
  return [low, high].filter((bound) => bound !== "").join(", ");
}

function typeName(schema: JsonSchema): string {
  if (schema.expected !== undefined) return schema.expected.replaceAll("`", "");
  if (schema.enum !== undefined) return schema.enum.map(String).join(" | ");
  if (schema.const !== undefined) return String(schema.const);
  if (schema.anyOf !== undefined) return schema.anyOf.map(typeName).join(" | ");
  switch (schema.type) {
    case "integer":
    case "number":
      return [schema.type === "integer" ? "whole number" : "number", numberRange(schema)].filter((part) => part !== "").join(" ");
    case "string":
      return "text";
    case "boolean":
      return "true | false";
    case "array":
      return schema.items?.type === "object" ? "list of objects" : `list of ${schema.items === undefined ? "values" : typeName(schema.items)}`;
    default:
      return schema.type ?? "value";
  }
}

function wrap(text: string, width: number, indent: string): string {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width - indent.length) {
      lines.push(indent + line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  if (line !== "") lines.push(indent + line);
  return lines.join("\n");
}

function describeProperties(schema: JsonSchema, prefix: string, width: number, lines: string[]): void {
  for (const [key, property] of Object.entries(schema.properties ?? {})) {
    const path = prefix + key;
    if (property.properties !== undefined) {
      lines.push(`${path}.*`, wrap(property.description ?? "", width, "    "), "");
      describeProperties(property, `${path}.`, width, lines);
      continue;
    }
    const fallback = property.default === undefined ? "" : `   default ${JSON.stringify(property.default)}`;
    const heading = `${path}   ${typeName(property)}${fallback}`;
    lines.push(heading.length > width ? `${path}\n${wrap(typeName(property) + fallback, width, "    ")}` : heading);
    lines.push(wrap(property.description ?? "", width, "    "), "");
    if (property.items?.properties !== undefined) describeProperties(property.items, `${path}.N.`, width, lines);
  }
}

/** Prints a configuration schema as a manual: each setting's dotted path, type and range, default and meaning. */
export function describeConfig(schema: z.core.$ZodType, width = 100): string {
  const lines: string[] = [];
  describeProperties(z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }) as JsonSchema, "", width, lines);
  return `${lines.join("\n").trimEnd()}\n`;
}
