import type { InferenceSession, Tensor as OrtTensor } from "onnxruntime-common";
import { InternalError, UsageError } from "../errors.ts";
import { type EncodedParts, encodeInParts } from "../onnx/encode.ts";
import type { MemoryEstimate } from "../onnx/memory.ts";
import type { DType } from "../shape.ts";
import { type Backend, bindInputs, type HostData, type HostTensor } from "./backend.ts";

/** The parts of onnxruntime (node or web) that are used. */
export interface OnnxRuntime {
  readonly InferenceSession: { create(model: Uint8Array, options?: InferenceSession.SessionOptions): Promise<InferenceSession> };
  readonly Tensor: typeof OrtTensor;
  /** Names of the execution providers in this build (onnxruntime-node). */
  listSupportedBackends?(): readonly { readonly name: string; readonly bundled: boolean }[];
}

export interface OnnxBackendOptions {
  /** Execution provider; default `cpu`. */
  readonly provider?: "cpu" | "cuda" | "webgpu";
  /** Threads inside an operator; default 2. Results do not depend on it. */
  readonly threads?: number;
}

/** Weights above this size are used in place from their files; below, copied and reordered for speed. */
const LOW_MEMORY_BYTES = 512 * 2 ** 20;

/** Above this many nodes onnxruntime's rewrites take longer than they save: seven seconds for eight U-Net steps with gradients. */
const LARGE_GRAPH_NODES = 4000;

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
      // Hidden shapes use memory better, but onnxruntime then needs time with the square of the nodes (forty seconds for 20 000).
      const hideShapes = provider === "cpu" && !isOptimised && !isLarge;
      let session: InferenceSession;
      let memory: MemoryEstimate;
      try {
        const { model, folder, memory: estimate } = parts.finish(await prepare(ort, parts.preparation, threads), hideShapes);
        memory = estimate;
        session = await ort.InferenceSession.create(model, sessionOptions({ provider, threads, level: isOptimised ? "all" : "disabled", folder, keepsWeightsInPlace: isLow, isLarge }));
      } catch (error) {
        if (provider === "cpu") throw new InternalError(`onnxruntime refused a program: ${String(error)}`);
        const available = ort.listSupportedBackends?.().map(({ name }) => name).join(", ") ?? "unknown";
        throw new UsageError("provider-unavailable", `provider: expected one that starts here, got ${provider} (${String(error)}); this build knows ${available}`, "use --provider cpu");
      }
      return {
        memory,
        run: async (inputs) => {
          const bound = bindInputs(traced, inputs);
          const feeds: Record<string, OrtTensor> = {};
          for (const [name, { shape, dtype, data }] of bound) feeds[name] = new ort.Tensor(dtype, toRuntime(data, dtype) as Float32Array, [...shape]) as OrtTensor;
          const results = await session.run(feeds);
          const outputs: Record<string, HostTensor> = {};
          for (const { name, tensor } of traced.outputs) {
            outputs[name] = { shape: tensor.shape, dtype: tensor.dtype, data: results[`out:${name}`]!.data as HostData };
          }
          return outputs;
        },
        dispose: async () => session.release(),
      };
    },
  };
}
