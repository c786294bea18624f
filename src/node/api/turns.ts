// Whose request begins next. All tenants of a worker share one thread, and requests that arrived together would all be
// worked off before anything else is looked at: who sends many at once makes everybody wait for all of them. So a tenant
// that asks for much begins one request a round of the event loop, in turn with others like it; who asks for little
// begins at once. A tenant that is alone never waits.

import { afterArrivals, type Clock } from '../../lib/clock.ts'
import { OverloadedError } from '../../lib/errors.ts'
import { FairQueue } from '../../lib/fair-queue.ts'
import type { MaybePromise } from '../../lib/result.ts'

/** Requests that may wait for their turn, in all and of one tenant. */
const waitingMax = 20_000
const waitingMaxOfOne = 5_000
/** What a tenant used counts half after this long, ms. */
const halfLifeMs = 1_000
/** Who used less than this part of what the heaviest used goes first. */
const lightShare = 0.5
/** After this long without a second tenant, one is alone, ms. */
const aloneMs = 1_000

/** A tenant, as far as its use of the worker is counted. */
export interface TurnOwner {
  /** Time that its writes took in SQLite so far, ms. */
  readonly writerMs: number
}

/** What a request counts besides its writes, ms: reading it, answering it. */
const requestMs = 0.1

interface Account {
  usedMs: number
  /** Of {@link TurnOwner.writerMs}: what is counted already. */
  writerMsSeen: number
  atMs: number
}

export class Turns {
  readonly #clock: Clock
  readonly #waiting = new FairQueue<() => void, TurnOwner>({ itemsMax: waitingMax, itemsMaxOfOne: waitingMaxOfOne })
  readonly #accounts = new WeakMap<TurnOwner, Account>()
  /** Whoever used most, when it was last looked at. */
  #heaviest: Account | null = null
  #last: WeakRef<TurnOwner> | null = null
  #lastChangeMs = Number.NEGATIVE_INFINITY
  #isRoundDue = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Resolves when a request of `owner` may begin; undefined: at once. Rejects with OverloadedError. */
  enter(owner: TurnOwner): MaybePromise<void> {
    const nowMs = this.#clock.monotonic()
    const account = this.#count(owner, nowMs)
    if (this.#last?.deref() !== owner) {
      if (this.#last !== null) this.#lastChangeMs = nowMs
      this.#last = new WeakRef(owner)
    }
    if (this.#waiting.size === 0 && nowMs - this.#lastChangeMs > aloneMs) return
    if (this.#isLight(account, nowMs)) return
    return new Promise((begin, fail) => {
      if (this.#waiting.push(owner, begin)) this.#startRound()
      else fail(new OverloadedError('too many requests wait already'))
    })
  }

  #startRound(): void {
    if (this.#isRoundDue) return
    this.#isRoundDue = true
    afterArrivals(() => {
      this.#isRoundDue = false
      this.#waiting.shift()?.()
      if (this.#waiting.size > 0) this.#startRound()
    })
  }

  #isLight(account: Account, nowMs: number): boolean {
    const heaviest = this.#heaviest
    if (heaviest === null || heaviest === account) return heaviest === null
    return account.usedMs < usedNow(heaviest, nowMs) * lightShare
  }

  #count(owner: TurnOwner, nowMs: number): Account {
    const { writerMs } = owner
    let account = this.#accounts.get(owner)
    if (account === undefined) this.#accounts.set(owner, (account = { usedMs: 0, writerMsSeen: writerMs, atMs: nowMs }))
    account.usedMs = usedNow(account, nowMs) + requestMs + (writerMs - account.writerMsSeen)
    account.writerMsSeen = writerMs
    account.atMs = nowMs
    if (this.#heaviest === null || account.usedMs >= usedNow(this.#heaviest, nowMs)) this.#heaviest = account
    return account
  }
}

function usedNow({ usedMs, atMs }: Account, nowMs: number): number {
  return usedMs * 2 ** ((atMs - nowMs) / halfLifeMs)
}
