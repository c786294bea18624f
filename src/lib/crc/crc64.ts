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
