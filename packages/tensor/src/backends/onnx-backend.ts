import type { InferenceSession, Tensor as OrtTensor } from "onnxruntime-common";
import { InternalError, UsageError } from "../errors.ts";
import { type EncodedParts, type EncodedProgram, encodeInParts } from "../onnx/encode.ts";
import type { MemoryEstimate } from "../onnx/memory.ts";
import type { DType } from "../shape.ts";
import { type Backend, bindInputs, type HostData, type HostTensor } from "./backend.ts";

/** The parts of onnxruntime (node or web) that are used. */
export interface OnnxRuntime {
  readonly InferenceSession: { create(model: Uint8Array, options?: InferenceSession.SessionOptions): Promise<InferenceSession> };
  readonly Tensor: typeof OrtTensor;
}

export interface OnnxBackendOptions {
  /** Execution provider; default `cpu`. */
  readonly provider?: "cpu" | "cuda" | "webgpu";
  /** Threads inside an operator; default 2. Results do not depend on it. */
  readonly threads?: number;
}

/** Weights above this size are used in place from their files; below, copied and reordered for speed: once widened, once packed, once turned. */
const LOW_MEMORY_BYTES = 128 * 2 ** 20;

/** Above this many nodes onnxruntime's rewrites take longer than they save: seven seconds for eight U-Net steps with gradients. */
const LARGE_GRAPH_NODES = 4000;

/** A large graph hides its shapes from onnxruntime when that saves more than this. */
const HIDING_BYTES = 512 * 2 ** 20;

/** Above this many nodes the time for hiding shapes is not worth any memory. */
const MOST_HIDDEN_NODES = 12_000;

/** Slower than what it replaces (measured). */
const SLOW_OPTIMIZERS = ["SkipLayerNormFusion"];

/**
 * Every rewrite that passes over the whole graph, but for the one that gives convolutions blocked channels, which brings the speed.
 * Source: onnxruntime, core/optimizer/graph_transformer_utils.cc.
 */
const PATIENT_OPTIMIZERS = [
  ...SLOW_OPTIMIZERS,
  "AttentionFusion", "Avx2WeightS8ToU8Transformer", "BiasDropoutFusion", "BiasGeluFusion", "BiasSkipLayerNormFusion", "BiasSoftmaxFusion", "CommonSubexpressionElimination",
  "ConstantFolding", "ConstantSharing", "ConvActivationFusion", "ConvAddActivationFusion", "DoubleQDQPairsRemover", "DynamicQuantizeMatMulFusion", "EmbedLayerNormFusion",
  "EnsureUniqueDQForNodeUnit", "FastGeluFusion", "FuseFp16InitializerToFp32NodeTransformer", "GatherSliceToSplitFusion", "GatherToSliceFusion", "GeluFusionL1", "GeluFusionL2",
  "GemmActivationFusion", "GroupQueryAttentionFusion", "GroupQueryAttentionPreNormFusion", "LabelEncoderFusion", "LayerNormFusionL1", "LayerNormFusionL2",
  "Level1_RuleBasedTransformer", "Level2_RuleBasedTransformer", "MatMulActivationFusion", "MatMulAddFusion", "MatMulIntegerToFloatFusion", "MatMulNBitsFusion", "MatMulNBitsMlpFusion",
  "MatMulNBitsQkvFusion", "MatMulScaleFusion", "MatMul_BatchNormalization_Fusion", "MatmulTransposeFusion", "NhwcTransformer", "NotWhereFusion", "Pad_Fusion", "QDQFinalCleanupTransformer",
  "QDQPropagationTransformer", "QDQS8ToU8Transformer", "QDQSelectorActionTransformer", "QuickGeluFusion", "ReshapeFusion", "SimplifiedLayerNormFusion", "SliceConcatToSpaceToDepthFusion", "TransposeOptimizer", "TransposeOptimizer_CPUExecutionProvider",
  "WeightBiasQuantization", "WhereDummyDq",
];

