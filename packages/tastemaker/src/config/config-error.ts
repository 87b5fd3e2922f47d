import { nearestName, UsageError } from "@tastemaker/tensor";
import { z } from "zod";

type Issue = z.core.$ZodIssue;
type Path = readonly PropertyKey[];

/** Where a setting came from, for messages: the last source that set it. */
export type SettingSource = (path: string) => string;

/** `rewards.0.name` style path of a setting. */
export function settingPath(path: Path): string {
  return path.map(String).join(".");
}

function valueAt(input: unknown, path: Path): unknown {
  return path.reduce<unknown>((value, key) => (typeof value === "object" && value !== null ? (value as Record<PropertyKey, unknown>)[key] : undefined), input);
}

function show(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "number") return String(value);
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/** The schema found under a path, looking through defaults and optionals; undefined where the path enters a union. */
function schemaAt(schema: z.core.$ZodType, path: Path): z.core.$ZodType | undefined {
  let current: z.core.$ZodType | undefined = schema;
  for (const key of path) {
    current = current === undefined ? undefined : unwrap(current);
    if (current instanceof z.ZodObject) current = (current.shape as Record<PropertyKey, z.core.$ZodType>)[key];
    else if (current instanceof z.ZodArray) current = current.element;
    else return undefined;
  }
  return current;
}

function unwrap(schema: z.core.$ZodType): z.core.$ZodType {
  let current = schema;
  while (current instanceof z.ZodDefault || current instanceof z.ZodPrefault || current instanceof z.ZodOptional) current = current.unwrap();
  return current;
}

/** A schema's `expected` note (unions carry one), else undefined. */
function expectedNote(schema: z.core.$ZodType | undefined): string | undefined {
  const note = schema === undefined ? undefined : z.globalRegistry.get(schema)?.["expected"];
  return typeof note === "string" ? note : undefined;
}

const typeNames: Readonly<Record<string, string>> = { int: "a whole number", number: "a number", string: "a text", boolean: "true or false", array: "a list", object: "an object { ... }" };

function expectedOf(issue: Issue): string {
  switch (issue.code) {
    case "invalid_type":
      return typeNames[issue.expected] ?? issue.expected;
    case "invalid_value":
      return `one of ${issue.values.map((value) => String(value)).join(", ")}`;
    case "too_small": {
      const bound = `${issue.inclusive === false ? ">" : ">="} ${issue.minimum}`;
      if (issue.origin === "string") return Number(issue.minimum) === 1 ? "a text that is not empty" : `a text of length ${bound}`;
      return issue.origin === "array" ? `a list of length ${bound}` : `a number ${bound}`;
    }
    case "too_big": {
      const bound = `${issue.inclusive === false ? "<" : "<="} ${issue.maximum}`;
      if (issue.origin === "string") return `a text of length ${bound}`;
      return issue.origin === "array" ? `a list of length ${bound}` : `a number ${bound}`;
    }
    default:
      return issue.message;
  }
}

/** Of a union's branches, the one that the value was meant for: an object that shares a key, or the only one of its type. */
function meantBranch(issue: Extract<Issue, { code: "invalid_union" }>): Issue | undefined {
  const branches = issue.errors.filter((issues) => {
    const first = issues[0];
    // A branch whose very type does not fit was not meant; a literal or enumeration is not the whole choice either.
    return first !== undefined && !(first.path.length === 0 && (first.code === "invalid_type" || first.code === "invalid_value"));
  });
  const ranked = branches.map((issues) => ({ issues, missing: issues.filter((inner) => inner.code === "invalid_type" || inner.code === "unrecognized_keys").length }));
  ranked.sort((a, b) => a.missing - b.missing);
  const [first, second] = ranked;
  return first !== undefined && (second === undefined || first.missing < second.missing) ? first.issues[0] : undefined;
}

function describe(issue: Issue, path: Path, root: z.core.$ZodType, input: unknown, source: SettingSource, help: string): UsageError {
  const at = settingPath(path);
  if (issue.code === "unrecognized_keys") {
    const key = issue.keys[0]!;
    const parent = schemaAt(root, path);
    const object = parent === undefined ? undefined : unwrap(parent);
    const known = object instanceof z.ZodObject ? Object.keys(object.shape as object) : [];
    const full = at === "" ? key : `${at}.${key}`;
    const nearest = nearestName(key, known);
    const expected = known.length === 0 ? (expectedNote(parent) ?? "a known setting") : `one of ${known.join(", ")}`;
    return new UsageError("config-unknown", `configuration: expected ${expected}, got "${key}" (at ${source(full)})`, nearest === undefined ? help : `did you mean "${nearest}"?`);
  }
  if (issue.code === "invalid_union") {
    const inner = meantBranch(issue);
    if (inner !== undefined) return describe(inner, [...path, ...inner.path], root, input, source, help);
  }
  const expected = issue.code === "invalid_union" ? (expectedNote(schemaAt(root, path)) ?? "another kind of value") : expectedOf(issue);
  const got = valueAt(input, path);
  const nearest = issue.code === "invalid_value" && typeof got === "string" ? nearestName(got, issue.values.map(String)) : undefined;
  const cure = nearest !== undefined ? `did you mean "${nearest}"?` : help;
  return new UsageError("config-invalid", `configuration: expected ${expected}, got ${show(got)} (at ${source(at)})`, cure);
}

/**
 * Turns zod's first complaint into `configuration: expected ..., got ... (at ...); cure`; further complaints are counted.
 * @param root the schema that was applied to `input`
 * @param help the cure where no name is near
 */
export function configError(error: z.ZodError, root: z.core.$ZodType, input: unknown, source: SettingSource, help = "see `tastemaker train --help-config`"): UsageError {
  const issues: readonly Issue[] = error.issues;
  // An unknown key explains more than the missing value it causes.
  const first = issues.find((issue) => issue.code === "unrecognized_keys") ?? issues[0]!;
  const made = describe(first, first.path, root, input, source, help);
  if (issues.length === 1) return made;
  const others = issues.filter((issue) => issue !== first).map((issue) => settingPath(issue.path) || "the whole");
  return new UsageError(made.code, made.message, `also wrong: ${others.join(", ")}`);
}
