/** Conversions between small floating-point formats and float32. All are exact in the widening direction. */

/** IEEE half precision (as 16-bit patterns) to float32, exactly. */
export function float16ToFloat32(bits: Uint16Array): Float32Array {
  const out = new Float32Array(bits.length);
  const words = new Uint32Array(out.buffer);
  for (let i = 0; i < bits.length; i++) {
    const half = bits[i]!;
    const sign = (half & 0x8000) << 16;
    const exponent = (half >> 10) & 31;
    const mantissa = half & 0x3ff;
    if (exponent === 0) out[i] = (sign === 0 ? 1 : -1) * mantissa * 2 ** -24;
    else words[i] = sign | ((exponent === 31 ? 255 : exponent + 112) << 23) | (mantissa << 13);
  }
  return out;
}

/** bfloat16 (as 16-bit patterns) to float32, exactly. */
export function bfloat16ToFloat32(bits: Uint16Array): Float32Array {
  const out = new Float32Array(bits.length);
  const words = new Uint32Array(out.buffer);
  for (let i = 0; i < bits.length; i++) words[i] = bits[i]! << 16;
  return out;
}

/** The 8-bit format with 4 exponent bits, bias 7, no infinities, NaN = 0x7f and 0xff ("E4M3FN"). */
export function float8E4M3ToFloat32(bytes: Uint8Array): Float32Array {
  return Float32Array.from(bytes, (byte) => {
    const sign = byte & 0x80 ? -1 : 1;
    const exponent = (byte >> 3) & 15;
    const mantissa = byte & 7;
    if ((byte & 0x7f) === 0x7f) return Number.NaN;
    return sign * (exponent === 0 ? mantissa * 2 ** -9 : (8 + mantissa) * 2 ** (exponent - 10));
  });
}

/** The 8-bit format with 5 exponent bits: the upper byte of IEEE half precision. */
export function float8E5M2ToFloat32(bytes: Uint8Array): Float32Array {
  return float16ToFloat32(Uint16Array.from(bytes, (byte) => byte << 8));
}

/** float32 to IEEE half precision patterns, rounding to nearest with ties to even; beyond ±65504 becomes infinite. */
export function float32ToFloat16(values: Float32Array): Uint16Array {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const out = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const word = words[i]!;
    const sign = (word >>> 16) & 0x8000;
    const magnitude = word & 0x7fffffff;
    if (magnitude > 0x7f800000) out[i] = sign | 0x7e00;
    else if (magnitude >= 0x477ff000) out[i] = sign | 0x7c00;
    else if (magnitude < 0x38800000) {
      // Subnormal half: units of 2^-24. The product is exact, so rounding the double is the only rounding.
      const units = Math.abs(values[i]!) * 2 ** 24;
      const floor = Math.floor(units);
      const rest = units - floor;
      out[i] = sign | (rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor);
    } else {
      const shifted = magnitude - 0x38000000;
      out[i] = sign | ((shifted + 0xfff + ((shifted >>> 13) & 1)) >>> 13);
    }
  }
  return out;
}

/** float32 to bfloat16 patterns, rounding to nearest with ties to even. */
export function float32ToBfloat16(values: Float32Array): Uint16Array {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const out = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const word = words[i]!;
    const isNaN = (word & 0x7fffffff) > 0x7f800000;
    out[i] = isNaN ? (word >>> 16) | 0x40 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
  return out;
}
