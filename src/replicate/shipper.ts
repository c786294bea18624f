// Ships a live database: one file after another, each in the next slot of the history, one request in flight. Whatever
// is committed meanwhile goes into the next file. Idle databases have no timer, no descriptor and make no request.
//
//   commit ──► dirty ──(timer, or somebody waits)──► capture under the write mutex ──► PUT slot n+1 ──► durable
//                                                                                        │ 412
//                                                               our own file? durable ◄──┴──► fenced, for ever

import { statSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { assert } from '../lib/assert.ts'
import type { Txid } from '../lib/brand.ts'
import { type Cancel, type Clock, sleep } from '../lib/clock.ts'
import { AppError, errorMessage, TimeoutError } from '../lib/errors.ts'
import type { Logger } from '../lib/obs/log.ts'
import { backoffMs, type RetryPolicy } from '../lib/retry.ts'
import type { Rng } from '../lib/rng.ts'
import { type Capture, capture, headerOf } from './capture.ts'
import { FencedError } from './errors.ts'
import type { HistoryPosition } from './history.ts'
import { checksumText, type ShippedFile } from './history-manifest.ts'
import { removeLocalState, type WalMark, writeLocalState } from './local-state.ts'
import { type EncodedLtx, encodeLtxPaced } from './ltx/encoder.ts'
import type { LtxHeader, LtxWriter } from './ltx/header.ts'
import { getSlot, putSlot } from './ltx-store.ts'
import type { ReplicaSource } from './source.ts'
import { announcedEpoch } from './takeover.ts'

/** Between the first commit after quiet and its shipping: within the second that `async` promises. */
const shipDelayMsDefault = 400
/** A WAL above this is moved into the database file as soon as all of it is in the store. */
const checkpointBytesDefault = 4 << 20
/** Above so many times that, writers wait for one PUT so that a moment comes in which all of it is. */
const checkpointForcedFactor = 4
/** While the store fails, between two attempts. */
const outagePolicy: RetryPolicy = { attemptsMax: Number.POSITIVE_INFINITY, baseDelayMs: 100, delayMsMax: 5_000 }
/** While the store fails, between two syncs of the WAL, ms. */
const syncEveryMs = 1_000
/** A PUT under the write mutex holds writers out for this long at most, ms. */
const heldPutMs = 5_000
/** Files after which a look is taken whether a new owner wants the history: a GET costs a twelfth of a PUT. */
const filesPerLook = 16
/** Flushes before closing gives up on a database that is still written to. */
const closeAttemptsMax = 5

export interface ShipperOptions {
  readonly clock: Clock
  readonly rng: Rng
  readonly log: Logger
  readonly shipDelayMs?: number
  /** Size of the WAL from which it is moved into the database. */
  readonly checkpointBytes?: number
  /** For tests: in place of writing a file's data through to the disk. */
  readonly syncFile?: (path: string) => Promise<void>
  /** Called once, when another owner took a slot. Nothing may be acknowledged after it. */
  readonly onFenced: (error: FencedError) => void
  /** Called after each slot, with the size of the database after it in pages, for whoever keeps the history short. */
  readonly onShipped?: (file: ShippedFile, commit: number) => void
}

interface Pending {
  readonly header: LtxHeader
  readonly file: EncodedLtx
  readonly mark: WalMark | null
  readonly commitSeq: number
}

interface Waiter {
  readonly commitSeq: number
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

export class Shipper {
  readonly #source: ReplicaSource
  readonly #options: ShipperOptions
  readonly #shipDelayMs: number
  readonly #checkpointBytes: number
  #position: HistoryPosition
  #mark: WalMark | null
  #durableSeq: number
  #pending: Pending | null = null
  #waiters = new Set<Waiter>()
  #cancelTimer: Cancel | null = null
  #pump: Promise<void> | null = null
  #pumpAgain = false
  #fenced: FencedError | null = null
  #isClosed = false
  readonly #stop = new AbortController()
  /** Monotonic time of the oldest commit that no capture took, and of the oldest in the file under way. */
  #dirtySinceMs: number | null = null
  #pendingSinceMs: number | null = null
  #failures = 0
  #filesSinceLook = 0
  #syncedAtMs = Number.NEGATIVE_INFINITY
  /** Monotonic time of the last answer of the store. */
  #heardAtMs = Number.NEGATIVE_INFINITY

  private constructor(source: ReplicaSource, position: HistoryPosition, options: ShipperOptions) {
    this.#source = source
    this.#options = options
    this.#shipDelayMs = options.shipDelayMs ?? shipDelayMsDefault
    this.#checkpointBytes = options.checkpointBytes ?? checkpointBytesDefault
    this.#position = position
    this.#mark = position.mark
    this.#durableSeq = position.commitSeq
  }

  /**
   * Attaches to an open database, whose file {@link openHistory} or {@link createHistory} has prepared. What was
   * committed before is shipped at once.
   */
  static attach(source: ReplicaSource, position: HistoryPosition, options: ShipperOptions): Shipper {
    assert(source.path === position.dbPath, `${source.path} is not the database of this history`)
    const shipper = new Shipper(source, position, options)
    source.onCommit = () => shipper.#committed()
    if (shipper.#durableSeq < source.commitSeq) {
      shipper.#dirtySinceMs = options.clock.monotonic()
      shipper.#kick()
    }
    return shipper
  }

  /** The last TXID that the store has. */
  get txid(): Txid {
    return this.#position.txid
  }

  /** Up to where the store has the database: where a standby's chain may start. */
  get point(): { readonly txid: Txid; readonly mark: WalMark | null; readonly commit: number } {
    const { txid, commit } = this.#position
    return { txid, mark: this.#mark, commit }
  }

  get writer(): LtxWriter {
    return this.#position.writer
  }

  /** Set once another owner has taken over. */
  get fencedBy(): FencedError | null {
    return this.#fenced
  }

  /** The newest commit that survives the loss of this node; -1 before the first capture. */
  get durableSeq(): number {
    return this.#durableSeq
  }

  /** How long the oldest commit has been waiting for the store, ms; 0 when the store has everything. */
  get lagMs(): number {
    const since = this.#pendingSinceMs ?? this.#dirtySinceMs
    return since === null ? 0 : this.#options.clock.monotonic() - since
  }

  /** When the store answered last, by the monotonic clock. */
  get heardAtMs(): number {
    return this.#heardAtMs
  }

  /** Bytes of the WAL that the store does not have. */
  get unshippedBytes(): number {
    const sizeBytes = statSync(this.#source.walPath, { throwIfNoEntry: false })?.size ?? 0
    return Math.max(0, sizeBytes - this.#walBytes())
  }

  /** Failed attempts in a row; 0 while the store answers. */
  get failuresInRow(): number {
    return this.#failures
  }

  /**
   * Resolves when the store has everything up to a commit. Shipping starts at once.
   *
   * @throws FencedError; TimeoutError when `deadlineMs` have passed, the outcome then is unknown.
   */
  waitDurable(commitSeq: number, deadlineMs: number): Promise<void> {
    if (this.#fenced !== null) return Promise.reject(this.#fenced)
    if (this.#durableSeq >= commitSeq) return Promise.resolve()
    if (this.#isClosed) return Promise.reject(new TimeoutError(`${this.#position.at.prefix} ships no more`))
    return new Promise((resolve, reject) => {
      const settle = () => {
        cancel()
        this.#waiters.delete(waiter)
      }
      const waiter: Waiter = {
        commitSeq,
        resolve: () => {
          settle()
          resolve()
        },
        reject: (error) => {
          settle()
          reject(error)
        },
      }
      const cancel = this.#options.clock.setTimer(deadlineMs, () =>
        waiter.reject(new TimeoutError(`${this.#position.at.prefix}: not in the object store after ${deadlineMs} ms`)),
      )
      this.#waiters.add(waiter)
      this.#kick()
    })
  }

  /**
   * Looks whether another owner has taken the next slot, and is fenced then. For owners that nothing else tells.
   * Rejects while the store fails.
   */
  async look(signal: AbortSignal): Promise<void> {
    if (this.#fenced !== null || this.#isClosed) return
    const { at, txid, writer } = this.#position
    const next = (txid + 1) as Txid
    const found = await getSlot(at, next, { signal })
    this.#heardAtMs = this.#options.clock.monotonic()
    if (found === null || this.#fenced !== null || this.#isClosed) return
    const { epoch, incarnation } = found.header.writer
    if (epoch === writer.epoch && incarnation === writer.incarnation) return // shipped in the meantime
    this.#fence(new FencedError(at.prefix, next, epoch))
  }

  /** Ships everything committed so far; throws as {@link waitDurable} does. */
  flush(deadlineMs: number): Promise<void> {
    return this.waitDurable(this.#source.commitSeq, deadlineMs)
  }

  /**
   * Ships the tail, empties the WAL into the database file, notes the state, detaches. The database stays open.
   *
   * @returns false when the store did not take everything in time or we are fenced. What was not shipped stays in the
   *   local files; the next opening sends it, unless another owner came first.
   */
  async close(options: { readonly deadlineMs: number }): Promise<boolean> {
    if (this.#isClosed) return this.#durableSeq >= this.#source.commitSeq
    let shipped = false
    try {
      for (let attempt = 0; attempt < closeAttemptsMax && !shipped; attempt++) {
        await this.flush(options.deadlineMs)
        await this.#pump
        shipped = await this.#source.exclusively(() => this.#emptyWal())
      }
    } catch (error) {
      if (!(error instanceof AppError)) throw error
      this.#options.log.warn('shipping ended early', { prefix: this.#position.at.prefix, error })
    } finally {
      this.#isClosed = true
      this.#source.onCommit = null
      this.#cancelTimer?.()
      this.#cancelTimer = null
      this.#stop.abort(new TimeoutError('the shipper was closed'))
      await this.#pump
      for (const waiter of [...this.#waiters]) waiter.reject(new TimeoutError('the shipper was closed'))
    }
    return shipped
  }

  #committed(): void {
    this.#dirtySinceMs ??= this.#options.clock.monotonic()
    if (this.#pump !== null || this.#cancelTimer !== null || this.#fenced !== null) return
    this.#cancelTimer = this.#options.clock.setTimer(this.#shipDelayMs, () => {
      this.#cancelTimer = null
      this.#kick()
    })
  }

  #kick(): void {
    this.#cancelTimer?.()
    this.#cancelTimer = null
    this.#pumpAgain = true
    if (this.#pump !== null || this.#fenced !== null || this.#isClosed) return
    this.#pump = this.#ship().finally(() => {
      this.#pump = null
      if (this.#isClosed || this.#fenced !== null) return
      // A waiter may have come after the last look; a commit without one waits for its timer.
      if (this.#pumpAgain) this.#kick()
      else if (this.#dirtySinceMs !== null) this.#committed()
    })
  }

  /** Ships until nobody waits for more. Never rejects: what is unexpected counts as a failed attempt. */
  async #ship(): Promise<void> {
    while (this.#fenced === null && !this.#stop.signal.aborted) {
      try {
        if (this.#filesSinceLook >= filesPerLook && (await this.#lookForHeir())) return
        if (this.#pending === null) {
          this.#pumpAgain = false
          const isForced = this.#walBytes() > this.#checkpointBytes * checkpointForcedFactor
          await this.#source.exclusively(async () => {
            if (!isForced) return this.#capture()
            await this.#shipHeld()
            await this.#checkpoint('PASSIVE')
          })
        }
        if (this.#pending !== null) await this.#put(this.#pending, this.#stop.signal)
        if (this.#walBytes() > this.#checkpointBytes) await this.#source.exclusively(() => this.#checkpoint('PASSIVE'))
        if (this.#failures > 0) this.#options.log.info('shipping recovered', { failures: this.#failures })
        this.#failures = 0
        if (!this.#hasWaiting()) return
      } catch (error) {
        if (this.#stop.signal.aborted) return
        const delayMs = backoffMs(outagePolicy, Math.min(this.#failures, 16), this.#options.rng)
        if (this.#failures++ === 0)
          this.#options.log.warn('shipping failed', { prefix: this.#position.at.prefix, error: errorMessage(error) })
        await this.#syncSpool()
        await sleep(this.#options.clock, delayMs, this.#stop.signal).catch(() => undefined) // only aborts end it early
      }
    }
  }

  /** While the store fails the WAL is all there is of the tail, so a power cut must not take more of it than a few seconds. */
  async #syncSpool(): Promise<void> {
    const nowMs = this.#options.clock.monotonic()
    if (nowMs - this.#syncedAtMs < syncEveryMs) return
    this.#syncedAtMs = nowMs
    try {
      await (this.#options.syncFile ?? syncFile)(this.#source.walPath)
    } catch (error) {
      this.#options.log.error('the spool could not be synced', {
        path: this.#source.walPath,
        error: errorMessage(error),
      })
    }
  }

  /** Whether an owner of a higher epoch has announced itself; then it is the rightful one, and this one ends. */
  async #lookForHeir(): Promise<boolean> {
    const { at, txid, writer } = this.#position
    const epoch = await announcedEpoch(at, this.#stop.signal)
    this.#filesSinceLook = 0
    if (epoch <= writer.epoch) return false
    this.#fence(new FencedError(at.prefix, (txid + 1) as Txid, epoch))
    return true
  }

  #hasWaiting(): boolean {
    for (const waiter of this.#waiters) if (waiter.commitSeq > this.#durableSeq) return true
    return false
  }

  /** Takes what was committed into `#pending`; nothing when there is nothing. The write mutex is held. */
  async #capture(): Promise<void> {
    const { commitSeq } = this.#source
    const captured = await capture(this.#source, this.#mark, this.#position.commit)
    this.#pendingSinceMs = this.#dirtySinceMs
    this.#dirtySinceMs = null
    if (captured.commit === 0) {
      this.#confirm({ mark: captured.mark, commitSeq }, null)
      return
    }
    this.#pending = await this.#encode(captured, commitSeq)
    this.#noteState()
  }

  async #encode(captured: Capture, commitSeq: number): Promise<Pending> {
    const { txid, timestampMs, pageSize, commit, writer } = this.#position
    const header = headerOf(captured, {
      pageSize,
      txid: (txid + 1) as Txid,
      timestampMs: Math.max(this.#options.clock.now(), timestampMs + 1),
      writer,
    })
    return { header, file: await encodeLtxPaced(header, captured.pages, commit), mark: captured.mark, commitSeq }
  }

  /** Puts a file into its slot. Throws while the store fails; the same bytes are tried again then. */
  async #put(pending: Pending, signal: AbortSignal): Promise<void> {
    const { at } = this.#position
    if ((await putSlot(at, pending.file, pending.header, { signal })) === 'taken') {
      const txid = pending.header.maxTxid
      const found = await getSlot(at, txid, { signal })
      if (found === null) throw new Error(`slot ${txid} of ${at.prefix} is taken and empty`)
      // After a lost reply the slot holds our own bytes; the checksum covers the header with epoch and incarnation.
      if (found.checksum !== pending.file.checksum) {
        this.#fence(new FencedError(at.prefix, txid, found.header.writer.epoch))
        return
      }
    }
    this.#pending = null
    this.#filesSinceLook++
    this.#heardAtMs = this.#options.clock.monotonic()
    this.#confirm(pending, pending)
  }

  #confirm(facts: Pick<Pending, 'mark' | 'commitSeq'>, file: Pending | null): void {
    this.#mark = facts.mark
    this.#durableSeq = facts.commitSeq
    this.#pendingSinceMs = null
    if (file !== null) {
      this.#position = {
        ...this.#position,
        txid: file.header.maxTxid,
        checksum: file.file.checksum,
        timestampMs: file.header.timestampMs,
        commit: file.header.commit,
      }
      this.#options.onShipped?.(shippedFile(file), file.header.commit)
    }
    for (const waiter of [...this.#waiters]) if (waiter.commitSeq <= this.#durableSeq) waiter.resolve()
  }

  #fence(error: FencedError): void {
    this.#fenced = error
    this.#options.log.error('fenced by another owner', { prefix: this.#position.at.prefix, txid: error.txid })
    removeLocalState(this.#source.path)
    for (const waiter of [...this.#waiters]) waiter.reject(error)
    this.#options.onFenced(error)
  }

  /** One capture and one PUT under the write mutex, so that for a moment nothing is newer than the store. */
  async #shipHeld(): Promise<void> {
    await this.#capture()
    if (this.#pending === null) return
    const deadline = new AbortController()
    const cancel = this.#options.clock.setTimer(heldPutMs, () =>
      deadline.abort(new TimeoutError(`no answer within ${heldPutMs} ms`)),
    )
    try {
      await this.#put(this.#pending, AbortSignal.any([deadline.signal, this.#stop.signal]))
    } finally {
      cancel()
    }
  }

  /** Moves the WAL into the file if the store has all of it. The write mutex is held. */
  async #checkpoint(mode: 'PASSIVE' | 'TRUNCATE'): Promise<boolean> {
    if (this.#fenced !== null || this.#pending !== null || this.#durableSeq < this.#source.commitSeq) return false
    const result = await this.#source.checkpoint(mode)
    const isComplete = !result.busy && result.checkpointedFrames === result.logFrames
    if (!isComplete) return false
    if (mode === 'TRUNCATE') this.#mark = null
    else if (this.#mark !== null) this.#mark = { ...this.#mark, isCheckpointed: true }
    this.#noteState()
    return true
  }

  /** The last file and the checkpoint; false when a pump has started since. The write mutex is held. */
  async #emptyWal(): Promise<boolean> {
    if (this.#pump !== null || this.#fenced !== null) return false
    this.#isClosed = true // no pump starts any more
    if (this.#durableSeq < this.#source.commitSeq) await this.#shipHeld()
    if (this.#fenced !== null) return false
    await this.#checkpoint('TRUNCATE')
    return true
  }

  #noteState(): void {
    const { txid, checksum } = this.#position
    const point = { txid, checksum, mark: this.#mark }
    const next = this.#pending
    writeLocalState(
      this.#source.path,
      next === null ? [point] : [point, { txid: next.header.maxTxid, checksum: next.file.checksum, mark: next.mark }],
    )
  }

  #walBytes(): number {
    const { position, isCheckpointed } = this.#mark ?? { position: null, isCheckpointed: false }
    return position === null || isCheckpointed ? 0 : position.offset
  }
}

function shippedFile({ header, file }: Pending): ShippedFile {
  return {
    level: 0,
    minTxid: header.minTxid,
    maxTxid: header.maxTxid,
    sizeBytes: file.bytes.length,
    timestampMs: header.timestampMs,
    checksum: checksumText(file.checksum),
  }
}

/** The WAL carries none of SQLite's locks, so it may be opened beside it. */
async function syncFile(path: string): Promise<void> {
  await using file = await open(path, 'r+')
  await file.datasync()
}
