// The route cache. It answers from memory, asks the control plane once per name however many requests wait, forgets what
// broadcasts call stale, and keeps serving what it knows while the control plane cannot be reached: a wrong route is
// answered 421 by the worker and corrected, so an old route is better than none.

import type { Broadcast, GatewayReplies, Route, RouteKey } from '../../ipc/messages/cp-gateway.ts'
import type { TenantId } from '../../lib/brand.ts'
import type { Clock } from '../../lib/clock.ts'
import { LruMap } from '../../lib/lru.ts'
import type { MaybePromise } from '../../lib/result.ts'
import { routeKeyId, routeKeyKinds, routeKeyName } from './host.ts'

export type RouteReply = GatewayReplies['route.resolve']

export type Lookup =
  | RouteReply
  /** The control plane did not answer and nothing is known. */
  | { readonly found: 'unreachable'; readonly cause: unknown }

export interface RouteTableDeps {
  readonly clock: Clock
  /** Asks the control plane; rejects when it cannot be reached. */
  readonly resolve: (key: RouteKey) => Promise<RouteReply>
  /** Cached routes at most. */
  readonly routesMax: number
}

/** After this long a route is asked for again in the background, ms; broadcasts keep it fresh before that. */
export const routeTtlMs = 5 * 60_000
/** Unknown names: long enough to shield the control plane, short enough for a tenant that was just created. */
export const unknownTtlMs = 5_000
/** An invalidated route that could not be refreshed is used this long before the next attempt. */
const staleTtlMs = 5_000

interface Entry {
  readonly key: RouteKey
  readonly reply: Extract<RouteReply, { readonly found: 'route' | 'unknown' }>
  readonly expiresAtMs: number
  /** A broadcast cast doubt on it: ask before using it again. */
  readonly isDoubtful: boolean
}

interface Flight {
  readonly key: RouteKey
  readonly reply: Promise<Lookup>
  /** A broadcast overtook the answer: use it once, do not keep it. */
  isTainted: boolean
}

export class RouteTable {
  readonly #deps: RouteTableDeps
  readonly #entries: LruMap<string, Entry>
  /** Under which keys a tenant is cached; may name keys that fell out. */
  readonly #idsOfTenant: LruMap<TenantId, Set<string>>
  readonly #flights = new Map<string, Flight>()
  /** Requests that wait for news about a name or tenant. */
  readonly #waiting = new Set<{ readonly names: ReadonlySet<string>; readonly wake: () => void }>()

  constructor(deps: RouteTableDeps) {
    this.#deps = deps
    this.#entries = new LruMap(deps.routesMax)
    this.#idsOfTenant = new LruMap(deps.routesMax)
  }

  get size(): number {
    return this.#entries.size
  }

