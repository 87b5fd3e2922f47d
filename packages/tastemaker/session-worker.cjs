// Runs inside a worker thread: one onnxruntime session, one request at a time. Plain JavaScript beside src/ and dist/, because threads of
// Node 20 cannot start from TypeScript sources.
"use strict";
const { parentPort, workerData } = require("node:worker_threads");
const ort = require("onnxruntime-node");

async function serve() {
  const session = await ort.InferenceSession.create(workerData.model, workerData.options);
  parentPort.postMessage({ ready: true });
  parentPort.on("message", async (request) => {
    if (request === "release") {
      await session.release();
      parentPort.postMessage({ released: true });
      parentPort.close();
      return;
    }
    try {
      // onnxruntime refuses shared memory; slice() copies it, here and not in the thread that everything waits for.
      const own = (data) => (data.buffer instanceof SharedArrayBuffer ? data.slice() : data);
      const feeds = Object.fromEntries(Object.entries(request).map(([name, { type, dims, data }]) => [name, new ort.Tensor(type, own(data), dims)]));
      const results = await session.run(feeds);
      const outputs = Object.fromEntries(Object.entries(results).map(([name, { type, dims, data }]) => [name, { type, dims, data }]));
      parentPort.postMessage({ outputs }, [...new Set(Object.values(outputs).map(({ data }) => data.buffer))]);
    } catch (error) {
      parentPort.postMessage({ error: String(error) });
    }
  });
}

serve().catch((error) => parentPort.postMessage({ ready: false, error: String(error) }));
