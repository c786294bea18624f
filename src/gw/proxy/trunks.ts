// Which clients sit on trunks. A tenant with a handful of event streams has a line for each; from then on new ones of the
// same worker and epoch share a trunk, so that an event for all of them is read once.

import type { Route } from '../../ipc/messages/cp-gateway.ts'
import { routeHeaderName } from '../../ipc/messages/route-header.ts'
import {
  encodeSeats,
  seatHeaderName,
  seatText,
  trunkHeaderName,
  trunkIdLength,
  trunkMediaType,
  trunkPath,
} from '../../ipc/messages/trunk.ts'
import type { Clock } from '../../lib/clock.ts'
import { randomText } from '../../lib/id.ts'
import type { Logger } from '../../lib/obs/log.ts'
import type { Rng } from '../../lib/rng.ts'
import type { OnEventStream, Question } from './exchange.ts'
import type { Attempt } from './http.ts'
import type { RouteSigner } from './route-signer.ts'
import type { Seat } from './seat.ts'
import { Trunk } from './trunk.ts'
import type { Upstreams } from './upstreams.ts'

/** Streams of a tenant that have lines of their own before it gets a trunk. */
const linesMax = 8
/** After a worker gave no trunk, it is asked again after this, ms. */
const askAgainMs = 10_000
/** How long a worker may take to answer what no client asked, ms. */
const answerMs = 10_000

/** The address of PocketBase's event streams. */
const eventsPath = '/api/realtime'

/** Whether the answer may be a stream of events that many clients get. */
export function asksForEvents({ method, target }: Pick<Question, 'method' | 'target'>): boolean {
  return target === eventsPath && method === 'GET'
}

export interface TrunksDeps {
  readonly clock: Clock
  readonly rng: Rng
  readonly log: Logger
  readonly upstreams: Upstreams
  readonly signer: RouteSigner
  readonly onEventStream: OnEventStream
}

/** The event streams of a tenant on one worker, under one epoch. */
interface Group {
  /** Questions whose streams have, or may get, a line of their own. */
  lines: number
  trunk: Trunk | null
  isOpening: boolean
  notBeforeMs: number
}

export class Trunks {
  readonly #deps: TrunksDeps
  readonly #groups = new Map<string, Group>()

  constructor(deps: TrunksDeps) {
    this.#deps = deps
  }

  /** Trunks that are open. */
  get count(): number {
    let count = 0
    for (const { trunk } of this.#groups.values()) if (trunk !== null) count++
    return count
  }

  /** Asks for an event stream. Never rejects. */
  async ask(question: Question, route: Route): Promise<Attempt> {
    const key = `${route.workerUrl} ${route.tenantId} ${route.epoch}`
    let group = this.#groups.get(key)
    if (group === undefined)
      this.#groups.set(
        key,
        (group = { lines: 0, trunk: null, isOpening: false, notBeforeMs: Number.NEGATIVE_INFINITY }),
      )
    const seat = group.trunk?.take() ?? null
    if (seat !== null) return this.#askSeated(question, group.trunk!.id, seat)
    group.lines++
    let isOver = false
    const onOver = () => {
      if (isOver) return
      isOver = true
      group.lines--
      this.#forgetUnused(key, group)
    }
    if (group.lines > linesMax && !group.isOpening && group.notBeforeMs <= this.#deps.clock.monotonic())
      void this.#open(key, group, route)
    const attempt = await this.#deps.upstreams.ask({ ...question, onOver })
    if (attempt.outcome !== 'answered') onOver()
    return attempt
  }

  /** Cuts every trunk. */
  close(): void {
    for (const { trunk } of [...this.#groups.values()]) trunk?.cut(new Error('the gateway is closing'))
  }

  async #askSeated(question: Question, trunkId: string, seat: Seat): Promise<Attempt> {
    const name = seatText({ trunkId, number: seat.number })
    const headers = [...question.headers, [seatHeaderName, name] as const]
    const attempt = await this.#deps.upstreams.ask({ ...question, headers })
    const isSeated =
      attempt.outcome === 'answered' &&
      attempt.head?.headers.some(([header, value]) => header === seatHeaderName && value === name) === true
    if (!isSeated) {
      seat.leave()
      return attempt
    }
    const { status, statusText, headers: received } = attempt.response
    const response = new Response(seat.stream, { status, statusText, headers: received })
    question.signal.addEventListener('abort', () => seat.leave(), { once: true })
    seat.onOver(this.#deps.onEventStream(response, () => seat.end()))
    if (question.signal.aborted) seat.leave()
    return { outcome: 'answered', response }
  }

  /** Never rejects: without a trunk, streams have lines of their own. */
  async #open(key: string, group: Group, route: Route): Promise<void> {
    const { clock, log, rng } = this.#deps
    group.isOpening = true
    const id = randomText(rng, trunkIdLength)
    const attempt = await this.#askOwn(route, id, { method: 'GET', body: null })
    group.isOpening = false
    const response = attempt.outcome === 'answered' ? attempt.response : null
    if (response?.body && response.status === 200 && response.headers.get('content-type') === trunkMediaType) {
      group.trunk = new Trunk({ id, clock, log, tellGone: (numbers) => this.#tellGone(route, id, numbers) })
      await group.trunk.run(response.body)
      group.trunk = null
    } else {
      group.notBeforeMs = clock.monotonic() + askAgainMs
      log.debug('no trunk', { worker: route.workerUrl, tenant: route.tenantId, status: response?.status })
      await discard(response)
    }
    this.#forgetUnused(key, group)
  }

  async #tellGone(route: Route, id: string, numbers: readonly number[]): Promise<boolean> {
    const attempt = await this.#askOwn(route, id, { method: 'POST', body: encodeSeats(numbers) })
    if (attempt.outcome !== 'answered') return false
    await discard(attempt.response)
    return attempt.response.ok
  }

  /** Asks what no client asks. */
  async #askOwn(route: Route, id: string, { method, body }: Pick<Question, 'method' | 'body'>): Promise<Attempt> {
    const { clock, upstreams, signer } = this.#deps
    const late = new AbortController()
    const cancel = clock.setTimer(answerMs, () => late.abort())
    try {
      return await upstreams.ask({
        origin: route.workerUrl,
        method,
        target: trunkPath,
        headers: [
          ['host', new URL(route.workerUrl).host],
          [routeHeaderName, signer.signOwn(route)],
          [trunkHeaderName, id],
        ],
        body,
        signal: late.signal,
      })
    } finally {
      cancel()
    }
  }

  #forgetUnused(key: string, group: Group): void {
    const isUsed = group.lines > 0 || group.trunk !== null || group.isOpening
    if (!isUsed && this.#groups.get(key) === group) this.#groups.delete(key)
  }
}

async function discard(response: Response | null): Promise<void> {
  await response?.body?.cancel().catch(() => {}) // it broke: nobody wanted it anyway
}
