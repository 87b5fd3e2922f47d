import { execFile } from "node:child_process";
import { createRequire } from "node:module";
import { promisify } from "node:util";
import { add, encodeProgram, input, type OnnxBackendOptions, program, runtimeReason } from "@tastemaker/tensor";

type Provider = NonNullable<OnnxBackendOptions["provider"]>;

/** Long enough for a graphics driver to start, short enough for somebody who waits. */
const timeoutMs = 30_000;

const script = `
const [entry, provider, model] = process.argv.slice(1);
const ort = require(entry);
ort.env.logLevel = "fatal";
(async () => {
  const session = await ort.InferenceSession.create(Buffer.from(model, "base64"), { executionProviders: [provider], logSeverityLevel: 4 });
  const { "out:y": y } = await session.run({ x: new ort.Tensor("float32", Float32Array.of(1, 2), [2]) });
  if (y.data[0] !== 2 || y.data[1] !== 3) throw new Error("it computes 1 + 1 = " + y.data[0]);
  process.stdout.write("works");
  process.exit(0);
})().catch((error) => {
  process.stdout.write(error.message);
  process.exit(0);
});`;

/**
 * Whether an execution provider starts here and adds two numbers: undefined when it does, else the reason why not. In a process of its own, because a
 * broken driver takes its process down.
 */
export async function probeProvider(provider: Provider): Promise<string | undefined> {
  const { model } = encodeProgram(program({ y: add(input("x", [2]), 1) }), { provider, convInputGradient: "transpose" });
  const entry = createRequire(import.meta.url).resolve("onnxruntime-node");
  try {
    const { stdout } = await promisify(execFile)(process.execPath, ["-e", script, "--", entry, provider, Buffer.from(model).toString("base64")], { timeout: timeoutMs, windowsHide: true });
    return stdout === "works" ? undefined : runtimeReason(stdout);
  } catch (error) {
    const { killed, signal, message } = error as Error & { killed?: boolean; signal?: string };
    if (killed === true) return `no answer within ${timeoutMs / 1000} s`;
    return signal === undefined ? runtimeReason(message) : `its process ended with ${signal}`;
  }
}
