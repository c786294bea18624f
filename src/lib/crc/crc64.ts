// CRC-64/GO-ISO (polynomial x^64 + x^4 + x^3 + x + 1, reflected, all-ones start and final XOR), the checksum of LTX.
// The polynomial is so sparse that a 32-bit word folds with shifts of two 32-bit halves: no table, no bigint.

/** A running checksum; bytes may arrive in pieces of any length. */
export class Crc64 {
  #low = -1
  #high = -1

  update(bytes: Uint8Array): this {
    let low = this.#low
    let high = this.#high
    const wordsEnd = bytes.length & ~3
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    for (let at = 0; at < wordsEnd; at += 4) {
      const x = low ^ view.getInt32(at, true)
      low = high ^ (x << 31) ^ (x << 29) ^ (x << 28)
      high = x ^ (x >>> 1) ^ (x >>> 3) ^ (x >>> 4)
    }
    for (let at = wordsEnd; at < bytes.length; at++) {
      const top = (low ^ bytes[at]!) << 24
      low = (low >>> 8) | (high << 24)
      high = (high >>> 8) ^ top ^ (top >>> 1) ^ (top >>> 3) ^ (top >>> 4)
    }
    this.#low = low
    this.#high = high
    return this
  }

  /** The checksum of all bytes so far. */
  get value(): bigint {
    return (BigInt(~this.#high >>> 0) << 32n) | BigInt(~this.#low >>> 0)
  }
}

export function crc64(bytes: Uint8Array): bigint {
  return new Crc64().update(bytes).value
}

/** The polynomial without x^64, reflected: bit 63 is the coefficient of x^0. */
const polynomial = 0xd800_0000_0000_0000n
const one = 1n << 63n
/** x^8. */
const powerOfX8 = one >> 8n

/**
 * The checksum of `a` followed by `b`, from the checksums of both: pieces may be summed in any order, by any thread.
 *
 * @param lengthB bytes behind `b`'s checksum.
 */
export function joinCrc64(a: bigint, b: bigint, lengthB: number): bigint {
  // Appending n bytes multiplies by x^8n; what the all-ones start and end add cancels out.
  let shifted = a
  let square = powerOfX8
  for (let rest = lengthB; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) shifted = multiply(shifted, square)
    square = multiply(square, square)
  }
  return shifted ^ b
}

/** Of two polynomials, modulo ours. */
function multiply(a: bigint, b: bigint): bigint {
  let product = 0n
  let shifted = b
  for (let bit = one; bit !== 0n; bit >>= 1n) {
    if ((a & bit) !== 0n) product ^= shifted
    shifted = (shifted & 1n) === 0n ? shifted >> 1n : (shifted >> 1n) ^ polynomial
  }
  return product
}
