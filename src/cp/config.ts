// What a control-plane member must be told, and what it hands back. Read once, at the edge, by the command line.

import type { ClusterSecrets } from '../ipc/keys.ts'
import type { Clock } from '../lib/clock.ts'
import type { ObjectStore } from '../lib/object-store/object-store.ts'
import type { StoreLocation } from '../lib/object-store/open.ts'
import type { Logger } from '../lib/obs/log.ts'
import type { Metrics } from '../lib/obs/metrics.ts'
import type { Rng } from '../lib/rng.ts'
import type { PriceTable } from './services/prices.ts'

export interface ListenAddress {
  readonly host: string
  /** 0 chooses a free one. */
  readonly port: number
}

export interface ControlPlaneConfig {
  /** Name of this Raft member. */
  readonly nodeId: string
  /** RocksDB and snapshots live here; made when it is missing. */
  readonly dir: string
  readonly httpListen: ListenAddress
  /** `tcp://host:port` (port 0 chooses) or `ipc://path` of the ROUTER. */
  readonly ipcBind: string
  /** The same of the PUB. */
  readonly ipcPubBind: string
  /** Host under which others reach the IPC and HTTP listeners; null: the bound host. */
  readonly advertiseHost: string | null
  /** All members, this one included; more than one is refused, see {@link SeveralMembersError}. Empty: this one alone. */
  readonly raftPeers: readonly { readonly id: string; readonly address: string }[]
  readonly secrets: ClusterSecrets
  /** Tenants answer on `{slug}.{baseDomain}`. */
  readonly baseDomain: string
  /** How clients reach the gateway, for links in answers; null port: the scheme's own. */
  readonly publicUrl: { readonly scheme: 'http' | 'https'; readonly port: number | null }
  /** Key prefix of the fleet in the object store, without slashes at the ends; may be empty. */
  readonly objectPrefix: string
  /** Of many create-only writes of one key the store lets one succeed; without that, epochs get paths of their own. */
  readonly isCreateOnlyAtomic: boolean
  /** Where the store lies, as other programs find it. */
  readonly storeLocation: StoreLocation
  /** When tenants that nobody uses become cheap, and how. */
  readonly archive: ArchivePolicy
  /** What the store charges. */
  readonly prices: PriceTable
  /** E-mail of the admin that is made when there is none. */
  readonly createAdmin: string
  readonly timings?: Partial<ControlPlaneTimings>
  /** How often restores are proven. */
  readonly drills?: Partial<DrillPolicy>
  /** When objects that nobody needs go. */
  readonly sweep?: Partial<SweepPolicy>
}

export interface SweepPolicy {
  /** From the deletion of a tenant, and without a write, until its objects may go, ms; null: they stay. */
  readonly graceMs: number | null
  /** Between naming what goes and deleting it, ms. */
  readonly namedMs: number
  /** Between two rounds, ms. */
  readonly everyMs: number
  /** Age at which an upload that was never finished is given up, ms. */
  readonly uploadMs: number
}

/** The longest promise of retention is a month; a week more is for holidays. */
export const defaultSweepPolicy: SweepPolicy = {
  graceMs: 37 * 24 * 3_600_000,
  namedMs: 24 * 3_600_000,
  everyMs: 3_600_000,
  uploadMs: 2 * 24 * 3_600_000,
}

export interface DrillPolicy {
  /** Each tenant once in this time, ms. */
  readonly everyMs: number
  /** After the start of this process and after the creation of a tenant, ms. */
  readonly firstAfterMs: number
  /** Between two scheduled drills, ms: the longer one while no tenant is due. */
  readonly pauseMsMin: number
  readonly pauseMsMax: number
  /** After this long a drill is given up, ms. */
  readonly deadlineMs: number
}

export const defaultDrillPolicy: DrillPolicy = {
  everyMs: 30 * 24 * 3_600_000,
  firstAfterMs: 3_600_000,
  pauseMsMin: 10_000,
  pauseMsMax: 3_600_000,
  deadlineMs: 6 * 3_600_000,
}

export interface ArchivePolicy {
  /** Days without a request until objects move to the class for what is read rarely; 0: never. */
  readonly infrequentAfterDays: number
  /** Days without a request until a tenant is archived; 0: never. */
  readonly archiveAfterDays: number
  /** The store's own words; null: it has no such class. */
  readonly infrequentClass: string | null
  readonly archiveClass: string | null
}

export interface ControlPlaneTimings {
  /** How often a node reports, ms. */
  readonly heartbeatMs: number
  /** Silence after which a node is degraded: it gets no new tenants. */
  readonly degradedAfterMs: number
  /** Silence after which it is down: its tenants move. */
  readonly downAfterMs: number
  /** How long one order to a node may take: creating a tenant ships its first files. */
  readonly orderMs: number
  /** How often unfinished work is looked for. */
  readonly reconcileMs: number
}

export const defaultTimings: ControlPlaneTimings = {
  heartbeatMs: 500,
  degradedAfterMs: 1_500,
  downAfterMs: 2_500,
  orderMs: 30_000,
  reconcileMs: 2_000,
}

export interface ControlPlaneDeps {
  readonly clock: Clock
  readonly rng: Rng
  readonly log: Logger
  readonly metrics: Metrics
  /** Opened by the caller, who closes it after the control plane. */
  readonly objectStore: ObjectStore
}

/** A running member. Dispose it to stop it in order. */
export interface ControlPlane extends AsyncDisposable {
  /** `http://host:port`, as bound. */
  readonly httpUrl: string
  readonly ipcAddress: string
  readonly ipcPubAddress: string
  /** The token of the admin that was made at this start; null when there were admins already. Shown once. */
  readonly firstAdminToken: string | null
  /** Settles when the member had to stop itself (a corrupt or unknown record, a failing disk). */
  readonly failed: Promise<unknown>
}
