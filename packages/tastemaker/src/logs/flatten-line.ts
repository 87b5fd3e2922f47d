/** Levels below a line that are looked at; what is nested deeper is left out. */
const maxDepth = 8;

/** A number, or a text or truth value as it stands in a log. */
export type Leaf = number | string | boolean;

/** The single values of a log line with the keys that lead to them, in the line's order; lists and null are left out. */
export function flattenLine(line: object): (readonly [keys: readonly string[], value: Leaf])[] {
  const leaves: (readonly [readonly string[], Leaf])[] = [];
  const visit = (value: object, keys: readonly string[]): void => {
    for (const [key, inner] of Object.entries(value) as [string, unknown][]) {
      const path = [...keys, key];
      if (typeof inner === "number" || typeof inner === "string" || typeof inner === "boolean") leaves.push([path, inner]);
      else if (typeof inner === "object" && inner !== null && !Array.isArray(inner) && path.length < maxDepth) visit(inner, path);
    }
  };
  visit(line, []);
  return leaves;
}

/** The number a leaf stands for, also one that JSON lacks and logs hold as text; undefined for other texts and truth values. */
export function numberOf(leaf: Leaf): number | undefined {
  if (typeof leaf === "number") return leaf;
  return leaf === "NaN" || leaf === "Infinity" || leaf === "-Infinity" ? Number(leaf) : undefined;
}
