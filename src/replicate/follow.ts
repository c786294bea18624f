// A copy of a database that stays behind its owner by a moment: a warm standby, or the target of a move before the source
// lets go. It probes the next slot, which is the cheapest question there is, and applies what it finds in place. It owns
// nothing: whoever takes the history over opens the same file, and `openHistory` applies the last slots.

import { rm } from 'node:fs/promises'
import type { Txid } from '../lib/brand.ts'
import { type Clock, sleep } from '../lib/clock.ts'
import { errorMessage } from '../lib/errors.ts'
import { Mutex } from '../lib/mutex.ts'
import { ObjectNotFoundError } from '../lib/object-store/object-store.ts'
import type { Logger } from '../lib/obs/log.ts'
import { catchUpDatabase, cleanPoint } from './catch-up.ts'
import { findTail, type ReadManifest } from './history.ts'
import { removeLocalState, writeLocalState } from './local-state.ts'
import type { LtxHeader } from './ltx/header.ts'
import { type HistoryLocation, type LtxFile, ltxKey } from './ltx-store.ts'
import { PlanRestore, type Restored, type RestoreSettings, wholeFileBytesMax } from './plan-restore.ts'
import { restoreDatabase } from './restore.ts'

/** Between two looks while nothing comes, ms; doubles up to the most. */
const pollMsDefault = 500
const pollMsMax = 10_000
/** Slots that are asked for at once when many are behind. */
const slotsAheadMax = 16

export interface FollowDeps extends Pick<RestoreSettings, 'onProgress' | 'signal'> {
  readonly clock: Clock
  readonly log: Logger
  readonly pollMs?: number
  /** As of `findTail`. */
  readonly manifest?: ReadManifest
}

export class Follower implements AsyncDisposable {
  readonly #at: HistoryLocation
  readonly #dbPath: string
  readonly #deps: FollowDeps
  readonly #turn = new Mutex()
  readonly #stop = new AbortController()
  #newest: Pick<Restored, 'header' | 'checksum'>
  #loop: Promise<void> | null = null
  #wake: (() => void) | null = null

  private constructor(at: HistoryLocation, dbPath: string, newest: Follower['position'], deps: FollowDeps) {
    this.#at = at
    this.#dbPath = dbPath
    this.#newest = newest
    this.#deps = deps
  }

  /**
   * Makes the file at `dbPath` the newest state of the history. No connection to it may be open, now or while it follows.
   *
   * @throws as `restoreDatabase` does.
   */
  static async open(at: HistoryLocation, dbPath: string, deps: FollowDeps): Promise<Follower> {
    const { manifest, signal } = deps
    const since = cleanPoint(dbPath)?.txid ?? null
    const { files, last, bodies, isNoted } = await findTail(at, signal, { since, ...(manifest && { manifest }) })
    const restore = { ...settingsOf(deps), files, isNoted, bodies, target: last.header.maxTxid }
    const caughtUp = await catchUpDatabase(at, dbPath, restore)
    if (caughtUp === null) {
      removeLocalState(dbPath)
      // It is of no use, and a restore is made beside it: there may be no room for both.
      for (const suffix of ['', '-wal', '-shm']) await rm(dbPath + suffix, { force: true })
      await restoreDatabase(at, dbPath, restore)
    }
    // Not what was applied last, an image or a merge perhaps: the slot's checksum is what the next catching up knows this by.
    const follower = new Follower(at, dbPath, last, deps)
    follower.#note()
    return follower
  }

  /** What the file holds. */
  get position(): { readonly header: LtxHeader; readonly checksum: bigint } {
    return this.#newest
  }

  get txid(): Txid {
    return this.#newest.header.maxTxid
  }

