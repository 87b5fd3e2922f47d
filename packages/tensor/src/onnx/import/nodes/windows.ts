import type { Shape } from "../../../shape.ts";
import type { NodeContext } from "../node-context.ts";

/** How a window moves along one axis of a convolution or pooling. */
export interface Window {
  readonly size: number;
  readonly kernel: number;
  readonly stride: number;
  readonly dilation: number;
  readonly before: number;
  readonly after: number;
  /** Number of positions. */
  readonly count: number;
}

const MOST_WINDOW = 1 << 12;

/** A list attribute of one positive number per spatial axis. */
export function perAxis(node: NodeContext, name: string, rank: number, least: number): readonly number[] {
  const values = node.ints(name) ?? Array.from({ length: rank }, () => 1);
  if (values.length !== rank || values.some((n) => !(n >= least && n <= MOST_WINDOW))) throw node.error(`expected ${rank} numbers from ${least} to ${MOST_WINDOW} as ${name}, got [${values}]`);
  return values;
}

/** Zeros before and after each spatial axis: given, or so many that the output has ⌈size/stride⌉ elements. */
export function paddingOf(node: NodeContext, sizes: Shape, kernels: readonly number[], strides: readonly number[], dilations: readonly number[]): readonly (readonly [number, number])[] {
  const mode = node.choice("auto_pad", ["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"], "NOTSET");
  if (mode === "VALID") return sizes.map(() => [0, 0]);
  if (mode !== "NOTSET") {
    return sizes.map((size, i) => {
      const covered = (kernels[i]! - 1) * dilations[i]! + 1;
      const total = Math.max(0, (Math.ceil(size / strides[i]!) - 1) * strides[i]! + covered - size);
      const [less, more] = [Math.floor(total / 2), Math.ceil(total / 2)];
      return mode === "SAME_UPPER" ? [less, more] : [more, less];
    });
  }
  const pads = node.ints("pads") ?? sizes.flatMap(() => [0, 0]);
  if (pads.length !== 2 * sizes.length || pads.some((n) => !(n >= 0 && n <= MOST_WINDOW))) throw node.error(`expected ${2 * sizes.length} non-negative pads, got [${pads}]`);
  return sizes.map((_, i) => [pads[i]!, pads[i + sizes.length]!]);
}

/** The windows of a pooling with a kernel of the given sizes. */
export function poolingWindows(node: NodeContext, sizes: Shape): readonly Window[] {
  const rank = sizes.length;
  if (node.ints("kernel_shape") === undefined) throw node.error("expected attribute kernel_shape, got none");
  const [kernels, strides, dilations] = [perAxis(node, "kernel_shape", rank, 1), perAxis(node, "strides", rank, 1), perAxis(node, "dilations", rank, 1)];
  const isCeiled = node.flag("ceil_mode", false);
  return paddingOf(node, sizes, kernels, strides, dilations).map(([before, after], i) => {
    const [size, kernel, stride, dilation] = [sizes[i]!, kernels[i]!, strides[i]!, dilations[i]!];
    const steps = (size + before + after - (kernel - 1) * dilation - 1) / stride;
    let count = (isCeiled ? Math.ceil(steps) : Math.floor(steps)) + 1;
    // A window that would begin in the padding behind the data is left out, as in PyTorch.
    if (isCeiled && (count - 1) * stride >= size + before) count--;
    const covered = (kernel - 1) * dilation + 1;
    if (!(count >= 1) || before >= covered || after >= covered + stride) throw node.error(`expected windows of ${covered} that fit, got size ${size} with pads ${before} and ${after}`);
    return { size, kernel, stride, dilation, before, after, count };
  });
}
