// An owner's end of `quorum`: takes what was committed from the WAL and sends it to the standbys, beside the shipper and
// much sooner. One unit is under way at a time, and whatever is committed meanwhile goes into the next.
//
//   commit ──► somebody waits ──► unit n: frames since unit n-1 ──► every standby writes and fsyncs ──► enough: answer
//                                                                        │ too few
//                                        a new chain from what the store has ◄── later; meanwhile the store must answer
//
// A chain also starts over when it has grown and the store has caught up, so that standbys hold little.

import type { Txid } from '../lib/brand.ts'
import { type Cancel, type Clock, sleep } from '../lib/clock.ts'
import { AppError, errorMessage, TimeoutError } from '../lib/errors.ts'
import type { Logger } from '../lib/obs/log.ts'
import { type Capture, capture, captureBehind, headerOf } from './capture.ts'
import { encodeLtx } from './ltx/encoder.ts'
import type { LtxWriter } from './ltx/header.ts'
import type { Shipper } from './shipper.ts'
import type { ReplicaSource } from './source.ts'
import type { AppendOutcome, StandbyUnit } from './standby-log.ts'
import type { WalPosition } from './wal/reader.ts'

/** A larger transaction waits for the store: the standbys would need as long, and its memory. */
export const unitBytesMax = 16 << 20
/** Plain pages that are not even encoded for it. */
const unitPlainBytesMax = 4 * unitBytesMax
/** A chain above this starts over behind what the store has by then, where that makes it half as long, bytes. */
const chainRestartBytes = 4 << 20
/** How long a standby may take for one unit: far above a network and a disk that are well. */
const appendMs = 1_000
/** After a failure, how long the store alone answers before the standbys are tried again, ms; doubled with each further one. */
const restMs = 500
const restMsMax = 8_000
/** In an outage of the store, between two looks whether it is over, ms. */
const lostEveryMs = 5_000

/** One standby of this opening, to which it has promised to refuse older ones. */
export interface StandbyPeer {
  readonly name: string
  /** Rejects when it cannot be reached; whether the unit is there is unknown then. */
  append(unit: StandbyUnit, deadlineMs: number): Promise<AppendOutcome>
  /** Everything is in the store: what it holds may go. */
  release(): Promise<void>
}

/** Too few standbys have the commit, and waiting would not change that soon: ask the store. */
export class StandbysBehindError extends AppError {
  readonly code = 'standbys_behind'
}

export interface StreamOptions {
  readonly clock: Clock
  readonly log: Logger
  readonly peers: readonly StandbyPeer[]
  /** Standbys that must have a unit. */
  readonly acksMin: number
  /** Above every number that a standby has seen. */
  readonly firstSeq: number
  /**
   * A standby has lost what it had promised, and the store is well: a new opening would have it promise again. Not called
   * for one that a successor asked: the next slot tells of that one.
   */
  readonly onLost: () => void
}

interface Waiter {
  readonly commitSeq: number
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

interface OpenChain {
  readonly seq: number
  readonly baseTxid: Txid
  /** Where the newest unit ends in the WAL, and the size of the database there, in pages. */
  readonly position: WalPosition
  readonly commit: number
}

/** A capture as the bytes of a unit. */
interface Encoded {
  readonly bytes: Uint8Array
  readonly position: WalPosition
  readonly commit: number
}

/** The store takes a whole transaction of this size sooner. */
class UnitTooLargeError extends AppError {
  readonly code = 'unit_too_large'
}

export class StandbyStream {
  readonly #source: ReplicaSource
  readonly #shipper: Pick<Shipper, 'point' | 'writer' | 'failuresInRow'>
  readonly #options: StreamOptions
  readonly #pageSize: number
  readonly #writer: LtxWriter
  /** Those that have not refused for good. */
  readonly #live: Set<StandbyPeer>
  readonly #waiters = new Set<Waiter>()
  #storedSeq = -1
  #nextSeq: number
  /** null: the next unit starts a chain. */
  #chain: OpenChain | null = null
  #chainBytes = 0
  #restartBytes = chainRestartBytes
  #restsUntilMs = Number.NEGATIVE_INFINITY
  #failures = 0
  /** Since when a standby that still counts has missed a unit; only a new chain brings it back. */
  #missedAtMs: number | null = null
  #cancelReport: Cancel | null = null
  #pump: Promise<void> | null = null
  #isClosed = false

  constructor(
    source: ReplicaSource,
    shipper: Pick<Shipper, 'point' | 'writer' | 'failuresInRow'>,
    options: StreamOptions,
  ) {
    this.#source = source
    this.#shipper = shipper
    this.#options = options
    this.#pageSize = source.pageSize
    this.#writer = shipper.writer
    this.#live = new Set(options.peers)
    this.#nextSeq = options.firstSeq
  }