  /**
   * Applies every slot that is there by now. After an error the file holds what it held before, or is written again.
   *
   * @returns the TXID that was reached.
   */
  async catchUp(): Promise<Txid> {
    return this.#turn.run(async () => {
      for (let ahead = 1; ; ahead = Math.min(2 * ahead, slotsAheadMax)) {
        this.#stop.signal.throwIfAborted()
        const found = await this.#probe(ahead)
        if (found.length > 0) await this.#apply(found)
        if (found.length < ahead) return this.txid
      }
    })
  }

  /**
   * Looks for new slots by itself from now on, until it is disposed. A slot that retention has removed looks like one that
   * is not there yet; who was stopped for as long as that starts a new follower, or takes over, which lists.
   */
  follow(): void {
    this.#loop ??= this.#poll()
  }

  /** Something was shipped, says somebody: look at once. */
  hint(): void {
    this.#wake?.()
  }

  /** Stops looking. The file stays, with the note by which `openHistory` knows it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error('following has ended'))
    await this.#loop
    await this.#turn.acquire() // what is being applied ends first
  }

  async #poll(): Promise<void> {
    const { clock, log } = this.#deps
    const firstMs = this.#deps.pollMs ?? pollMsDefault
    let failures = 0
    for (let delayMs = firstMs; !this.#stop.signal.aborted; delayMs = Math.min(2 * delayMs, pollMsMax)) {
      const before = this.txid
      try {
        await this.catchUp()
        if (failures > 0) log.info('following recovered', { prefix: this.#at.prefix, failures })
        failures = 0
      } catch (error) {
        if (this.#stop.signal.aborted) return
        if (failures++ === 0) log.warn('following failed', { prefix: this.#at.prefix, error: errorMessage(error) })
      }
      if (this.txid > before) delayMs = firstMs / 2
      const pause = new AbortController()
      this.#wake = () => pause.abort()
      const signal = AbortSignal.any([pause.signal, this.#stop.signal])
      await sleep(clock, delayMs, signal).catch(() => undefined) // only a hint or the end cuts it short
      this.#wake = null
      if (pause.signal.aborted) delayMs = firstMs / 2
    }
  }

  /** The next slots, as many as are there without a gap, with the bytes of those that are small. */
  async #probe(count: number): Promise<{ readonly file: LtxFile; readonly body: Uint8Array | null }[]> {
    const slots = await Promise.all(Array.from({ length: count }, (_, i) => this.#slot((this.txid + 1 + i) as Txid)))
    const gap = slots.indexOf(null)
    return (gap < 0 ? slots : slots.slice(0, gap)).filter((each) => each !== null)
  }

  async #slot(txid: Txid): Promise<{ readonly file: LtxFile; readonly body: Uint8Array | null } | null> {
    const slot = { level: 0, minTxid: txid, maxTxid: txid, modifiedAtMs: 0 }
    const key = ltxKey(this.#at, slot)
    const { signal } = this.#stop
    try {
      const body = await this.#at.store.get(key, { range: { from: 0, to: wholeFileBytesMax }, signal })
      if (body.length < wholeFileBytesMax) return { file: { ...slot, sizeBytes: body.length }, body }
    } catch (error) {
      if (error instanceof ObjectNotFoundError) return null
      throw error
    }
    const info = await this.#at.store.head(key, { signal })
    return info && { file: { ...slot, sizeBytes: info.sizeBytes }, body: null }
  }

  async #apply(slots: readonly { readonly file: LtxFile; readonly body: Uint8Array | null }[]): Promise<void> {
    const bodies = new Map<string, Uint8Array>()
    for (const { file, body } of slots) if (body !== null) bodies.set(ltxKey(this.#at, file), body)
    const target = { path: this.#dbPath, base: this.#newest.header }
    const files = slots.map(({ file }) => file)
    // Checking a whole database for each slot would make a follower dearer than its owner; drills do that.
    const settings = { bodies, check: 'none', signal: this.#stop.signal } as const
    await using restore = await PlanRestore.open(this.#at, files, target, settings)
    this.#newest = await restore.run()
    this.#note()
  }

  #note(): void {
    writeLocalState(this.#dbPath, [{ txid: this.txid, checksum: this.#newest.checksum, mark: null }])
  }
}

function settingsOf({ onProgress, signal }: FollowDeps): Pick<FollowDeps, 'onProgress' | 'signal'> {
  return { ...(onProgress === undefined ? {} : { onProgress }), ...(signal === undefined ? {} : { signal }) }
}
