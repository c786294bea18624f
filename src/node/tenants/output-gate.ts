// The output gate of a replicated tenant: what depends on a commit leaves the node only once the tenant's acknowledgement
// mode allows it. One gate for responses, realtime events and mails, so that none of them can tell of a write that a
// failover would undo. It also says whether this node may take a write at all.

import { AsyncLocalStorage } from 'node:async_hooks'
import { type AckMode, ackModes } from '../../ipc/messages/tenant.ts'
import type { Clock } from '../../lib/clock.ts'
import type { MaybePromise } from '../../lib/result.ts'
import { WritesRefusedError } from '../engine/errors.ts'
import type { OutputGate } from '../engine/output-gate.ts'

/** How far the shipped history is behind the database. */
export interface ShipProgress {
  /** Everything committed so far is in the object store. */
  readonly isDurable: boolean
  /** Everything committed so far is on enough standbys. */
  readonly isOnStandbys: boolean
  /** There are enough standbys to ask; without them the object store answers for them. */
  readonly hasStandbys: boolean
  /** Age of the oldest commit that the store does not have, ms by the monotonic clock; 0 when it has all. */
  readonly lagMs: number
  /** Bytes that only this node's files hold; asked for while the store fails. */
  readonly spoolBytes: number
  /** Another owner has the history: nothing may be acknowledged any more. */
  readonly isFenced: boolean
  /** The last attempt to ship failed. */
  readonly isStoreFailing: boolean
  /** Resolves once everything committed before the call is durable; rejects when the tenant is fenced or closed. */
  whenDurable(): Promise<void>
  /** Resolves once enough standbys have it; rejects as soon as it is clear that they will not soon. */
  whenOnStandbys(): Promise<void>
  /** Resolves once {@link lagMs} is at most `boundMs`; rejects as above. */
  whenWithin(boundMs: number): Promise<void>
}

/** Whether this node may still be the owner. */
export interface Ownership {
  /**
   * False when neither the control plane nor the object store was heard of for {@link cutOffMs}: a successor may be at
   * work. A promise while the store has to be asked.
   */
  mayWrite(): MaybePromise<boolean>
  /** There is traffic; what leaves does not wait for the answer. */
  touch(): void
}

export interface AckPolicy {
  readonly ackMode: AckMode
  readonly lossBoundMs: number
  readonly onStoreOutage: 'spool' | 'refuse'
}

/** How long an answer waits for the object store before it becomes 503. */
export const ackDeadlineMs = 10_000
/** While the store is out, local files are the spool; commits older than this are no longer answered, ms. */
export const spoolAgeMsMax = 60 * 60_000
/** The same by size, bytes: it has to be shipped in one piece when the store returns, from memory. */
export const spoolBytesMax = 512 * 1024 * 1024
/** Cut off from store and control plane for this long, an owner takes no writes: a successor may be at work. */
export const cutOffMs = 10_000
/** What a refused client is told to wait, seconds. */
const retryAfterSeconds = 2

/** What must have a commit before it is told. */
interface Needs {
  readonly store: boolean
  readonly standbys: boolean
}

const needsOf: Readonly<Record<AckMode, Needs>> = {
  async: { store: false, standbys: false },
  sync: { store: true, standbys: false },
  quorum: { store: false, standbys: true },
  'quorum+sync': { store: true, standbys: true },
}

const requestAck = new AsyncLocalStorage<Needs>()

/** The header by which one request asks for more than its tenant's mode. */
export const ackHeaderName = 'x-ack'

/** Runs a request under what its `X-Ack` header asks for beside its tenant's mode; what is no mode changes nothing. */
export function withRequestedAck<T>(header: string | null, body: () => T): T {
  const wanted = header?.toLowerCase()
  const mode = ackModes.find((each) => each === wanted) ?? 'async'
  return mode === 'async' ? body() : requestAck.run(needsOf[mode], body)
}

