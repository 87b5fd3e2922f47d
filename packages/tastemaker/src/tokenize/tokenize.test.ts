import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bytePairsOfMerges } from "../../../diffusion/src/tokenizers/byte-pairs.ts";
import { readLines } from "../data/read-lines.ts";

const main = fileURLToPath(new URL("../cli/main.ts", import.meta.url));
const list = '"tiny#version: 0.2\nt h\nth e</w>\nc a\nca t</w>';

interface End {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `tastemaker tokenize` with `input` on its standard input. */
function tokenize(input: string | Uint8Array, ...args: string[]): Promise<End> {
  const child = spawn(process.execPath, ["--import", "tsx", "--conditions=@tastemaker/source", main, "tokenize", ...args], { stdio: "pipe" });
  const end = { stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (text: string) => (end.stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (end.stderr += text));
  // A program that stops at a bad vocabulary reads nothing.
  child.stdin.on("error", () => undefined);
  child.stdin.end(input);
  return new Promise((resolve) => child.on("close", (code) => resolve({ code, ...end })));
}

describe("tastemaker tokenize", { timeout: 60_000 }, () => {
  let folder = "";
  let bpe = "";
  let bert = "";
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "tastemaker-tokenize-"));
    bpe = join(folder, "bpe.txt.gz");
    bert = join(folder, "vocab.txt");
    await writeFile(bpe, gzipSync(list));
    await writeFile(bert, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\ncat\n");
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it("prints one line of complete ids per line of text, also for an empty line", async () => {
    expect(await tokenize("The cat\r\n\n  CAT\u2028the", "--tokenizer", "openai", "--vocab", bpe)).toEqual({ code: 0, stderr: "", stdout: "516 513 515 517\n516 517\n516 515 513 517\n" });
    expect(await tokenize("", "--tokenizer", "openai", "--vocab", bpe)).toEqual({ code: 0, stderr: "", stdout: "" });
  });

  it("reads JSON strings and lists of them, and prints one JSON line with masks when padded", async () => {
    const { code, stderr, stdout } = await tokenize('"the\\ncat"\n["cat", "\\ud83d"]\n', "--tokenizer", "bert", "--vocab", bert, "--json-lines", "--length", "4", "--json");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout.trimEnd().split("\n")).toHaveLength(1);
    expect(JSON.parse(stdout)).toEqual({
      tokenizer: "bert",
      startId: 2,
      endId: 3,
      padId: 0,
      vocabularySize: 9,
      length: 4,
      ids: [[2, 5, 6, 3], [2, 6, 3, 0], [2, 3, 0, 0]],
      masks: [[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0]],
      truncated: [false, false, false],
    });
  });

  it("prints a line's ids before the next line comes", async () => {
    const child = spawn(process.execPath, ["--import", "tsx", "--conditions=@tastemaker/source", main, "tokenize", "--tokenizer", "bert", "--vocab", folder], { stdio: "pipe" });
    child.stdin.write("the cat\nth");
    const first = await new Promise<string>((resolve) => child.stdout.setEncoding("utf8").once("data", resolve));
    expect(first).toBe("2 5 6 3\n");
    child.stdin.end("e");
    const second = await new Promise<string>((resolve) => child.stdout.once("data", resolve));
    expect(second).toBe("2 5 3\n");
  });

  it("says in one message what is wrong with tokenizer, vocabulary or text", async () => {
    const failures: [RegExp, ...string[]][] = [
      [/^error: tokenizer: expected one of openai, .*bert, got "opnai"; did you mean "openai"\?\n$/, "opnai", bpe],
      [/^error: merges: expected a first line with "#version", got "\[PAD\]"/, "openai", bert],
      [/^error: vocabulary: expected the token "\[PAD\]", got none/, "bert", bpe],
      [/^error: file: expected a readable file, got nothing/, "openai", join(folder, "absent")],
      [/^error: vocabulary: expected vocab\.json or tokenizer\.json/, "openai", folder],
      [/^error: --vocab: expected one file or folder, or vocab\.json and merges\.txt, got /, "openai", bpe, bert],
    ];
    for (const [message, kind, ...vocabulary] of failures) {
      const end = await tokenize("x", "--tokenizer", kind!, "--vocab", ...vocabulary);
      expect(end).toMatchObject({ code: 2, stdout: "" });
      expect(end.stderr).toMatch(message);
      expect(end.stderr.trimEnd().split("\n")).toHaveLength(1);
    }
    const plain = await tokenize('"a"\nplain', "--tokenizer", "bert", "--vocab", bert, "--json-lines", "--json");
    expect(JSON.parse(plain.stdout)).toMatchObject({ error: { code: "text-not-json", message: expect.stringContaining("line 2") as string } });
    expect((await tokenize(Uint8Array.of(0x61, 0xff), "--tokenizer", "bert", "--vocab", bert)).stderr).toMatch(/^error: text: expected UTF-8/);
  });

  it("takes vocab.json and merges.txt, and says when plain lines look like JSON", async () => {
    const pairs = bytePairsOfMerges(list, "list");
    const files = [join(folder, "my-vocab.json"), join(folder, "my-merges.txt")];
    await writeFile(files[0]!, JSON.stringify(Object.fromEntries(pairs.ids)));
    await writeFile(files[1]!, `#version: 0.2\n${pairs.merges.map((pair) => pair.join(" ")).join("\n")}\n`);
    for (const kind of ["open_clip", "hf_slow_ftfy", "hf_fast"]) {
      const end = await tokenize('["cat"]', "--tokenizer", kind, "--vocab", ...files);
      expect(end).toMatchObject({ code: 0, stderr: "The first line looks like JSON; it is read as plain text. Use --json-lines to read JSON.\n" });
      expect(end.stdout).toBe("516 58 257 515 1 316 517\n");
    }
  });
});

describe("readLines", () => {
  it("joins characters and lines that come in parts, and keeps other separators", async () => {
    const bytes = new TextEncoder().encode("\ufeffé\u2028x\ny\rz\r\n\nend");
    async function* parts(size: number): AsyncGenerator<Uint8Array> {
      for (let start = 0; start < bytes.length; start += size) yield Promise.resolve(bytes.slice(start, start + size));
    }
    for (const size of [1, 2, 3, 100]) {
      const lines: string[] = [];
      for await (const { number, text } of readLines(parts(size), "test")) lines.push(`${number} ${text}`);
      expect(lines).toEqual(["1 é\u2028x", "2 y\rz", "3 ", "4 end"]);
    }
  });
});
