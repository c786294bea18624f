// Questions that may scan for long run in a process of their own: a statement of SQLite cannot be interrupted from
// JavaScript, only a process can be killed. Few processes serve all tenants of a worker. Tenants take turns, and none of
// them holds so many processes that another one's first question would have to wait for it.

import { dirname } from 'node:path'
import type { Cancel, Clock } from '../../../lib/clock.ts'
import { OverloadedError, TimeoutError } from '../../../lib/errors.ts'
import { FairQueue } from '../../../lib/fair-queue.ts'
import { selfCommand } from '../../../lib/self-command.ts'
import { memoryBytesMaxDefault, Reader, ReaderEndedError, type ReaderOptions, ReaderQueryError } from './reader.ts'
import { type CheckpointResult, type ReaderQuery, type ReaderRows, toWire } from './reader-query.ts'
import type { SqlParams } from './sql.ts'

/** How long a question may run by default, ms: PocketBase's own limit. */
export const readDeadlineMsDefault = 30_000
/** Processes of one worker; each takes 50 MB, and a part of a core while it reads. */
const processesMax = 6
/** Processes that one tenant has at work: two cores are what it may keep busy. */
const processesMaxOfOne = 2
/** A tenant's second question leaves this many processes to tenants that have none at work. */
const processesForOthers = 2
/** Questions that may wait, in all and of one tenant. */
const waitingMax = 1_000
const waitingMaxOfOne = 200
/** How long {@link ReaderPool.hold} lasts when nobody lifts it, ms: longer than the longest question. */
const holdMsMax = 60_000
/** How long a checkpoint may take in its process, ms; then it is done in place. */
const checkpointMs = 10_000
/** How long each part of an insertion may take, ms. */
const insertMs = 10_000
/** How long a question may wait for its turn, ms. */
const waitMsMax = 30_000

interface Job {
  readonly query: ReaderQuery
  readonly deadlineMs: number
  readonly done: (rows: ReaderRows) => void
  readonly fail: (error: unknown) => void
  /** Ends the waiting. */
  cancelWait: Cancel
  /** Its database is being closed. */
  isCancelled: boolean
}

export interface ReaderPoolOptions {
  readonly clock: Clock
  /** The argv of a reader; default: ourselves. */
  readonly command?: readonly string[]
  /** Resident memory of one reader, bytes. */
  readonly memoryBytesMax?: number
}

/** Makes some of the rows to be inserted, when it is their turn. */
export type RowSlice = () => readonly SqlParams[]

/** A tenant's databases lie in one folder. */
const ownerOf = (path: string) => dirname(path)

export class ReaderPool {
  readonly #clock: Clock
  readonly #options: ReaderOptions
  readonly #waiting = new FairQueue<Job>({ itemsMax: waitingMax, itemsMaxOfOne: waitingMaxOfOne })
  readonly #running = new Map<Job, Reader>()
  readonly #runningOf = new Map<string, number>()
  readonly #idle: Reader[] = []
  /** Databases whose questions wait, and what ends that in time. */
  readonly #held = new Map<string, Cancel>()
  /** Checkpoints, and nothing else: a tenant's writers wait for it. */
  #keeper: Reader | null = null
  #isKeeperBusy = false
  /** Inserts rows, and does nothing else. */
  #inserter: Reader | null = null
  #isInserterBusy = false

  constructor(options: ReaderPoolOptions) {
    this.#clock = options.clock
    this.#options = { command: selfCommand(['reader']), memoryBytesMax: memoryBytesMaxDefault, ...options }
  }

  /**
   * Rows of one statement. Throws ReaderQueryError, TimeoutError past `deadlineMs` of running (the process is killed),
   * ReaderTooLargeError, OverloadedError when too many wait or this one waited for too long.
   */
  run(query: ReaderQuery, deadlineMs: number): Promise<ReaderRows> {
    const owner = ownerOf(query.path)
    return new Promise((done, fail) => {
      const job: Job = { query, deadlineMs, done, fail, cancelWait: () => {}, isCancelled: false }
      if (!this.#waiting.push(owner, job)) {
        fail(new OverloadedError('too many queries wait already'))
        return
      }
      this.#next()
      if (this.#running.has(job)) return
      job.cancelWait = this.#clock.setTimer(waitMsMax, () => {
        if (this.#waiting.remove(owner, job)) fail(new OverloadedError(`the query waited for ${waitMsMax} ms`))
      })
    })
  }

