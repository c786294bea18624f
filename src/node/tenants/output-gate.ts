// The output gate of a replicated tenant: what depends on a commit leaves the node only once the tenant's acknowledgement
// mode allows it. One gate for responses, realtime events and mails, so that none of them can tell of a write that a
// failover would undo.

import { AsyncLocalStorage } from 'node:async_hooks'
import type { AckMode } from '../../ipc/messages/tenant.ts'
import type { Clock } from '../../lib/clock.ts'
import type { MaybePromise } from '../../lib/result.ts'
import { WritesRefusedError } from '../engine/errors.ts'
import type { OutputGate } from '../engine/output-gate.ts'

/** How far the shipped history is behind the database. */
export interface ShipProgress {
  /** Everything committed so far is in the object store. */
  readonly isDurable: boolean
  /** Age of the oldest commit that is not, ms by the monotonic clock; 0 when all are. */
  readonly lagMs: number
  /** Another owner has the history: nothing may be acknowledged any more. */
  readonly isFenced: boolean
  /** The last attempt to ship failed. */
  readonly isStoreFailing: boolean
  /** The control plane was not heard of for so long that a successor may have been placed. */
  readonly isCutOff: boolean
  /** Resolves once everything committed before the call is durable; rejects when the tenant is fenced or closed. */
  whenDurable(): Promise<void>
  /** Resolves once {@link lagMs} is at most `boundMs`; rejects as above. */
  whenWithin(boundMs: number): Promise<void>
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
/** Cut off from store and control plane for this long, an owner takes no writes: a successor may be at work. */
export const cutOffMs = 10_000
/** What a refused client is told to wait, seconds. */
const retryAfterSeconds = 2

const requestAck = new AsyncLocalStorage<AckMode>()

/** The header by which one request asks for more than its tenant's mode. */
export const ackHeaderName = 'x-ack'

/** Runs a request under the mode that its `X-Ack` header asks for; anything but `sync` changes nothing. */
export function withRequestedAck<T>(header: string | null, body: () => T): T {
  return header !== null && header.toLowerCase() === 'sync' ? requestAck.run('sync', body) : body()
}

export class ReplicatedGate implements OutputGate {
  readonly #progress: ShipProgress
  readonly #clock: Clock
  #policy: AckPolicy

  constructor(progress: ShipProgress, policy: AckPolicy, clock: Clock) {
    this.#progress = progress
    this.#policy = policy
    this.#clock = clock
  }

  /** Takes effect with the next pass. */
  setPolicy(policy: AckPolicy): void {
    this.#policy = policy
  }

  pass(): MaybePromise<void> {
    const progress = this.#progress
    if (progress.isFenced) throw refused('another node owns this tenant now')
    if (progress.isDurable) return
    const { ackMode, lossBoundMs, onStoreOutage } = this.#policy
    if (progress.isCutOff && progress.isStoreFailing && progress.lagMs > cutOffMs)
      throw refused('this node is cut off from its fleet')
    if (ackMode === 'sync' || requestAck.getStore() === 'sync')
      return this.#within(progress.whenDurable(), 'the object store did not confirm the write in time')
    if (progress.lagMs <= lossBoundMs) return
    if (progress.isStoreFailing && onStoreOutage === 'spool' && progress.lagMs <= spoolAgeMsMax) return
    return this.#within(progress.whenWithin(lossBoundMs), 'the object store is too far behind')
  }

  /** The write stays committed and will ship: to its client it is one whose answer was lost. */
  async #within(durable: Promise<void>, message: string): Promise<void> {
    const late = Promise.withResolvers<never>()
    const cancel = this.#clock.setTimer(ackDeadlineMs, () => late.reject(refused(message)))
    try {
      await Promise.race([durable, late.promise])
    } catch (error) {
      throw error instanceof WritesRefusedError ? error : refused(message, error)
    } finally {
      cancel()
    }
  }
}

function refused(message: string, cause?: unknown): WritesRefusedError {
  return new WritesRefusedError(message, retryAfterSeconds, cause === undefined ? undefined : { cause })
}
