// Histories made from the images of a real SQLite database, without a shipper: each step becomes one slot.

import { Database as Sqlite } from 'bun:sqlite'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Txid } from '../../src/lib/brand.ts'
import type { ObjectStore } from '../../src/lib/object-store/object-store.ts'
import { encodeLtx, imagePages } from '../../src/replicate/ltx/encoder.ts'
import type { LtxHeader } from '../../src/replicate/ltx/header.ts'
import { type HistoryLocation, ltxKey, putSlot } from '../../src/replicate/ltx-store.ts'
import { prefix } from './histories.ts'

/** One second a slot. */
export const firstTimestampMs = 1_700_000_000_000

export class ImageHistory implements Disposable {
  readonly at: HistoryLocation
  readonly db: Sqlite
  readonly pageSize: number
  readonly #dir = mkdtempSync(join(tmpdir(), 'pf-images-'))
  /** The image of each slot. */
  readonly images: Uint8Array[] = []
  readonly sizes: number[] = []

  constructor(
    store: ObjectStore,
    options: { readonly pageSize?: number; readonly autoVacuum?: boolean; readonly prefix?: string } = {},
  ) {
    this.at = { store, prefix: options.prefix ?? prefix }
    this.pageSize = options.pageSize ?? 4_096
    this.db = new Sqlite(join(this.#dir, 'source.db'), { create: true })
    this.db.run(`PRAGMA page_size = ${this.pageSize}`)
    if (options.autoVacuum) this.db.run('PRAGMA auto_vacuum = FULL')
    this.db.run('PRAGMA journal_mode = WAL')
  }

  /** Ships what `change` leaves as the next slot: the pages that differ. */
  async ship(change: (db: Sqlite) => void): Promise<Txid> {
    change(this.db)
    const image = new Uint8Array(this.db.serialize())
    const before = this.images.at(-1) ?? new Uint8Array(0)
    const pages = new Map<number, Uint8Array>()
    for (const [pgno, page] of imagePages(image, this.pageSize)) {
      const old = before.subarray((pgno - 1) * this.pageSize, pgno * this.pageSize)
      if (Buffer.compare(old, page) !== 0) pages.set(pgno, page)
    }
    const txid = (this.images.length + 1) as Txid
    const header: LtxHeader = {
      pageSize: this.pageSize,
      commit: image.length / this.pageSize,
      minTxid: txid,
      maxTxid: txid,
      timestampMs: firstTimestampMs + txid * 1_000,
      walOffset: 32,
      walSize: 0,
      walSalt1: 0,
      walSalt2: 0,
      writer: { epoch: 1, incarnation: 1 },
    }
    const file = encodeLtx(header, pages, before.length / this.pageSize)
    if ((await putSlot(this.at, file, header)) === 'taken') throw new Error(`slot ${txid} is taken`)
    this.images.push(image)
    this.sizes.push(file.bytes.length)
    return txid
  }

  /** A whole image of the newest state beside its slots, as upkeep makes them. */
  async putImage(): Promise<void> {
    const txid = this.images.length as Txid
    const image = this.images[txid - 1]!
    const header: LtxHeader = {
      pageSize: this.pageSize,
      commit: image.length / this.pageSize,
      minTxid: 1 as Txid,
      maxTxid: txid,
      timestampMs: firstTimestampMs + txid * 1_000,
      walOffset: 32,
      walSize: 0,
      walSalt1: 0,
      walSalt2: 0,
      writer: { epoch: 0, incarnation: 0 },
    }
    const { bytes } = encodeLtx(header, imagePages(image, this.pageSize), header.commit)
    await this.at.store.put(ltxKey(this.at, { level: 9, minTxid: header.minTxid, maxTxid: txid }), bytes)
  }

  [Symbol.dispose](): void {
    this.db.close()
    rmSync(this.#dir, { recursive: true, force: true })
  }
}
