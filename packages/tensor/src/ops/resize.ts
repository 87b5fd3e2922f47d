import type { Tensor } from "../tensor.ts";
import { matmul } from "./matmul.ts";

/** Separable linear resize: rows [h,H] · x [B,C,H,W] · colsᵀ, cols [w,W] → [B,C,h,w]. */
export function resize2d(x: Tensor, rows: Tensor, cols: Tensor): Tensor {
  return matmul(rows, matmul(x, cols, { transposeB: true }));
}
