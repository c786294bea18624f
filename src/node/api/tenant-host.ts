// Where requests get their tenant from: a pool in a fleet, one directory in standalone.

import type { MaybePromise } from '../../lib/result.ts'
import type { Engine } from '../engine/engine.ts'

/** A tenant that stays open until {@link release}. */
export interface TenantLease {
  readonly engine: Engine
  /** The client's address: of the connection, or as the gateway saw it. No port. */
  readonly remoteAddress: string
  /** As the client asked for it. */
  readonly scheme: 'http' | 'https'
  /** Ends the lease. Streams keep it until they are closed. Calling it again does nothing. */
  release(): void
}

/** The address of a connection; what Bun's server knows. */
export interface Connections {
  requestIP(request: Request): { readonly address: string } | null
  timeout(request: Request, seconds: number): void
}

export interface TenantHost {
  /** The tenant of a request, or the answer to a request that has none. Synchronous when the tenant is open. */
  acquire(request: Request, connections: Connections | null): MaybePromise<TenantLease | Response>
}