  /** The newest commit that enough standbys have. */
  get storedSeq(): number {
    return this.#storedSeq
  }

  /**
   * Resolves when enough standbys have everything up to a commit.
   *
   * @throws StandbysBehindError as soon as it is clear that they will not soon: then the store has to answer.
   */
  waitStored(commitSeq: number): Promise<void> {
    if (this.#storedSeq >= commitSeq) return Promise.resolve()
    if (this.#isClosed || this.#isResting) return Promise.reject(this.#behind())
    return new Promise((resolve, reject) => {
      this.#waiters.add({ commitSeq, resolve, reject })
      this.#pump ??= this.#run().finally(() => {
        this.#pump = null
      })
    })
  }

  /** @param isShipped the store has everything, so the standbys may forget it. */
  async close({ isShipped }: { readonly isShipped: boolean }): Promise<void> {
    this.#isClosed = true
    this.#cancelReport?.()
    this.#failWaiters()
    await this.#pump
    if (!isShipped) return
    await Promise.all(
      [...this.#live].map((peer) =>
        peer.release().catch((error) => {
          // It keeps a few units until the next opening of this database asks it.
          this.#options.log.warn('standby was not released', { standby: peer.name, error: errorMessage(error) })
        }),
      ),
    )
  }

  get #isResting(): boolean {
    return this.#live.size < this.#options.acksMin || this.#options.clock.monotonic() < this.#restsUntilMs
  }