export class ReplicatedGate implements OutputGate {
  readonly #progress: ShipProgress
  readonly #ownership: Ownership
  readonly #clock: Clock
  #policy: AckPolicy

  constructor(progress: ShipProgress, ownership: Ownership, policy: AckPolicy, clock: Clock) {
    this.#progress = progress
    this.#ownership = ownership
    this.#policy = policy
    this.#clock = clock
  }

  /** Takes effect with the next pass. */
  setPolicy(policy: AckPolicy): void {
    this.#policy = policy
  }

  admit(): MaybePromise<void> {
    if (this.#progress.isFenced) throw refused('another node owns this tenant now')
    const may = this.#ownership.mayWrite()
    if (typeof may === 'boolean') return this.#admitted(may)
    return may.then((answer) => this.#admitted(answer))
  }

  pass(): MaybePromise<void> {
    const progress = this.#progress
    if (progress.isFenced) throw refused('another node owns this tenant now')
    this.#ownership.touch()
    const mode = needsOf[this.#policy.ackMode]
    const asked = requestAck.getStore()
    const store = mode.store || (asked?.store ?? false)
    const standbys = mode.standbys || (asked?.standbys ?? false)
    if (standbys && progress.hasStandbys) {
      // What the store has needs no standby, unless both were asked for.
      const isSafe = progress.isOnStandbys || (progress.isDurable && !store)
      if (store) {
        if (isSafe && progress.isDurable) return
        const both = Promise.all([progress.whenDurable(), progress.whenOnStandbys()])
        return this.#within(both, 'store and standbys did not confirm the write in time')
      }
      const limit = this.#overSpool()
      if (limit !== null) return limit
      return isSafe ? undefined : this.#byStandbys()
    }
    if (progress.isDurable) return
    if (store || standbys)
      return this.#within(progress.whenDurable(), 'the object store did not confirm the write in time')
    if (progress.lagMs <= this.#policy.lossBoundMs) return
    const limit = this.#overSpool()
    if (limit !== null) return limit
    if (progress.isStoreFailing) return
    return this.#within(progress.whenWithin(this.#policy.lossBoundMs), 'the object store is too far behind')
  }

  /** During an outage of the store: null while the tail may still grow on this node alone, else the wait for its end. */
  #overSpool(): Promise<void> | null {
    const { lagMs, isStoreFailing, spoolBytes } = this.#progress
    const { onStoreOutage, lossBoundMs } = this.#policy
    if (!isStoreFailing || lagMs <= lossBoundMs) return null
    if (onStoreOutage === 'spool' && lagMs <= spoolAgeMsMax && spoolBytes <= spoolBytesMax) return null
    return this.#within(this.#progress.whenWithin(lossBoundMs), 'the object store has been out for too long')
  }

  #byStandbys(): Promise<void> {
    const progress = this.#progress
    const stored = progress.whenOnStandbys().catch(() => progress.whenDurable())
    return this.#within(stored, 'neither standbys nor the object store confirmed the write in time')
  }

  #admitted(may: boolean): void {
    if (!may) throw refused('this node is cut off from its fleet')
    if (this.#progress.isFenced) throw refused('another node owns this tenant now')
  }

  /** The write stays committed and will ship: to its client it is one whose answer was lost. */
  async #within(durable: Promise<unknown>, message: string): Promise<void> {
    const late = Promise.withResolvers<never>()
    const cancel = this.#clock.setTimer(ackDeadlineMs, () => late.reject(refused(message)))
    try {
      await Promise.race([durable, late.promise])
    } catch (error) {
      throw error instanceof WritesRefusedError ? error : refused(message, error)
    } finally {
      cancel()
    }
    // While it waited, another owner may have come: only what it took over may be told, and that is not known here.
    if (this.#progress.isFenced) throw refused('another node owns this tenant now')
  }
}

function refused(message: string, cause?: unknown): WritesRefusedError {
  return new WritesRefusedError(message, retryAfterSeconds, cause === undefined ? undefined : { cause })
}
