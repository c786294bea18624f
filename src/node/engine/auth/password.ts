// bcrypt as PocketBase stores it. One comparison takes tens of milliseconds of a core, so it never runs on the event
// loop: Bun computes it on its thread pool, and this queue decides who is next. The pool belongs to the process and the
// process serves many tenants, so each tenant has a lane and the lanes take turns; a tenant under a login flood delays
// itself, not its neighbours.

import { AsyncLocalStorage } from 'node:async_hooks'
import { availableParallelism } from 'node:os'
import { AppError, OverloadedError } from '../../../lib/errors.ts'

/** bcrypt reads no more; PocketBase refuses to hash longer passwords and ignores the rest when it compares. */
export const passwordBytesMax = 72
/** What PocketBase uses where the field says 0. */
export const passwordCostDefault = 10
export const passwordCostMin = 4
export const passwordCostMax = 31
/**
 * The highest cost that is computed here, about 3 s of a core. Each step doubles it: at 31 one comparison would hold a
 * thread that other tenants need for a day.
 */
const costComputedMax = 16

/** Waiting jobs of one lane: at 50 ms each and two cores this is 25 s of work, longer than clients wait. */
const laneWaitersMax = 1000

const encoder = new TextEncoder()

/** A password longer than bcrypt can tell apart. */
export class PasswordTooLongError extends AppError {
  readonly code = 'password_too_long'
  constructor() {
    super(`bcrypt: password length exceeds ${passwordBytesMax} bytes`)
  }
}

/** A cost that would hold a thread of the process for too long. */
export class PasswordCostError extends AppError {
  readonly code = 'password_cost'
  constructor(cost: number) {
    super(`bcrypt: cost ${cost} is above ${costComputedMax}, the highest that is computed here`)
  }
}

/** Hashes and compares passwords off the event loop. One per tenant; see {@link PasswordQueue.lane}. */
export interface PasswordHasher {
  /**
   * Hashes `plain` with `cost` (0 means the default). The result starts with `$2a$`.
   * Fails with PasswordTooLongError, PasswordCostError, and with OverloadedError when too many jobs wait.
   */
  hash(plain: string, cost: number): Promise<string>
  /** Whether `plain` is the password of `hash` (`$2a$`, `$2b$`, `$2y$`). False for anything that is no bcrypt hash. */
  verify(plain: string, hash: string): Promise<boolean>
}

interface Lane {
  readonly waiting: (() => void)[]
}

export class PasswordQueue {
  readonly #concurrencyMax: number
  /** Lanes with waiting jobs, next one first. */
  readonly #ready: Lane[] = []
  #running = 0

  /** @param concurrencyMax comparisons computed at one time; more than cores only slows each one down. */
  constructor(concurrencyMax: number = Math.max(1, availableParallelism())) {
    this.#concurrencyMax = concurrencyMax
  }

  /** A hasher whose jobs take turns with those of other lanes. Holds nothing that must be released. */
  lane(): PasswordHasher {
    const lane: Lane = { waiting: [] }
    return {
      hash: async (plain, cost) => takePrepared(plain, cost) ?? this.#run(lane, () => hashNow(plain, cost)),
      verify: (plain, hash) => this.#run(lane, () => verifyNow(plain, hash)),
    }
  }

  async #run<T>(lane: Lane, job: () => Promise<T>): Promise<T> {
    if (this.#running >= this.#concurrencyMax) await this.#wait(lane)
    else this.#running++
    try {
      return await job()
    } finally {
      this.#startNext()
    }
  }

  #wait(lane: Lane): Promise<void> {
    if (lane.waiting.length >= laneWaitersMax)
      throw new OverloadedError(`${laneWaitersMax} passwords wait to be checked already`)
    return new Promise((resolve) => {
      if (lane.waiting.push(resolve) === 1) this.#ready.push(lane)
    })
  }

  /** Hands the finished job's place to the next lane in turn, or gives it up. */
  #startNext(): void {
    const lane = this.#ready.shift()
    if (lane === undefined) {
      this.#running--
      return
    }
    const resume = lane.waiting.shift()!
    if (lane.waiting.length > 0) this.#ready.push(lane)
    resume()
  }
}

/** The one queue of this process: its limit stands for the cores of the machine. */
export const sharedPasswordQueue = new PasswordQueue()

/** Hashes by cost and password, each for one use: two records must not share a salt. */
const prepared = new AsyncLocalStorage<ReadonlyMap<string, string[]>>()

const preparedKey = (plain: string, cost: number) => `${cost}\n${plain}`

function takePrepared(plain: string, cost: number): string | undefined {
  return prepared.getStore()?.get(preparedKey(plain, cost))?.pop()
}

/** Passwords of one request that are hashed at once; the rest of them waits outside of its lane. */
const hashesAtOnce = 4

export interface PlainPassword {
  readonly plain: string
  readonly cost: number
}

/**
 * Hashes passwords, then runs `body`, in which `hasher` has them at once: what runs in a transaction must not hold up
 * other writers for bcrypt. Passwords that cannot be hashed are left for `body` to meet, and so is what is not hashed
 * yet when `isTooLate`.
 */
export async function withHashes<T>(
  hasher: PasswordHasher,
  passwords: readonly PlainPassword[],
  body: () => Promise<T>,
  isTooLate: () => boolean = () => false,
): Promise<T> {
  if (passwords.length === 0) return body()
  const hashes = new Map<string, string[]>()
  for (let from = 0; from < passwords.length && !isTooLate(); from += hashesAtOnce)
    await Promise.all(
      passwords.slice(from, from + hashesAtOnce).map(async ({ plain, cost }) => {
        const hash = await hasher.hash(plain, cost).catch((error: unknown) => {
          if (error instanceof PasswordTooLongError || error instanceof PasswordCostError) return null
          throw error
        })
        const key = preparedKey(plain, cost)
        if (hash !== null) hashes.set(key, [...(hashes.get(key) ?? []), hash])
      }),
    )
  return prepared.run(hashes, body)
}

async function hashNow(plain: string, cost: number): Promise<string> {
  const bytes = encoder.encode(plain)
  if (bytes.length > passwordBytesMax) throw new PasswordTooLongError()
  const effectiveCost = cost <= 0 ? passwordCostDefault : cost
  if (effectiveCost > costComputedMax) throw new PasswordCostError(effectiveCost)
  const hash = await Bun.password.hash(bytes, { algorithm: 'bcrypt', cost: effectiveCost })
  // The same algorithm under two names: `$2b$` marks a fix of a bug that never existed in this implementation, nor in
  // Go's, which writes and expects `$2a$`.
  return hash.replace(/^\$2[by]\$/, '$2a$')
}

const bcryptPattern = /^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}$/

async function verifyNow(plain: string, hash: string): Promise<boolean> {
  const cost = Number(bcryptPattern.exec(hash)?.[1] ?? 0)
  if (cost < passwordCostMin || cost > passwordCostMax) return false
  if (cost > costComputedMax) throw new PasswordCostError(cost)
  // Bun would digest longer input first; bcrypt itself, and with it every stored hash, only knows the first 72 bytes.
  const bytes = encoder.encode(plain).subarray(0, passwordBytesMax)
  if (bytes.length === 0) {
    // No stored password is empty, but the answer must cost as much as any other.
    await Bun.password.verify('\0', hash, 'bcrypt')
    return false
  }
  return Bun.password.verify(bytes, hash, 'bcrypt')
}
