// What a gateway must be told. Read once, at the edge, by `cli/modes/gateway.ts`.

import type { ClusterSecrets } from '../ipc/keys.ts'
import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/obs/log.ts'
import type { Metrics } from '../lib/obs/metrics.ts'
import type { Rng } from '../lib/rng.ts'

export interface ListenAddress {
  readonly host: string
  /** 0 chooses a free one. */
  readonly port: number
}

export interface GatewayConfig {
  readonly http: ListenAddress
  /** Null: no TLS. */
  readonly https: (ListenAddress & { readonly certPath: string; readonly keyPath: string }) | null
  /** HTTP addresses of control-plane members, `host:port` or `http://host:port`; at least one. */
  readonly controlPlane: readonly string[]
  /** Tenants answer on `{slug}.{baseDomain}`; lower case, no port. */
  readonly baseDomain: string
  readonly secrets: ClusterSecrets
  /** Addresses of proxies in front of us whose `X-Forwarded-For` and `-Proto` are believed; none by default. */
  readonly trustedProxies?: readonly string[]
  readonly limits?: Partial<GatewayLimits>
}

export interface GatewayLimits {
  /** Largest request body, bytes; beyond it 413. PocketBase's own limits are smaller and lie with the tenant. */
  readonly bodyBytesMax: number
  /** How long a request waits while its tenant moves or fails over, ms. */
  readonly holdMs: number
  /** How many requests wait at once, over all tenants; more get 503 at once. */
  readonly heldMax: number
  /** Cached routes, least recently used dropped first. */
  readonly routesMax: number
  /** How long one question to the control plane may take, ms. */
  readonly resolveMs: number
}

export const defaultLimits: GatewayLimits = {
  bodyBytesMax: 5 * 1024 ** 3,
  holdMs: 10_000,
  heldMax: 2_000,
  routesMax: 200_000,
  resolveMs: 5_000,
}

export interface GatewayDeps {
  readonly clock: Clock
  readonly rng: Rng
  readonly log: Logger
  readonly metrics: Metrics
}

/**
 * `fetch` takes at most 512 upstream requests at once, each open SSE stream among them, unless this is in the environment
 * before the process starts. Whoever starts a gateway sets it; one started without re-executes itself.
 */
export const gatewayEnvironment = { BUN_CONFIG_MAX_HTTP_REQUESTS: '65535' } as const

export interface Gateway {
  /** `http://host:port` as bound. */
  readonly httpUrl: string
  readonly httpsUrl: string | null
  /** Stops taking connections, lets requests under way end for a while, then closes everything. */
  close(): Promise<void>
}
