import { UsageError } from "@tastemaker/tensor";

/** The text of bytes; a byte-order mark is left out. @param what Kind of table, @param where its place, for messages. @throws UsageError `not-utf8` */
export function decodeUtf8(bytes: Uint8Array, what: string, where: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new UsageError("not-utf8", `${what}: expected UTF-8, got other bytes (at ${where})`, "export the table again as UTF-8");
  }
}
