// Keeps a valid certificate for each of some hosts: from the cache, else from the issuer, renewed long before its end.

import { type Clock, sleep } from '../../lib/clock.ts'
import { errorMessage, TimeoutError } from '../../lib/errors.ts'
import type { Logger } from '../../lib/obs/log.ts'
import { type Rng, uniform } from '../../lib/rng.ts'
import type { CertificateIssuer, Challenges } from './acme-issuer.ts'
import type { Certificate, CertificateCache } from './certificate-cache.ts'

const dayMs = 86_400_000
/** A certificate is renewed when it ends within this time, ms, as PocketBase does; one of a short life, in its last third. */
const renewBeforeMs = 30 * dayMs
/** The longest wait between two looks at a certificate, ms: the machine may have slept meanwhile. */
const lookEveryMs = dayMs / 2
/**
 * Waits after failures, ms. Authorities bound failed attempts: Let's Encrypt takes five an hour for a host.
 * https://letsencrypt.org/docs/rate-limits/
 */
const failureWaitsMs = [60_000, 15 * 60_000, 30 * 60_000, 60 * 60_000, 6 * 60 * 60_000]
/** An order takes some seconds, and minutes where the authority is slow; nothing else bounds how long an answer stays out, ms. */
const issueMsMax = 10 * 60_000

function renewAtMs({ validFromMs, expiresAtMs }: Certificate): number {
  return expiresAtMs - Math.min(renewBeforeMs, (expiresAtMs - validFromMs) / 3)
}

export interface CertificateKeeperOptions {
  readonly hosts: readonly string[]
  readonly cache: Pick<CertificateCache, 'read' | 'write'>
  readonly issuer: CertificateIssuer
  readonly challenges: Challenges
  readonly clock: Clock
  readonly rng: Rng
  readonly log: Logger
  /** Told of all valid certificates, in the order of the hosts, whenever one of them is new. */
  readonly onChange: (certificates: readonly Certificate[]) => void
}

export class CertificateKeeper {
  readonly #options: CertificateKeeperOptions
  readonly #held = new Map<string, Certificate>()
  readonly #stop = new AbortController()
  /** Orders follow each other: authorities bound how many are open. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(options: CertificateKeeperOptions) {
    this.#options = options
  }

  /** Takes what the cache holds, tells of it, and goes on by itself until {@link close}. */
  async start(): Promise<void> {
    const { hosts, cache } = this.#options
    for (const host of hosts) {
      const cached = await cache.read(host)
      if (cached !== null) this.#held.set(host, cached)
    }
    if (this.#valid().length > 0) this.#options.onChange(this.#valid())
    for (const host of hosts) void this.#keep(host)
  }

  close(): void {
    this.#stop.abort(new Error('closed'))
  }

  #valid(): Certificate[] {
    const { hosts, clock } = this.#options
    return hosts.flatMap((host) => {
      const held = this.#held.get(host)
      return held !== undefined && held.expiresAtMs > clock.now() ? [held] : []
    })
  }

  async #keep(host: string): Promise<void> {
    const { clock, rng, log } = this.#options
    const { signal } = this.#stop
    let failures = 0
    while (!signal.aborted) {
      const held = this.#held.get(host)
      const restMs = held === undefined ? 0 : renewAtMs(held) - clock.now()
      let waitMs = Math.min(restMs, lookEveryMs)
      if (restMs <= 0) {
        try {
          await this.#inTurn(() => this.#renew(host))
          failures = 0
          waitMs = 0
        } catch (error) {
          const wholeMs = failureWaitsMs[Math.min(failures++, failureWaitsMs.length - 1)]!
          waitMs = wholeMs * (1 + uniform(rng) / 4)
          if (signal.aborted) return
          log.error('certificate.failed', { host, error: errorMessage(error), againInMs: Math.round(waitMs) })
        }
      }
      // Rejects only when closed; the loop then ends.
      if (waitMs > 0) await sleep(clock, waitMs, signal).catch(() => {})
    }
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#turn.then(() => (this.#stop.signal.aborted ? undefined : work()))
    this.#turn = done.catch(() => {}) // who waits for `done` hears of it
    return done
  }

  async #renew(host: string): Promise<void> {
    const { cache, clock, log } = this.#options
    const certificate = await this.#issued(host)
    if (renewAtMs(certificate) <= clock.now()) throw new Error('the certificate that came has to be renewed already')
    this.#held.set(host, certificate)
    await cache.write(certificate).catch(
      (error) => log.error('certificate.unsaved', { host, error: errorMessage(error) }), // it serves until the next start
    )
    log.info('certificate.issued', { host, expiresAt: new Date(certificate.expiresAtMs).toISOString() })
    if (!this.#stop.signal.aborted) this.#options.onChange(this.#valid())
  }

  /** What hangs has failed: the other hosts wait for their turn. */
  async #issued(host: string): Promise<Certificate> {
    const { issuer, challenges, clock } = this.#options
    const done = new AbortController()
    const late = sleep(clock, issueMsMax, AbortSignal.any([this.#stop.signal, done.signal])).then(() => {
      throw new TimeoutError(`the authority was not done within ${issueMsMax} ms`)
    })
    try {
      return await Promise.race([issuer.issue(host, challenges), late])
    } finally {
      done.abort()
    }
  }
}
