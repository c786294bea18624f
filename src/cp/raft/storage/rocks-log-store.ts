// The log in RocksDB: one synced batch for everything a step of the driver wants written.

import { Batch } from '../../rocks/batch.ts'
import type { RocksDb } from '../../rocks/db.ts'
import { prefixEnd } from '../../rocks/iterator.ts'
import type { Entry, HardState, SnapshotMeta } from '../core/types.ts'
import { LogCorruptError, type LogStore, type LogWrite, type StoredLog } from './log-store.ts'
import { baseKey, baseRecords, entryKey, entryPrefix, entryRecords, hardStateKey, hardStateRecords } from './records.ts'

export class RocksLogStore implements LogStore {
  readonly #db: RocksDb
  /** First and last entry on disk; last < first when there is none. */
  #first = 1
  #last = 0

  constructor(db: RocksDb) {
    this.#db = db
  }

  async load(): Promise<StoredLog | null> {
    const hardState = await this.#read<HardState>('term and vote', hardStateKey, hardStateRecords)
    const base = await this.#read<SnapshotMeta>('the base of the log', baseKey, baseRecords)
    if (hardState === null && base === null) return null
    if (hardState === null || base === null)
      throw new LogCorruptError(hardState === null ? 'term and vote are missing' : 'the base of the log is missing')
    const entries: Entry[] = []
    for await (const { value } of this.#db.range({ gte: entryKey(base.index + 1), lt: prefixEnd(entryPrefix) })) {
      const expected = base.index + 1 + entries.length
      const entry = decode(`log entry ${expected}`, value, entryRecords)
      if (entry.index !== expected) throw new LogCorruptError(`log entry ${expected} is missing, found ${entry.index}`)
      entries.push(entry)
    }
    this.#first = base.index + 1
    this.#last = base.index + entries.length
    return { hardState, base, entries }
  }

  async write(changes: readonly LogWrite[]): Promise<void> {
    const batch = new Batch()
    let first = this.#first
    let last = this.#last
    for (const { hardState, entries, base } of changes) {
      if (hardState !== null) batch.put(hardStateKey, hardStateRecords.encode(hardState))
      const start = entries[0]?.index
      if (start !== undefined) {
        for (let index = start + entries.length; index <= last; index++) batch.delete(entryKey(index))
        for (const entry of entries) batch.put(entryKey(entry.index), entryRecords.encode(entry))
        last = start + entries.length - 1
      }
      if (base !== null) {
        batch.put(baseKey, baseRecords.encode(base))
        for (let index = first; index <= Math.min(base.index, last); index++) batch.delete(entryKey(index))
        first = base.index + 1
        last = Math.max(last, base.index)
      }
    }
    await this.#db.write(batch, { sync: true })
    this.#first = first
    this.#last = last
  }

  async #read<T>(what: string, key: Uint8Array, records: { decode(bytes: Uint8Array): T }): Promise<T | null> {
    const value = await this.#db.get(key)
    return value === null ? null : decode(what, value, records)
  }
}

function decode<T>(what: string, value: Uint8Array, records: { decode(bytes: Uint8Array): T }): T {
  try {
    return records.decode(value)
  } catch (cause) {
    throw new LogCorruptError(`${what} cannot be read`, { cause })
  }
}
