// The `_logs` table of auxiliary.db: written in batches, so that no request waits for it. PocketBase: tools/logger.

import { Breath } from '../../../lib/breath.ts'
import type { Cancel, Clock } from '../../../lib/clock.ts'
import { lowerAlphanumeric, randomText } from '../../../lib/id.ts'
import type { Rng } from '../../../lib/rng.ts'
import type { Database } from '../db/database.ts'
import type { SqlValue } from '../db/sql.ts'
import type { Engine } from '../engine.ts'
import { formatDateTime } from '../fields/datetime.ts'
import { toSortedJson } from '../json/json-text.ts'

/** Go's slog levels. */
export const logLevel = { debug: -4, info: 0, warn: 4, error: 8 } as const

export interface LogEntry {
  readonly level: number
  readonly message: string
  /** JSON of an object with sorted keys. */
  readonly data: string
  readonly atMs: number
}

/** Entries of one transaction: the more there are, the fewer times the same pages of its indexes are written. */
const batchMax = 5_000
/** Page cache while a batch is written, KiB: its entries lie all over the index of messages. */
const batchCacheKiB = 8_192
/** Characters of an id that tell entries of one millisecond apart. */
const idRandomLength = 6
/** Entries between two looks at whether others wait. */
const sliceMax = 50
/** Entries that are worth the way to another process. */
const elsewhereMin = 1_000
/** Entries that go there at once: some 100 KB, which take 0.2 ms to write out. */
const elsewhereSliceMax = 200
const insertSql = 'INSERT INTO `_logs` (id, level, message, data, created) VALUES (?, ?, ?, ?, ?)'
/** Old entries that are looked at before others have their turn; one may hold some KB. */
const lookedAtMax = 200
/** How long an entry waits for others, ms. */
const flushDelayMs = 3_000
/** Entries that may wait while the database is busy; more are dropped, and the drop is logged. */
const waitingMax = 10_000
/** Their characters: one entry may hold some KB, and many tenants share the memory. */
const waitingCharsMax = 32 * 1024 * 1024
const dayMs = 24 * 60 * 60 * 1000

export interface LogStoreDeps {
  readonly aux: Database
  readonly clock: Clock
  readonly rng: Rng
  readonly onError: (error: unknown) => void
}

export class LogStore {
  readonly #deps: LogStoreDeps
  #waiting: LogEntry[] = []
  #waitingChars = 0
  #dropped = 0
  #timer: Cancel | null = null
  /** What waits is to be written, however little it is. */
  #isAllDue = false
  #flushing: Promise<void> | null = null

  constructor(deps: LogStoreDeps) {
    this.#deps = deps
  }

  /** Takes an entry; returns at once. */
  add(entry: LogEntry): void {
    const chars = charsOf(entry)
    if (this.#waiting.length >= waitingMax || this.#waitingChars + chars > waitingCharsMax) {
      this.#dropped++
      return
    }
    this.#waiting.push(entry)
    this.#waitingChars += chars
    if (this.#waiting.length >= batchMax) this.#start()
    else this.#timer ??= this.#deps.clock.setTimer(flushDelayMs, () => this.#timeIsUp())
  }

  #timeIsUp(): void {
    this.#timer = null
    this.#isAllDue = true
    this.#start()
  }

