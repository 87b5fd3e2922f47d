/**
 * True for a relative path with `/` between names that stays inside its folder on every system: no `..`, no root, no drive, no backslash, no control character.
 * Names in listings come from strangers and become paths on this disk.
 */
export function isSafePath(path: string): boolean {
  if (path === "" || path.length > 1024) return false;
  // oxlint-disable-next-line no-control-regex -- control characters are what is refused
  if (/[\\:\u0000-\u001f\u007f]/.test(path)) return false;
  return path.split("/").every((name) => name !== "" && name !== "." && name !== ".." && Buffer.byteLength(name) <= 255);
}
