// Puts pages at their places in a database file, neighbours in one call.

import { writeSync } from 'node:fs'

/** Neighbouring pages are written together, up to this many bytes. */
const runBytesMax = 1 << 20

export class PageWriter {
  readonly #fd: number
  readonly #pageSize: number
  #run = new Uint8Array(0)
  #length = 0
  #offset = 0

  constructor(fd: number, pageSize: number) {
    this.#fd = fd
    this.#pageSize = pageSize
  }

  /** Room for the content of a page, to be filled before the next call. */
  place(pgno: number): Uint8Array {
    const offset = (pgno - 1) * this.#pageSize
    if (this.#run.length === 0) this.#run = new Uint8Array(runBytesMax)
    if (offset !== this.#offset + this.#length || this.#length + this.#pageSize > this.#run.length) {
      this.flush()
      this.#offset = offset
    }
    const at = this.#length
    this.#length += this.#pageSize
    return this.#run.subarray(at, this.#length)
  }

  /** Writes what is still held; without it the last pages are missing. */
  flush(): void {
    for (let at = 0; at < this.#length; ) at += writeSync(this.#fd, this.#run, at, this.#length - at, this.#offset + at)
    this.#offset += this.#length
    this.#length = 0
  }
}