/** What to do where a provider does not start. */
export const PROVIDER_CURES: Readonly<Record<"cuda" | "webgpu", string>> = {
  cuda: "onnxruntime's CUDA libraries are downloaded apart: with CUDA 12 and cuDNN 9 on Linux x64 run `ONNXRUNTIME_NODE_INSTALL=cuda12 node node_modules/onnxruntime-node/script/install`; otherwise use --provider webgpu or cpu",
  webgpu: "install the graphics card's driver (on Linux its Vulkan driver, or Mesa 25 or newer), or use --provider cpu",
};

/** What onnxruntime says without where in its sources it says it, on one line. */
export function runtimeReason(error: unknown): string {
  const text = (error instanceof Error ? error.message : String(error)).replaceAll(/\s+/g, " ").trim();
  return text.replace(/^.* was false\. /, "").replace(/^.*\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : /, "").slice(0, 300);
}

/** Settings of a session; see `onnxBackend` for why. */
function sessionOptions(settings: {
  readonly provider: string;
  readonly threads: number;
  readonly level: "all" | "disabled";
  readonly folder: string | undefined;
  readonly keepsWeightsInPlace: boolean;
  readonly isLarge: boolean;
}): InferenceSession.SessionOptions {
  const { provider, threads, level, folder, keepsWeightsInPlace, isLarge } = settings;
  return {
    executionProviders: [provider],
    graphOptimizationLevel: level,
    enableMemPattern: false,
    // With one thread between operators both run the same sequence; the parallel planner is the one that does not compare every buffer with
    // every other (0.8 of 2.9 seconds for 20 000 nodes).
    executionMode: isLarge ? "parallel" : "sequential",
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    logSeverityLevel: 3,
    extra: {
      session: {
        "intra_op.allow_spinning": "0",
        ...(keepsWeightsInPlace ? { disable_prepacking: "1" } : {}),
        ...(folder === undefined ? {} : { model_external_initializers_file_folder_path: folder }),
      },
      optimization: { disable_specified_optimizers: (isLarge ? PATIENT_OPTIMIZERS : SLOW_OPTIMIZERS).join(";") },
    },
  };
}

/**
 * Chooses whether onnxruntime may know the shapes. Hidden ones use memory better, but it then needs time with the square of the nodes: seven seconds for
 * 8 000 instead of half a second. Large graphs hide them where that saves more than it costs.
 */
function finishProgram(parts: EncodedParts, prepared: ReadonlyMap<string, Float32Array>, mayHide: boolean): EncodedProgram {
  if (!mayHide || parts.nodeCount > MOST_HIDDEN_NODES) return parts.finish(prepared, false);
  const hidden = parts.finish(prepared, true);
  if (parts.nodeCount <= LARGE_GRAPH_NODES) return hidden;
  const shown = parts.finish(prepared, false);
  return shown.memory.peakBytes - hidden.memory.peakBytes > HIDING_BYTES ? hidden : shown;
}

/** Runs the part of a program that is the same every time. */
async function prepare(ort: OnnxRuntime, preparation: EncodedParts["preparation"], threads: number): Promise<Map<string, Float32Array>> {
  if (!preparation) return new Map();
  const { model, folder, results } = preparation;
  const session = await ort.InferenceSession.create(model, sessionOptions({ provider: "cpu", threads, level: "disabled", folder, keepsWeightsInPlace: true, isLarge: false }));
  const values = await session.run({});
  await session.release();
  return new Map(results.map((name) => [name, values[name]!.data as Float32Array]));
}

/** Float32 numbers for onnxruntime; booleans as bytes. */
function toRuntime(data: HostData, dtype: DType): Float32Array | Int32Array | Uint8Array {
  if (dtype === "float32") return data instanceof Float32Array ? data : Float32Array.from(data);
  if (dtype === "int32") return data instanceof Int32Array ? data : Int32Array.from(data);
  return data instanceof Uint8Array ? data : Uint8Array.from(data);
}