  #start(): void {
    if (this.#flushing !== null) return // it goes on with what is due
    this.#flushing = this.#write().finally(() => {
      this.#flushing = null
    })
  }

  /** Writes what waits; never throws. */
  async flush(): Promise<void> {
    while (this.#waiting.length > 0 || this.#flushing !== null) {
      this.#isAllDue = true
      this.#start()
      await this.#flushing
    }
    this.#timer?.()
    this.#timer = null
  }

  /** Whole batches while there are any, and the rest when its time is up. */
  async #write(): Promise<void> {
    const { clock, onError } = this.#deps
    while (this.#waiting.length >= batchMax || (this.#isAllDue && this.#waiting.length > 0)) {
      if (this.#waiting.length <= batchMax) {
        this.#isAllDue = false
        this.#timer?.()
        this.#timer = null
      }
      const batch = this.#waiting.splice(0, batchMax)
      for (const entry of batch) this.#waitingChars -= charsOf(entry)
      if (this.#dropped > 0) {
        const data = toSortedJson({ dropped: this.#dropped })
        batch.push({ level: logLevel.warn, message: 'Log entries were dropped', data, atMs: clock.now() })
        this.#dropped = 0
      }
      try {
        if (!(await this.#writeElsewhere(batch))) await this.#writeHere(batch)
      } catch (error) {
        onError(error) // logs are not worth a failed request; the batch is lost
      }
    }
  }

  /** Many entries cost the thread of all tenants less in another process, unless that falls behind. */
  async #writeElsewhere(batch: readonly LogEntry[]): Promise<boolean> {
    if (batch.length < elsewhereMin || this.#waiting.length >= batchMax) return false
    const { aux, rng } = this.#deps
    const slices = Array.from({ length: Math.ceil(batch.length / elsewhereSliceMax) }, (_, index) => () => {
      return rowsOf(batch.slice(index * elsewhereSliceMax, (index + 1) * elsewhereSliceMax), rng)
    })
    return await aux.insertElsewhere(insertSql, slices)
  }

  async #writeHere(batch: readonly LogEntry[]): Promise<void> {
    const { aux, clock, rng } = this.#deps
    await aux.transaction(async () => {
      const breath = new Breath(clock)
      const withCache = batch.length > sliceMax ? aux.enlargeCache(batchCacheKiB) : null
      try {
        for (let from = 0; from < batch.length; from += sliceMax) {
          aux.runEach(insertSql, rowsOf(batch.slice(from, from + sliceMax), rng))
          await breath.take()
        }
      } finally {
        withCache?.()
      }
    })
  }

  /**
   * Deletes what is older than `days`, and what is below `minLevel` when it is given. Every entry has to be looked at, and
   * there may be millions: a few at a time, each in a transaction of its own, and others in between.
   */
  async deleteOld(days: number, minLevel: number | null): Promise<void> {
    const { aux, clock } = this.#deps
    const before = formatDateTime(clock.now() - days * dayMs)
    const breath = new Breath(clock)
    const sql = `DELETE FROM _logs WHERE rowid > ? AND rowid <= ? AND (created <= ?${minLevel === null ? '' : ' OR level < ?'})`
    for (let after = 0; ; ) {
      const { last } = aux.get<{ last: number | null }>(
        'SELECT max(rowid) AS last FROM (SELECT rowid FROM _logs WHERE rowid > ? ORDER BY rowid LIMIT ?)',
        [after, lookedAtMax],
      )!
      if (last === null) return
      await aux.transaction(() => aux.run(sql, [after, last, before, ...(minLevel === null ? [] : [minLevel])]))
      after = last
      await breath.take()
    }
  }
}

const charsOf = ({ message, data }: LogEntry) => message.length + data.length

/** Their columns. Ids that rise with time keep their index at its right edge: half the cost of random ones. */
function rowsOf(entries: readonly LogEntry[], rng: Rng): SqlValue[][] {
  const random = randomText(rng, idRandomLength * entries.length, lowerAlphanumeric)
  let lastMs = Number.NaN
  let idStart = ''
  let created = ''
  return entries.map(({ level, message, data, atMs }, index) => {
    const ms = Math.floor(atMs)
    if (ms !== lastMs) {
      lastMs = ms
      idStart = ms.toString(36).padStart(9, '0')
      created = formatDateTime(ms)
    }
    const id = idStart + random.slice(index * idRandomLength, (index + 1) * idRandomLength)
    return [id, level, message, data, created]
  })
}

const stores = new WeakMap<Engine, LogStore>()

/** The logs of a tenant; made with its first entry and flushed when the engine closes. */
export function logsOf(engine: Engine): LogStore {
  let store = stores.get(engine)
  if (store === undefined) {
    const onError = (error: unknown) => engine.log.warn('logs not written', { error })
    const made = new LogStore({ aux: engine.aux, clock: engine.clock, rng: engine.rng, onError })
    stores.set(engine, made)
    engine.onClose(() => made.flush())
    store = made
  }
  return store
}
