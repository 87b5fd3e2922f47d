import type { Command } from "commander";
import { addExamples } from "../help.ts";
import { formatBytes, outputOf, printable } from "../output.ts";

interface InspectOptions {
  readonly match?: string;
}

/** `tastemaker inspect FILE`: what a weight file holds, without loading its data. */
export function register(program: Command): void {
  const command = program
    .command("inspect")
    .description("List the tensors and the metadata of a weight file (safetensors, or PyTorch's .pt, .pth, .bin, .ckpt). Nothing in it is executed.")
    .argument("<file>", "a weight file")
    .option("--match <text>", "only tensors whose name contains this text")
    .action(async (file: string, options: InspectOptions, self: Command) => {
      const [{ readWeightFile }, { openNodeFile }] = await Promise.all([import("@tastemaker/diffusion"), import("../../platform/node-files.ts")]);
      const opened = await openNodeFile(file);
      const { format, metadata, tensors } = await readWeightFile(opened);
      const { match } = options;
      const rows = [...tensors]
        .filter(([name]) => match === undefined || name.includes(match))
        .map(([name, { dtype, shape, sizeBytes, strides }]) => ({ name, dtype, shape, sizeBytes, ...(strides === undefined ? {} : { strides }), elements: shape.reduce((product, size) => product * size, 1) }));
      const output = outputOf(self);
      const width = Math.min(80, Math.max(0, ...rows.map(({ name }) => printable(name).length)));
      for (const { name, dtype, shape, sizeBytes, ...row } of rows) {
        output.print(`${printable(name).padEnd(width)}  ${dtype.padEnd(4)}  ${`[${shape.join(", ")}]`.padEnd(18)}  ${formatBytes(sizeBytes).padStart(8)}${"strides" in row ? "  (a view, copied when it is used)" : ""}`);
      }
      for (const [key, value] of metadata) output.print(`metadata ${printable(key)}: ${printable(value.length > 200 ? `${value.slice(0, 200)}…` : value)}`);
      const elements = rows.reduce((total, row) => total + row.elements, 0);
      const bytes = rows.reduce((total, row) => total + row.sizeBytes, 0);
      const shown = match === undefined ? "" : ` of ${tensors.size}`;
      output.print(`${rows.length}${shown} tensors, ${elements.toLocaleString("en")} numbers, ${formatBytes(bytes)} (${format} file of ${formatBytes(opened.sizeBytes)})`);
      output.result({ file: opened.name, format, sizeBytes: opened.sizeBytes, metadata: Object.fromEntries(metadata), tensors: rows.map(({ elements: _elements, ...row }) => row) });
    });
  addExamples(command, ["tastemaker inspect pytorch_lora_weights.safetensors --match to_q"]);
}
