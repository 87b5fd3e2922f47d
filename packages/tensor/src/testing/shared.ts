import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root: string = fileURLToPath(new URL("../../../../../shared/", import.meta.url));

/**
 * Path of a file of reference vectors kept beside the repository (`../shared/<parts>`), or undefined when the folder is absent.
 * Tests that need it skip when the folder is missing and never skip when it is there.
 */
export function sharedPath(...parts: string[]): string | undefined {
  return existsSync(root) ? root + parts.join("/") : undefined;
}
