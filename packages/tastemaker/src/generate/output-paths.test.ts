import { join } from "node:path";
import { expect, it } from "vitest";
import { outputPaths } from "./generate-command.ts";

it.each([
  ["fox.png", ["a fox"], ["fox.png"]],
  ["fox.png", ["a fox", "a cat"], [join("fox", "0-a-fox.png"), join("fox", "1-a-cat.png")]],
  ["./out/fox.PNG", ["a fox", "!"], [join("out", "fox", "0-a-fox.png"), join("out", "fox", "1.png")]],
  ["/tmp/fox.png", ["a fox", "a cat"], [join("/tmp", "fox", "0-a-fox.png"), join("/tmp", "fox", "1-a-cat.png")]],
  ["pictures.v2", ["a fox"], [join("pictures.v2", "0-a-fox.png")]],
])("pictures of %s, %j", (out, prompts, paths) => {
  expect(outputPaths(out, prompts)).toEqual(paths);
});