  #behind(): StandbysBehindError {
    return new StandbysBehindError(`fewer than ${this.#options.acksMin} standbys have the write`)
  }

  /** Sends units until nobody waits. Never rejects. */
  async #run(): Promise<void> {
    const { clock, log } = this.#options
    await Promise.resolve() // whoever committed in the same turn goes into the same unit
    while (this.#waiters.size > 0 && !this.#isClosed) {
      try {
        const next = await this.#source.exclusively(() => this.#takeUnit())
        if (next.unit !== null) {
          const outcome = await this.#send(next.unit)
          if (outcome === 'gap') {
            this.#chain = null // one that was away is back: a new chain needs nothing of what it missed
            continue
          }
          if (outcome === 'behind') throw this.#behind()
        }
        this.#failures = 0
        this.#storedSeq = Math.max(this.#storedSeq, next.commitSeq)
        for (const waiter of [...this.#waiters])
          if (waiter.commitSeq <= this.#storedSeq && this.#waiters.delete(waiter)) waiter.resolve()
      } catch (error) {
        log.warn('standbys are behind', { error: errorMessage(error) })
        this.#chain = null
        this.#restsUntilMs = clock.monotonic() + Math.min(restMsMax, restMs * 2 ** this.#failures++)
        this.#failWaiters()
      }
    }
  }

  #failWaiters(): void {
    for (const waiter of [...this.#waiters]) waiter.reject(this.#behind())
    this.#waiters.clear()
  }

  /** The write mutex is held. `unit` is null when nothing was committed since the last one. */
  async #takeUnit(): Promise<{ readonly unit: StandbyUnit | null; readonly commitSeq: number }> {
    const { commitSeq } = this.#source
    const chain = this.#chain
    if (chain !== null && this.#isRestartDue) {
      const fresh = await this.#startOver().catch(acceptTooLarge)
      const isWorthIt = fresh !== null && (this.#missedAtMs !== null || fresh.bytes.length < this.#chainBytes / 2)
      if (isWorthIt) return { unit: this.#begin(fresh), commitSeq }
      // In an outage of the store a new chain would be as long, or too long: go on with this one, and ask less often.
      this.#restartBytes = 2 * this.#chainBytes
      this.#missedAtMs &&= this.#options.clock.monotonic() + restMsMax
    }
    const next = chain === null ? null : await this.#goOn(chain)
    if (next === 'nothing') return { unit: null, commitSeq }
    if (next !== null) return { unit: this.#append(chain!, next), commitSeq }
    const fresh = await this.#startOver()
    return { unit: fresh === null ? null : this.#begin(fresh), commitSeq }
  }

  get #isRestartDue(): boolean {
    if (this.#chainBytes > this.#restartBytes) return true
    return this.#missedAtMs !== null && this.#options.clock.monotonic() - this.#missedAtMs > restMs
  }

  #begin(fresh: Encoded & { readonly baseTxid: Txid }): StandbyUnit {
    const seq = this.#nextSeq++
    this.#missedAtMs = null
    this.#restartBytes = chainRestartBytes
    this.#chainBytes = fresh.bytes.length
    this.#chain = { seq, baseTxid: fresh.baseTxid, position: fresh.position, commit: fresh.commit }
    return { seq, chainSeq: seq, baseTxid: fresh.baseTxid, bytes: fresh.bytes }
  }

  #append(chain: OpenChain, next: Encoded): StandbyUnit {
    const seq = this.#nextSeq++
    this.#chainBytes += next.bytes.length
    this.#chain = { ...chain, position: next.position, commit: next.commit }
    return { seq, chainSeq: chain.seq, baseTxid: chain.baseTxid, bytes: next.bytes }
  }

  /** null when the WAL was started over, so that the store has all of the chain. */
  async #goOn(chain: OpenChain): Promise<Encoded | 'nothing' | null> {
    const captured = await captureBehind(this.#source, chain.position, chain.commit)
    if (captured === null) return null
    return this.#encode(captured, chain.commit) ?? 'nothing'
  }

  /** Everything that the store does not have; nobody can move it out of the WAL before the store has it. null: nothing. */
  async #startOver(): Promise<(Encoded & { readonly baseTxid: Txid }) | null> {
    const { txid, mark, commit } = this.#shipper.point
    const encoded = this.#encode(await capture(this.#source, mark, commit), commit)
    return encoded && { ...encoded, baseTxid: txid }
  }

  /** null when nothing was captured. Throws UnitTooLargeError. */
  #encode(captured: Capture, previousCommit: number): Encoded | null {
    if (captured.commit === 0) return null
    const { frames, pages, mark, commit } = captured
    if (frames === null || mark === null) throw new UnitTooLargeError('a whole image is left to the store')
    if (pages.size * this.#pageSize > unitPlainBytesMax)
      throw new UnitTooLargeError(`a unit of ${pages.size} pages is left to the store`)
    const header = headerOf(captured, {
      pageSize: this.#pageSize,
      txid: this.#nextSeq as Txid,
      timestampMs: this.#options.clock.now(),
      writer: this.#writer,
    })
    const { bytes } = encodeLtx(header, pages, previousCommit)
    if (bytes.length > unitBytesMax) throw new UnitTooLargeError(`a unit of ${bytes.length} bytes is left to the store`)
    return { bytes, position: mark.position, commit }
  }

  /**
   * Resolves when enough standbys have it; the others may still get it later. `gap`: enough would, had they not missed
   * an earlier unit.
   */
  #send(unit: StandbyUnit): Promise<'stored' | 'gap' | 'behind'> {
    const { acksMin, log, clock } = this.#options
    const done = Promise.withResolvers<'stored' | 'gap' | 'behind'>()
    let stored = 0
    let gaps = 0
    let open = this.#live.size
    const late = new AbortController()
    for (const peer of [...this.#live])
      void Promise.race([peer.append(unit, appendMs), expiry(clock, late.signal)])
        .then((outcome) => {
          if (outcome === 'stored') stored++
          else if (outcome === 'promised' || outcome === 'unknown') {
            this.#live.delete(peer)
            log.warn('standby refuses this owner', { standby: peer.name, outcome })
            if (outcome === 'unknown') this.#reportLost()
          } else {
            if (outcome === 'gap') gaps++
            this.#missed(peer, outcome)
          }
        })
        .catch((error) => this.#missed(peer, errorMessage(error)))
        .finally(() => {
          open--
          if (stored >= acksMin) done.resolve('stored')
          else if (stored + open + gaps < acksMin) done.resolve('behind')
          else if (open === 0) done.resolve('gap')
          if (open === 0) late.abort(new TimeoutError('the unit is done'))
        })
    if (open === 0) done.resolve('behind')
    return done.promise
  }

  /** Opening anew needs the store: in an outage this opening goes on, with the standbys that are left. */
  #reportLost(): void {
    const { clock, onLost } = this.#options
    this.#cancelReport?.()
    this.#cancelReport = null
    if (this.#isClosed) return
    if (this.#shipper.failuresInRow === 0) onLost()
    else this.#cancelReport = clock.setTimer(lostEveryMs, () => this.#reportLost())
  }

  #missed({ name }: StandbyPeer, reason: string): void {
    if (this.#missedAtMs === null) this.#options.log.warn('standby missed a unit', { standby: name, reason })
    this.#missedAtMs ??= this.#options.clock.monotonic()
  }
}

function acceptTooLarge(error: unknown): null {
  if (!(error instanceof UnitTooLargeError)) throw error
  return null
}

async function expiry(clock: Clock, signal: AbortSignal): Promise<never> {
  await sleep(clock, appendMs * 2, signal)
  throw new TimeoutError(`no answer within ${appendMs * 2} ms`)
}
