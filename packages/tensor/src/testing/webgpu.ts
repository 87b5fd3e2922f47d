import { runtimeReason } from "../backends/onnx-backend.ts";
import { add } from "../ops/elementwise.ts";
import { input } from "../ops/leaves.ts";
import { program } from "../program.ts";
import { runOnnx } from "./run-program.ts";

/** Why WebGPU does not start here, for the name of a test that is then skipped; undefined when it does. */
export async function webgpuProblem(): Promise<string | undefined> {
  try {
    await runOnnx(program({ y: add(input("x", [2]), 1) }), { x: Float32Array.of(1, 2) }, { provider: "webgpu" });
    return undefined;
  } catch (error) {
    return /got webgpu \((.*?)\)/.exec(runtimeReason(error))?.[1] ?? runtimeReason(error);
  }
}
