import { type Parameter, scopeOf, type Scope } from "@tastemaker/diffusion";
import { gradients, input, type Program, program, type Tensor } from "@tastemaker/tensor";

/** A scope whose parameters are inputs named `prefix + key`: trainable. */
export function trainableScope(prefix: string): Scope {
  return scopeOf((key, shape) => input(prefix + key, shape));
}

/** The same parameters under `prefix + key`. */
export function withPrefix(prefix: string, parameters: readonly Parameter[]): Parameter[] {
  return parameters.map((parameter) => ({ ...parameter, key: prefix + parameter.key }));
}

/** The program of a training step: `loss`, the other scalars, and `grad:<key>` for every parameter, which must be an input of the loss. */
export function trainingProgram(loss: Tensor, logged: Readonly<Record<string, Tensor>>, keys: readonly string[]): Program {
  const forward = program({ loss });
  const inputs = new Map(forward.inputs.map(({ name, tensor }) => [name, tensor]));
  const used = keys.filter((key) => inputs.has(key));
  const slopes = gradients(loss, used.map((key) => inputs.get(key)!));
  return program({ loss, ...logged, ...Object.fromEntries(used.map((key, i) => [`grad:${key}`, slopes[i]!])) });
}