  /**
   * Has every reader let go of a database that is about to be closed, or replaced on disk. What still runs or waits of
   * it fails.
   */
  async release(path: string): Promise<void> {
    this.lift(path)
    const owner = ownerOf(path)
    for (const job of this.#waiting.removeAll(owner)) {
      if (job.query.path === path) {
        job.cancelWait()
        job.fail(new ReaderEndedError('the database was closed'))
      } else this.#waiting.push(owner, job)
    }
    const ends: Promise<unknown>[] = []
    for (const [job, reader] of this.#running) {
      // Another database of the same tenant, such as its logs: a reader holds nothing of others while it works.
      if (job.query.path === path) job.isCancelled = true
      else if (!reader.holds(path)) continue
      reader.kill()
      ends.push(reader.ended)
    }
    const holders = this.#idle.filter((reader) => reader.holds(path))
    for (const reader of holders) this.#idle.splice(this.#idle.indexOf(reader), 1)
    for (const reader of holders) ends.push(reader.release(path).then(() => this.#rest(reader)))
    await Promise.all(ends)
  }

  /**
   * Lets no further question to this database begin until {@link lift}: while one reads, its WAL cannot start over, and
   * questions that overlap would keep it growing for ever.
   */
  hold(path: string): void {
    if (this.#held.has(path)) return
    this.#held.set(
      path,
      this.#clock.setTimer(holdMsMax, () => this.lift(path)),
    )
  }

  lift(path: string): void {
    this.#held.get(path)?.()
    if (this.#held.delete(path)) this.#next()
  }

  isReading(path: string): boolean {
    for (const { query } of this.#running.keys()) if (query.path === path) return true
    return false
  }

  /**
   * Moves what a WAL holds into its database, in a process: it waits for the disk several times, and in place everybody
   * else would wait with it. The caller keeps the database's writers out.
   *
   * @returns null when that would take longer than doing it in place: the process is busy, or starts only now; it is
   *   there next time.
   */
  checkpoint(path: string): Promise<CheckpointResult | null> | null {
    if (this.#isKeeperBusy) return null
    if (this.#keeper?.isAlive !== true) {
      this.#keeper = new Reader(this.#options)
      return null
    }
    this.#isKeeperBusy = true
    return this.#keeper
      .checkpoint(path, checkpointMs)
      .catch((error: unknown) => {
        if (error instanceof ReaderEndedError || error instanceof TimeoutError || error instanceof ReaderQueryError)
          return null // it had just ended by itself, or hung
        throw error
      })
      .finally(() => {
        this.#isKeeperBusy = false
      })
  }

  /**
   * Has rows inserted as one transaction, in a process, one slice after the other. The caller keeps the database's writers
   * out. Throws ReaderQueryError, and TimeoutError or ReaderEndedError; then nothing is stored, unless these two came with
   * the last slice.
   *
   * @param hold runs the work it is given with writers kept out.
   * @returns false when the process is busy, starts only now, or went away before the last slice: nothing was done.
   */
  async insert(
    into: { readonly path: string; readonly sql: string; readonly checkpoints: boolean },
    slices: readonly RowSlice[],
    hold: (work: () => Promise<void>) => Promise<void>,
  ): Promise<boolean> {
    if (this.#isInserterBusy || slices.length === 0) return false
    if (this.#inserter?.isAlive !== true) {
      this.#inserter = new Reader({ ...this.#options, isEqual: true })
      return false
    }
    const inserter = this.#inserter
    this.#isInserterBusy = true
    let isLast = false
    try {
      await hold(async () => {
        try {
          for (const [index, slice] of slices.entries()) {
            const rows = slice().map((row) => row.map(toWire))
            isLast = index === slices.length - 1
            await inserter.insert({ ...into, rows, isLast }, insertMs)
          }
        } catch (error) {
          inserter.kill() // and with it the transaction that it has open, before others may write
          await inserter.ended
          throw error
        }
      })
      return true
    } catch (error) {
      if (error instanceof ReaderEndedError && !isLast) return false // of itself, for want of work, or from outside
      throw error
    } finally {
      this.#isInserterBusy = false
    }
  }

  /** Ends the processes that nobody waits for. */
  close(): void {
    if (!this.#isInserterBusy) this.#inserter?.kill()
    if (!this.#isKeeperBusy) this.#keeper?.kill()
    for (const reader of this.#idle.splice(0)) reader.kill()
  }

  #next(): void {
    for (;;) {
      const job = this.#waiting.shift((owner, { query }) => !this.#held.has(query.path) && this.#mayStart(owner))
      if (job === null) return
      job.cancelWait()
      const owner = ownerOf(job.query.path)
      this.#runningOf.set(owner, (this.#runningOf.get(owner) ?? 0) + 1)
      void this.#serve(job, owner)
    }
  }

  #mayStart(owner: string): boolean {
    const own = this.#runningOf.get(owner) ?? 0
    if (own >= processesMaxOfOne) return false
    return this.#running.size < (own === 0 ? processesMax : processesMax - processesForOthers)
  }

  async #serve(job: Job, owner: string): Promise<void> {
    let reader = this.#take(job.query.path)
    this.#running.set(job, reader)
    try {
      try {
        job.done(await reader.query(job.query, job.deadlineMs))
      } catch (error) {
        if (!(error instanceof ReaderEndedError) || job.isCancelled) throw error
        reader = new Reader(this.#options) // once, and a fresh one: reading twice harms nobody
        this.#running.set(job, reader)
        job.done(await reader.query(job.query, job.deadlineMs))
      }
    } catch (error) {
      job.fail(error)
    }
    this.#running.delete(job)
    const left = (this.#runningOf.get(owner) ?? 1) - 1
    if (left === 0) this.#runningOf.delete(owner)
    else this.#runningOf.set(owner, left)
    this.#rest(reader)
    this.#next()
  }

  #rest(reader: Reader): void {
    if (reader.isDemoted) reader.kill()
    else if (reader.isAlive) this.#idle.push(reader)
  }

  /** One that has the database open already, else one that has none, else the one that worked last. */
  #take(path: string): Reader {
    for (;;) {
      const holder = this.#idle.findLastIndex((reader) => reader.holds(path))
      const at = holder >= 0 ? holder : this.#idle.findLastIndex((reader) => !reader.isHolding)
      const [reader] = this.#idle.splice(at, 1)
      if (reader === undefined) return new Reader(this.#options)
      if (reader.isAlive) return reader
    }
  }
}

let shared: ReaderPool | null = null

/** The readers of this process. */
export function readerPool(clock: Clock): ReaderPool {
  return (shared ??= new ReaderPool({ clock }))
}
