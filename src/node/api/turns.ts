// Whose request begins next. All tenants of a worker share one thread, and requests that arrived together would all be
// worked off before anything else is looked at: who sends many at once makes everybody wait for all of them. So while
// others are about, a tenant that uses much begins one request a round of the event loop, in turn with others like it, and
// only as long as it stays within its share of the thread. Who uses little begins at once, and who is alone never waits.

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
const lightPart = 0.5
/** The part of the thread that one tenant may use while others are about. */
const share = 0.75
/** What {@link share} comes to: the sum of what was used at that rate for ever, each ms counting less the older it is. */
const shareMs = (share * halfLifeMs) / Math.LN2
/** After this long without a second tenant, one is alone, ms. */
const aloneMs = 1_000
/** When nobody may begin, it is looked again after this long, ms. */
const pauseMs = 1
/** What a request counts besides what its tenant's usage says: reading it, answering it, ms. */
const requestMs = 0.15

/** A tenant, as far as its use of the worker is counted. */
export interface TurnOwner {
  /** Time of the thread that it has used so far, ms. */
  readonly usedMs: number
}

interface Account {
  /** What it used lately: older use counts less. */
  recentMs: number
  /** Of {@link TurnOwner.usedMs}: what is counted already. */
  seenMs: number
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
    const account = this.#update(owner, nowMs)
    if (this.#last?.deref() !== owner) {
      if (this.#last !== null) this.#lastChangeMs = nowMs
      this.#last = new WeakRef(owner)
    }
    if (this.#waiting.size === 0 && this.#isAlone(nowMs)) return this.#charge(account)
    if (this.#isLight(account, nowMs)) return this.#charge(account)
    return new Promise((begin, fail) => {
      if (this.#waiting.push(owner, begin)) this.#startRound()
      else fail(new OverloadedError('too many requests wait already'))
    })
  }

  #startRound(): void {
    if (this.#isRoundDue) return
    this.#isRoundDue = true
    afterArrivals(() => this.#round())
  }

  #round(): void {
    const nowMs = this.#clock.monotonic()
    const isAlone = this.#isAlone(nowMs)
    let account: Account | null = null
    const begin = this.#waiting.shift((owner) => {
      account = this.#update(owner, nowMs)
      return isAlone || account.recentMs < shareMs
    })
    this.#isRoundDue = false
    if (begin !== null) {
      this.#charge(account!)
      begin()
    }
    if (this.#waiting.size === 0) return
    if (begin !== null) {
      this.#startRound()
    } else {
      this.#isRoundDue = true
      this.#clock.setTimer(pauseMs, () => this.#round())
    }
  }

  #isAlone(nowMs: number): boolean {
    return nowMs - this.#lastChangeMs > aloneMs
  }

  #isLight(account: Account, nowMs: number): boolean {
    const heaviest = this.#heaviest
    if (heaviest === null || heaviest === account) return heaviest === null
    return account.recentMs < recentNow(heaviest, nowMs) * lightPart
  }

  #charge(account: Account): void {
    account.recentMs += requestMs
  }

  #update(owner: TurnOwner, nowMs: number): Account {
    const { usedMs } = owner
    let account = this.#accounts.get(owner)
    if (account === undefined) this.#accounts.set(owner, (account = { recentMs: 0, seenMs: usedMs, atMs: nowMs }))
    account.recentMs = recentNow(account, nowMs) + (usedMs - account.seenMs)
    account.seenMs = usedMs
    account.atMs = nowMs
    if (this.#heaviest === null || account.recentMs >= recentNow(this.#heaviest, nowMs)) this.#heaviest = account
    return account
  }
}

function recentNow({ recentMs, atMs }: Account, nowMs: number): number {
  return recentMs * 2 ** ((atMs - nowMs) / halfLifeMs)
}
