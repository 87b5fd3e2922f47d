/** The white space of Python's `str.split` and `str.strip`, as contents of a character class. JavaScript's `\s` has U+FEFF instead of U+001C–U+001F and U+0085. */
export const spaces = "\\t-\\r\\u001c- \\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";

const words = new RegExp(`[^${spaces}]+`, "gu");

/** Words between white space, as Python's `str.split()` gives them. */
export function splitWords(text: string): readonly string[] {
  return text.match(words) ?? [];
}
