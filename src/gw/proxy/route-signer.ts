// Signs what a gateway tells workers about requests. The same client asks the same tenant again and again: a signature is
// used for some seconds before it is made anew.

import type { Route } from '../../ipc/messages/cp-gateway.ts'
import { type RouteHeaderKeys, routeHeaderLifetimeMs, signRouteHeader } from '../../ipc/messages/route-header.ts'
import type { Clock } from '../../lib/clock.ts'
import { LruMap } from '../../lib/lru.ts'
import type { Client } from './headers.ts'

/** How long a signature is used, ms: little of {@link routeHeaderLifetimeMs}, so that workers' clocks may differ. */
const reuseMs = 5_000
/** Signatures kept, some hundred bytes each. */
const signaturesMax = 10_000

interface Signature {
  readonly text: string
  readonly signedAtMs: number
}

export class RouteSigner {
  readonly #keys: RouteHeaderKeys
  readonly #clock: Clock
  readonly #signatures = new LruMap<string, Signature>(signaturesMax)

  constructor(keys: RouteHeaderKeys, clock: Clock) {
    this.#keys = keys
    this.#clock = clock
  }

  /** The header of a request that is the gateway's own. */
  signOwn(route: Route): string {
    return this.sign(route, { address: '', scheme: 'http', forwardedFor: '' }, '')
  }

  sign(route: Route, client: Client, host: string): string {
    const { tenantId, epoch } = route
    // Blanks stand in none of the parts but the host, which comes last.
    const key = `${tenantId} ${epoch} ${client.address} ${client.scheme} ${host}`
    const nowMs = this.#clock.now()
    const known = this.#signatures.get(key)
    // The wall clock may jump either way.
    if (known !== undefined && Math.abs(nowMs - known.signedAtMs) < reuseMs) return known.text
    const text = signRouteHeader(this.#keys, {
      tenantId,
      epoch,
      clientAddress: client.address,
      scheme: client.scheme,
      host,
      expiresAtMs: nowMs + routeHeaderLifetimeMs,
    })
    this.#signatures.set(key, { text, signedAtMs: nowMs })
    return text
  }
}
