import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { InternalError, type OnnxRuntime } from "@tastemaker/tensor";
import { type InferenceSession, Tensor } from "onnxruntime-common";

/** What travels to and from a session's thread. */
interface PlainTensor {
  readonly type: "float32" | "int32" | "bool";
  readonly dims: readonly number[];
  readonly data: Float32Array | Int32Array | Uint8Array;
}

/** The same place seen from the sources and from the compiled package. */
const workerFile: URL = new URL("../../session-worker.cjs", import.meta.url);

interface Reply {
  readonly outputs?: Readonly<Record<string, PlainTensor>>;
  readonly error?: string;
}

/**
 * An onnxruntime whose sessions live in threads of their own, so that several run at the same time (onnxruntime's `run` blocks its thread).
 * Inputs are copied to the thread (shared memory by the thread itself), outputs moved back. A session must not be given two runs at once.
 */
export const workerRuntime: OnnxRuntime = {
  Tensor,
  InferenceSession: {
    create: async (model, options) => {
      const worker = new Worker(workerFile, { workerData: { model, options } });
      const first = await Promise.race([once(worker, "message"), once(worker, "error").then(([error]) => Promise.reject(error as Error))]);
      const [{ ready, error }] = first as [{ ready?: boolean; error?: string }];
      if (ready !== true) throw new InternalError(`a session's thread did not start: ${error}`);
      worker.unref();
      const session = {
        run: async (feeds: Record<string, Tensor>): Promise<Record<string, Tensor>> => {
          const request = Object.fromEntries(Object.entries(feeds).map(([name, { type, dims, data }]) => [name, { type, dims, data }]));
          worker.ref();
          const reply = once(worker, "message");
          worker.postMessage(request);
          const [{ outputs, error }] = (await reply) as [Reply];
          worker.unref();
          if (outputs === undefined) throw new InternalError(`onnxruntime failed in its thread: ${error}`);
          return Object.fromEntries(Object.entries(outputs).map(([name, { type, dims, data }]) => [name, new Tensor(type, data as Float32Array, dims)]));
        },
        release: async (): Promise<void> => {
          const reply = once(worker, "message");
          worker.ref();
          worker.postMessage("release");
          await reply;
        },
      };
      return session as unknown as InferenceSession;
    },
  },
};
