// Writes what stands behind the last page of an LTX file: six zeros, the page index, its length, the trailer.

import type { Crc64 } from '../../lib/crc/crc64.ts'
import { ltxTrailerBytes } from './header.ts'

const zerosBytes = 6
/** Three varints: 5, 8 and 5 bytes at most. */
const entryBytesMax = 18

/** Collects where each page lies; some ten bytes a page. */
export class IndexWriter {
  #bytes = new Uint8Array(256)
  #length = zerosBytes

  add(pgno: number, offset: number, frameBytes: number): void {
    if (this.#length + entryBytesMax > this.#bytes.length) this.#grow(this.#bytes.length * 2)
    this.#varint(pgno)
    this.#varint(offset)
    this.#varint(frameBytes)
  }

  /**
   * The end of the file.
   *
   * @param crc over everything before; finished here.
   */
  finish(crc: Crc64): { readonly bytes: Uint8Array; readonly checksum: bigint } {
    const index = this.#length + 1 - zerosBytes // with the zero behind the last entry
    this.#grow(this.#length + 1 + 8 + ltxTrailerBytes)
    const bytes = this.#bytes.subarray(0, this.#length + 1 + 8 + ltxTrailerBytes)
    const view = new DataView(bytes.buffer)
    view.setBigUint64(zerosBytes + index, BigInt(index))
    const checksum = crc.update(bytes.subarray(0, bytes.length - 8)).value | (1n << 63n)
    view.setBigUint64(bytes.length - 8, checksum)
    return { bytes, checksum }
  }

  #varint(value: number): void {
    let rest = value
    while (rest >= 128) {
      this.#bytes[this.#length++] = (rest % 128) | 128
      rest = Math.floor(rest / 128)
    }
    this.#bytes[this.#length++] = rest
  }

  #grow(length: number): void {
    const next = new Uint8Array(length)
    next.set(this.#bytes.subarray(0, this.#length))
    this.#bytes = next
  }
}
