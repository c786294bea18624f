// What a tenant node is told at its start. Plain data: the part a worker needs crosses a pipe as one JSON line.

import type { NodeId } from '../lib/brand.ts'
import type { ObjectStoreConfig } from '../lib/object-store/open.ts'
import type { LogLevel } from '../lib/obs/log.ts'
import type { BusyLimits } from './busy-tenants.ts'

export interface ListenAddress {
  readonly host: string
  /** 0 lets the system choose. */
  readonly port: number
}

export interface TenantNodeConfig {
  readonly nodeId: NodeId
  /** Holds the databases of its tenants; may be deleted while the node is stopped. */
  readonly dir: string
  /** Health and metrics. */
  readonly http: ListenAddress
  /** Engine worker processes, at least 1. */
  readonly workers: number
  /** When tenants count as busy and as calm; for tests. */
  readonly busy?: BusyLimits
  /** `[from, to]`, both inclusive, one port per worker; null lets the system choose. */
  readonly workerPorts: { readonly from: number; readonly to: number } | null
  /** The host under which gateways and the control plane reach this node; workers listen on it, unless it is a name. */
  readonly nodeAddress: string
  /** `tcp://host:port`; where orders of the control plane are received. */
  readonly ipcBind: string
  /** What the control plane connects to; null: the address in fact bound. */
  readonly ipcAdvertise: string | null
  /** HTTP addresses of control-plane members. */
  readonly controlPlane: readonly string[]
  readonly clusterSecret: string
  /** Valid beside the current one while it is being rotated. */
  readonly clusterSecretPrevious?: string | null
  readonly objectStore: ObjectStoreConfig
  /** Before `t/{tenantId}/…` in every key, without slashes at its ends; may be empty. */
  readonly objectPrefix: string
  /** Tenants open at once on the whole node. */
  readonly tenantsMax: number
  readonly region: string
  readonly zone: string
  readonly labels: Readonly<Record<string, string>>
  /** A tenant without requests and streams is closed after this long, ms. */
  readonly idleMs: number
  /** The local files of a closed tenant are deleted after this long, ms. */
  readonly evictMs: number
  readonly logLevel: LogLevel
  readonly logFormat: 'json' | 'text'
  readonly isDev?: boolean
}

/** See design, "Runtime states". */
export const defaultIdleMs = 60_000
export const defaultEvictMs = 30 * 60_000
/** Tenants open at once: 500 of them measured 632 KB and 9 descriptors each. */
export const defaultTenantsMax = 1_000

/** The first line on a worker's standard input. */
export interface WorkerConfig {
  readonly index: number
  /** Ordinary workers of the node; to them belong tenants by `placement.worker % workers`. */
  readonly workers: number
  /** Serves busy tenants, behind other processes; its index is not below `workers`. */
  readonly isForBusy: boolean
  readonly nodeId: NodeId
  readonly dir: string
  readonly listen: ListenAddress
  /** The host in the address that gateways are told. */
  readonly advertiseHost: string
  readonly clusterSecret: string
  readonly clusterSecretPrevious: string | null
  readonly objectStore: ObjectStoreConfig
  readonly objectPrefix: string
  readonly tenantsMax: number
  /** Resident memory of the process above which it closes resting tenants, bytes. */
  readonly memoryBytesMax: number
  readonly idleMs: number
  readonly evictMs: number
  readonly logLevel: LogLevel
  readonly logFormat: 'json' | 'text'
  readonly isDev: boolean
}