  /** Answers at once from the cache, else asks. Never rejects. */
  get(key: RouteKey): MaybePromise<Lookup> {
    const id = routeKeyId(key)
    const entry = this.#entries.get(id)
    if (entry === undefined || entry.isDoubtful) return this.#ask(id, key)
    if (this.#deps.clock.monotonic() < entry.expiresAtMs) return entry.reply
    if (entry.reply.found === 'unknown') return this.#ask(id, key)
    void this.#ask(id, key) // old but never called wrong: refresh behind the request's back
    return entry.reply
  }

  /** Asks again, because `stale` proved wrong; answers at once when the cache already knows better. */
  refresh(key: RouteKey, stale: Route): MaybePromise<Lookup> {
    const id = routeKeyId(key)
    const entry = this.#entries.get(id)
    if (entry?.reply.found === 'route' && !entry.isDoubtful) {
      const { route } = entry.reply
      if (route.epoch > stale.epoch || route.workerUrl !== stale.workerUrl) return entry.reply
      this.#entries.set(id, { ...entry, isDoubtful: true })
    }
    return this.#ask(id, key)
  }

  /** Resolves when something is said about the name or tenant, or after `timeoutMs`; rejects with the signal's reason. */
  waitForNews(key: RouteKey, tenantId: TenantId | null, timeoutMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason)
      const end = () => {
        this.#waiting.delete(waiter)
        cancel()
        signal.removeEventListener('abort', onAbort)
      }
      const wake = () => {
        end()
        resolve()
      }
      const onAbort = () => {
        end()
        reject(signal.reason)
      }
      const names = new Set([routeKeyName(key), ...(tenantId === null ? [] : [tenantId])])
      const waiter = { names, wake }
      const cancel = this.#deps.clock.setTimer(timeoutMs, wake)
      signal.addEventListener('abort', onAbort, { once: true })
      this.#waiting.add(waiter)
    })
  }

  apply(message: Broadcast): void {
    switch (message.type) {
      case 'route.changed':
        this.#onRouteChanged(message.tenantId, message.names, message.route)
        break
      case 'node.changed':
        this.#doubt((route) => route.nodeId === message.nodeId)
        break
      case 'tenant.changed':
        this.#doubt((route) => route.tenantId === message.tenantId)
        break
      case 'config.changed':
        break // nothing here depends on it
    }
  }

  /** Broadcasts were lost: whatever is cached may be wrong. */
  doubtAll(): void {
    this.#doubt(() => true)
  }

  #onRouteChanged(tenantId: TenantId, names: readonly string[], route: Route | null): void {
    const named = new Set<string>([...names, tenantId])
    const ids = new Set(this.#idsOfTenant.get(tenantId) ?? [])
    for (const name of named) for (const kind of routeKeyKinds) ids.add(`${kind}:${name}`)
    for (const id of ids) {
      const entry = this.#entries.get(id)
      if (entry === undefined) continue
      const isNamed = named.has(routeKeyName(entry.key))
      const isOthers = entry.reply.found === 'route' && entry.reply.route.tenantId !== tenantId
      // A name that the tenant no longer has must not keep leading to it.
      if (isNamed ? route === null || isOthers : !isOthers) this.#entries.delete(id)
      else if (isNamed && route !== null && (entry.reply.found === 'unknown' || entry.reply.route.epoch <= route.epoch))
        this.#store(id, entry.key, { found: 'route', route })
    }
    for (const flight of this.#flights.values()) if (named.has(routeKeyName(flight.key))) flight.isTainted = true
    for (const waiter of [...this.#waiting]) if ([...waiter.names].some((name) => named.has(name))) waiter.wake()
  }

  #doubt(isMeant: (route: Route) => boolean): void {
    for (const [id, entry] of [...this.#entries.entries()]) {
      if (entry.reply.found === 'unknown') this.#entries.delete(id)
      else if (!entry.isDoubtful && isMeant(entry.reply.route)) this.#entries.set(id, { ...entry, isDoubtful: true })
    }
    for (const flight of this.#flights.values()) flight.isTainted = true
    for (const waiter of [...this.#waiting]) waiter.wake()
  }

  #ask(id: string, key: RouteKey): Promise<Lookup> {
    const under = this.#flights.get(id)
    if (under !== undefined && !under.isTainted) return under.reply
    const flight: Flight = { key, isTainted: false, reply: this.#askNow(id, key, () => flight) }
    this.#flights.set(id, flight)
    return flight.reply
  }

  async #askNow(id: string, key: RouteKey, flightOf: () => Flight): Promise<Lookup> {
    try {
      const reply = await this.#deps.resolve(key)
      return this.#keep(id, key, reply, flightOf().isTainted)
    } catch (cause) {
      return this.#fallBack(id, cause)
    } finally {
      if (this.#flights.get(id) === flightOf()) this.#flights.delete(id)
    }
  }

  #keep(id: string, key: RouteKey, reply: RouteReply, isTainted: boolean): Lookup {
    const known = this.#entries.get(id)
    if (reply.found === 'unavailable') {
      this.#entries.delete(id) // the next request asks again; concurrent ones share the question
      return reply
    }
    // A broadcast may have been faster than the answer to an older question.
    if (reply.found === 'route' && known?.reply.found === 'route' && known.reply.route.epoch > reply.route.epoch)
      return known.reply
    if (!isTainted) this.#store(id, key, reply)
    return reply
  }

  #fallBack(id: string, cause: unknown): Lookup {
    const known = this.#entries.get(id)
    if (known?.reply.found !== 'route') return { found: 'unreachable', cause }
    const expiresAtMs = this.#deps.clock.monotonic() + staleTtlMs
    this.#entries.set(id, { ...known, expiresAtMs, isDoubtful: false })
    return known.reply
  }

  #store(id: string, key: RouteKey, reply: Entry['reply']): void {
    const ttlMs = reply.found === 'route' ? routeTtlMs : unknownTtlMs
    this.#entries.set(id, { key, reply, expiresAtMs: this.#deps.clock.monotonic() + ttlMs, isDoubtful: false })
    if (reply.found !== 'route') return
    const { tenantId } = reply.route
    const ids = this.#idsOfTenant.get(tenantId)
    if (ids === undefined) this.#idsOfTenant.set(tenantId, new Set([id]))
    else ids.add(id)
  }
}
