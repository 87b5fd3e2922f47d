import { add, input, program } from "@tastemaker/tensor";
import { describe, expect, it } from "vitest";

import { linear } from "./layers.ts";
import { collectParameters, observed, scopeOf } from "./scope.ts";

describe("scope", () => {
  it("joins paths to checkpoint keys", () => {
    const asked: string[] = [];
    const root = scopeOf((key, shape) => {
      asked.push(key);
      return input(key, shape);
    });
    root.get("logit_scale", []);
    root.at("down_blocks.0").at("resnets.1").get("conv1.weight", [2, 2]);
    root.at("").at("a").get("b", [1]);
    expect(asked).toEqual(["logit_scale", "down_blocks.0.resnets.1.conv1.weight", "a.b"]);
  });

  it("gives one leaf per key, so a layer used twice is one input", () => {
    const scope = scopeOf((key, shape) => input(key, shape));
    const x = input("x", [1, 3]);
    const twice = add(linear(scope.at("fc"), x, 3), linear(scope.at("fc"), linear(scope.at("fc"), x, 3), 3));
    expect(program({ twice }).inputs.map(({ name }) => name).sort()).toEqual(["fc.bias", "fc.weight", "x"]);
  });

  it("names the key when a weight has another shape", () => {
    const scope = scopeOf((key) => input(key, [4, 4]));
    expect(() => scope.at("a.b").get("weight", [4, 5])).toThrow(/expected shape \[4, 5\], got \[4, 4\] \(at a\.b\.weight\)/);
  });

  it("lists parameters with PyTorch's starting ranges", () => {
    const found = collectParameters((scope) => {
      linear(scope.at("fc"), input("x", [2, 16]), 3);
      linear(scope.at("out"), input("y", [2, 4]), 3, { initial: { kind: "normal", std: 0.02 } });
    });
    expect(found).toEqual([
      { key: "fc.weight", shape: [3, 16], initial: { kind: "uniform", bound: 0.25 } },
      { key: "fc.bias", shape: [3], initial: { kind: "uniform", bound: 0.25 } },
      { key: "out.weight", shape: [3, 4], initial: { kind: "normal", std: 0.02 } },
      { key: "out.bias", shape: [3], initial: { kind: "constant", value: 0 } },
    ]);
  });

  it("reports to observers added anywhere on the way down", () => {
    const seen: string[] = [];
    const scope = scopeOf((key, shape) => input(key, shape));
    const below = observed(observed(scope, (path) => seen.push(`outer ${path}`)).at("mid"), (path) => seen.push(`inner ${path}`));
    const x = input("x", [1]);
    expect(below.at("norm").report(x)).toBe(x);
    expect(seen).toEqual(["outer mid.norm", "inner mid.norm"]);
  });
});
