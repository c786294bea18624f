// Several files of one history as one: of each page the newest content, the size and time of the last file.

import { assert } from '../../lib/assert.ts'
import { decodeLtx } from './decoder.ts'
import { type EncodedLtx, encodeLtx } from './encoder.ts'
import { LtxFormatError } from './errors.ts'
import type { LtxHeader } from './header.ts'

/** Collects files in their order. Holds the plain pages in memory: the caller bounds what it gives. */
export class LtxMerger {
  readonly #pages = new Map<number, Uint8Array>()
  #first: LtxHeader | null = null
  #last: LtxHeader | null = null

  /** Throws LtxFormatError when the file is damaged, leaves a gap to the one before, or has another page size. */
  add(bytes: Uint8Array): void {
    const last = this.#last
    const { header } = decodeLtx(bytes, (header) => {
      if (last !== null && (header.minTxid > last.maxTxid + 1 || header.maxTxid <= last.maxTxid))
        throw new LtxFormatError(`TXIDs ${header.minTxid} to ${header.maxTxid} do not follow ${last.maxTxid}`)
      if (last !== null && header.pageSize !== last.pageSize) throw new LtxFormatError('the page size changes')
      return (pgno, page) => this.#pages.set(pgno, page.slice())
    })
    for (const pgno of this.#pages.keys()) if (pgno > header.commit) this.#pages.delete(pgno)
    this.#first ??= header
    this.#last = header
  }

  finish(): { readonly header: LtxHeader; readonly file: EncodedLtx } {
    const first = this.#first
    const last = this.#last
    assert(first !== null && last !== null, 'nothing was merged')
    const header: LtxHeader = {
      ...last,
      minTxid: first.minTxid,
      walOffset: 32,
      walSize: 0,
      walSalt1: 0,
      walSalt2: 0,
    }
    // Growth is complete because each input's is; what lies between first and last is no business of this file.
    return { header, file: encodeLtx(header, this.#pages, last.commit) }
  }
}