/**
 * Runs programs by onnxruntime in float32.
 *
 * Settings follow measurements: memory patterns double the peak, spinning threads of alternating sessions slow each other down
 * five to ten times, the SkipLayerNormalization fusion is slower than its parts.
 */
export function onnxBackend(ort: OnnxRuntime, options: OnnxBackendOptions = {}): Backend {
  const { provider = "cpu", threads = 2 } = options;
  return {
    name: `onnxruntime-${provider}`,
    compile: async (traced, compileOptions = {}) => {
      const weightBytes = traced.nodes.reduce((total, { attributes }) => {
        const source = attributes["source"];
        return total + (typeof source === "object" && source !== null && "sizeBytes" in source ? source.sizeBytes : 0);
      }, 0);
      const isLow = (compileOptions.memory ?? (weightBytes > LOW_MEMORY_BYTES ? "low" : "fast")) === "low";
      const hasSegments = traced.nodes.some(({ operator }) => operator.name === "segment");
      // Optimisers pay where frozen weights can be folded and reordered (a fifth, bench/tensor-unet-training.ts). Everywhere else they gain
      // nothing, and they would undo recomputation and the order of nodes that was chosen for its low peak.
      const isOptimised = weightBytes > 0 && !isLow && !hasSegments;
      const parts = encodeInParts(traced, { provider, convInputGradient: isOptimised ? "flip" : "transpose" }, isOptimised);
      const isLarge = parts.nodeCount > LARGE_GRAPH_NODES;
      let memory: MemoryEstimate;
      /** A promise, so that runs that overlap after a rest share one. */
      let session: Promise<InferenceSession> | undefined;
      /** Opens the session again after a rest. Where weights were copied and folded that would do it all again, so those do not rest. */
      let reopen: (() => Promise<InferenceSession>) | undefined;
      try {
        const { model, folder, memory: estimate } = finishProgram(parts, await prepare(ort, parts.preparation, threads), provider === "cpu" && !isOptimised);
        memory = estimate;
        const open = (): Promise<InferenceSession> =>
          ort.InferenceSession.create(model, sessionOptions({ provider, threads, level: isOptimised ? "all" : "disabled", folder, keepsWeightsInPlace: isLow, isLarge }));
        session = open();
        await session;
        if (!isOptimised) reopen = open;
      } catch (error) {
        if (provider === "cpu") throw new InternalError(`onnxruntime refused a program: ${String(error)}`);
        throw new UsageError("provider-unavailable", `provider: expected one that starts here, got ${provider} (${runtimeReason(error)})`, PROVIDER_CURES[provider]);
      }
      // The program itself, a hundred megabytes of small objects for a U-Net with gradients, is not needed any more.
      const inputs = { inputs: traced.inputs };
      const outputs = traced.outputs.map(({ name, tensor: { shape, dtype } }) => ({ name, shape, dtype }));
      const release = async (): Promise<void> => {
        const opened = session;
        session = undefined;
        await (await opened)?.release();
      };
      return {
        memory,
        run: async (given) => {
          const feeds: Record<string, OrtTensor> = {};
          for (const [name, { shape, dtype, data }] of bindInputs(inputs, given)) feeds[name] = new ort.Tensor(dtype, toRuntime(data, dtype) as Float32Array, [...shape]) as OrtTensor;
          session ??= reopen?.();
          if (session === undefined) throw new InternalError("a program was run after it was disposed of");
          const results = await (await session).run(feeds);
          return Object.fromEntries(outputs.map(({ name, shape, dtype }): [string, HostTensor] => [name, { shape, dtype, data: results[`out:${name}`]!.data as HostData }]));
        },
        rest: async () => {
          if (reopen !== undefined) await release();
        },
        dispose: async () => {
          reopen = undefined;
          await release();
        },
      };
    },
  };
}
