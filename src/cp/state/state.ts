// The applied state, in memory, with its indexes: 100,000 tenants are some 100 MB. RocksDB holds its durable image. All
// reads are synchronous. Only `apply` writes, through a StateBatch that changes memory at once and collects the rows for
// RocksDB; when those cannot be written the member stops, so memory is never ahead of a disk that goes on.

import type { NodeId, TenantId } from '../../lib/brand.ts'
import { fromUtf8, utf8 } from '../../lib/bytes.ts'
import { DecodeError } from '../binary.ts'
import { activityRows, type TenantActivity } from './activities.ts'
import { type Admin, adminRows } from './admins.ts'
import { type AuditRow, auditRows } from './audit.ts'
import { type ClusterConfig, configRows } from './config.ts'
import { type DrillRow, drillRows } from './drills.ts'
import { type HandOverRow, handOverRows } from './hand-overs.ts'
import { type NodeRow, nodeRows } from './nodes.ts'
import { operationRows, type TenantOperation } from './operations.ts'
import { type PlacementRow, placementRows } from './placements.ts'
import { type PlannedChange, plannedChangeRows } from './planned-changes.ts'
import { type ReplicaRow, replicaRows } from './replicas.ts'
import { type RetentionRow, retentionRows } from './retentions.ts'
import { type SweepRow, sweepRows } from './sweeps.ts'
import { type RowWrite, type StoredRow, TenantRows } from './tenant-rows.ts'
import { type Tenant, tenantRows } from './tenants.ts'
import { type WarmStandbyRow, warmStandbyRows } from './warm-standbys.ts'

/** Synchronous reads of what is applied on this member. */
export interface StateReader {
  readonly tenants: {
    get(id: TenantId): Tenant | undefined
    bySlug(slug: string): Tenant | undefined
    byDomain(domain: string): Tenant | undefined
    /** Of all but the deleted, by id. */
    all(): Iterable<Tenant>
    /** The deleted: their rows stay, since ids are never used again. */
    deleted(): Iterable<Tenant>
    /** All but the deleted. */
    readonly count: number
  }
  readonly placements: {
    get(id: TenantId): PlacementRow | undefined
    onNode(id: NodeId): ReadonlySet<TenantId>
    all(): Iterable<PlacementRow>
  }
  /** Of tenants whose owner was told to let go, and that have no next placement yet. */
  readonly plannedChanges: { get(id: TenantId): PlannedChange | undefined }
  /** Of tenants whose histories lie on paths of their epochs. */
  readonly replicas: { get(id: TenantId): ReplicaRow | undefined }
  readonly retentions: { get(id: TenantId): RetentionRow | undefined }
  /** Of tenants that a second node keeps warm. */
  readonly warmStandbys: { get(id: TenantId): WarmStandbyRow | undefined }
  /** Of tenants whose use was noted. */
  readonly activities: { get(id: TenantId): TenantActivity | undefined }
  /** What was decided about tenants and is not done. */
  readonly operations: { get(id: TenantId): TenantOperation | undefined; all(): Iterable<TenantOperation> }
  readonly drills: { get(id: TenantId): DrillRow | undefined; all(): Iterable<DrillRow> }
  /** Tenants whose histories another program writes. */
  readonly handOvers: { get(id: TenantId): HandOverRow | undefined }
  /** How far the deletion of what a tenant leaves behind is. */
  readonly sweeps: { get(id: TenantId): SweepRow | undefined; all(): Iterable<SweepRow> }
  readonly nodes: { get(id: NodeId): NodeRow | undefined; all(): Iterable<NodeRow> }
  readonly admins: {
    get(id: string): Admin | undefined
    byTokenPrefix(prefix: string): Admin | undefined
    byEmail(email: string): Admin | undefined
    all(): Iterable<Admin>
    readonly count: number
  }
  readonly audit: {
    oldest(): AuditRow | undefined
    /** Newest first. */
    newestFirst(): Iterable<AuditRow>
    readonly count: number
    /** Number of the newest row; 0 without any. */
    readonly last: number
  }
  readonly config: ClusterConfig | null
}

/** What a batch touched, for those who keep copies: routes, live nodes. */
export interface Changes {
  readonly tenants: ReadonlySet<TenantId>
  readonly nodes: ReadonlySet<NodeId>
}

/** Every row of the state starts with it. */
export const statePrefix = 's/'
const keys = {
  tenant: (id: string) => utf8(`s/t/${id}`),
  placement: (id: string) => utf8(`s/p/${id}`),
  node: (id: string) => utf8(`s/n/${id}`),
  admin: (id: string) => utf8(`s/a/${id}`),
  audit: (number: number) => utf8(`s/l/${String(number).padStart(12, '0')}`),
  config: () => utf8('s/c'),
}

/** How each kind of row is stored, by the letter behind the prefix. */
const rowCodecs = {
  a: adminRows,
  c: configRows,
  d: drillRows,
  e: handOverRows,
  h: warmStandbyRows,
  k: retentionRows,
  l: auditRows,
  m: plannedChangeRows,
  n: nodeRows,
  o: operationRows,
  p: placementRows,
  r: replicaRows,
  t: tenantRows,
  u: activityRows,
  w: sweepRows,
} as const

/** A stored row, to be looked at; null when no row has such a key. Throws DecodeError. */
export function decodeRow(key: string, value: Uint8Array): object | null {
  const kind = /^s\/([a-z])(?:\/|$)/.exec(key)?.[1]
  const codecs: Readonly<Record<string, { decode(bytes: Uint8Array): object } | undefined>> = rowCodecs
  return (kind && codecs[kind]?.decode(value)) || null
}

const none: ReadonlySet<TenantId> = new Set()

export class ClusterState implements StateReader {
  readonly #tenants = new Map<TenantId, Tenant>()
  readonly #bySlug = new Map<string, TenantId>()
  readonly #byDomain = new Map<string, TenantId>()
  #tenantCount = 0
  readonly #placements = new Map<TenantId, PlacementRow>()
  readonly #byNode = new Map<NodeId, Set<TenantId>>()
  readonly #nodes = new Map<NodeId, NodeRow>()
  readonly #admins = new Map<string, Admin>()
  readonly #byTokenPrefix = new Map<string, Admin>()
  /** By number, which is the order in which they come. */
  readonly #audit = new Map<number, AuditRow>()
  #auditLast = 0
  #config: ClusterConfig | null = null

  readonly tenants: StateReader['tenants']
  readonly placements: StateReader['placements']
  readonly operations = new TenantRows('o', rowCodecs.o)
  readonly plannedChanges = new TenantRows('m', rowCodecs.m)
  readonly activities = new TenantRows('u', rowCodecs.u)
  readonly replicas = new TenantRows('r', rowCodecs.r)
  readonly retentions = new TenantRows('k', rowCodecs.k)
  readonly warmStandbys = new TenantRows('h', rowCodecs.h)
  readonly drills = new TenantRows('d', rowCodecs.d)
  readonly handOvers = new TenantRows('e', rowCodecs.e)
  readonly sweeps = new TenantRows('w', rowCodecs.w)
  readonly nodes: StateReader['nodes']
  readonly admins: StateReader['admins']
  readonly audit: StateReader['audit']
  /** In the order of a snapshot. */
  readonly #perTenant = [
    this.operations,
    this.replicas,
    this.retentions,
    this.warmStandbys,
    this.activities,
    this.handOvers,
    this.sweeps,
    this.drills,
    this.plannedChanges,
  ]

  constructor() {
    const tenants = this.#tenants
    const countOf = () => this.#tenantCount
    const byId = (id: TenantId | undefined) => (id === undefined ? undefined : tenants.get(id))
    this.tenants = {
      get: (id) => tenants.get(id),
      bySlug: (slug) => byId(this.#bySlug.get(slug)),
      byDomain: (domain) => byId(this.#byDomain.get(domain)),
      *all() {
        for (const tenant of tenants.values()) if (tenant.status !== 'deleted') yield tenant
      },
      *deleted() {
        for (const tenant of tenants.values()) if (tenant.status === 'deleted') yield tenant
      },
      get count() {
        return countOf()
      },
    }
    this.placements = {
      get: (id) => this.#placements.get(id),
      onNode: (id) => this.#byNode.get(id) ?? none,
      all: () => this.#placements.values(),
    }
    this.nodes = { get: (id) => this.#nodes.get(id), all: () => this.#nodes.values() }
    const audit = this.#audit
    const auditLast = () => this.#auditLast
    this.audit = {
      oldest: () => audit.values().next().value,
      *newestFirst() {
        for (let number = auditLast(); ; number--) {
          const row = audit.get(number)
          if (row === undefined) return // rows have no gaps
          yield row
        }
      },
      get count() {
        return audit.size
      },
      get last() {
        return auditLast()
      },
    }
    const admins = this.#admins
    this.admins = {
      get: (id) => admins.get(id),
      byTokenPrefix: (prefix) => this.#byTokenPrefix.get(prefix),
      byEmail: (email) => [...admins.values()].find((admin) => admin.email === email),
      all: () => admins.values(),
      get count() {
        return admins.size
      },
    }
  }

  get config(): ClusterConfig | null {
    return this.#config
  }

  /** Takes over a stored row; throws DecodeError that names the key. */
  load(key: Uint8Array, value: Uint8Array): void {
    const name = fromUtf8(key)
    try {
      const kind = name.slice(statePrefix.length, statePrefix.length + 2)
      const rows = this.#perTenant.find(({ letter }) => kind === `${letter}/`)
      if (rows !== undefined) rows.load(value)
      else if (kind === 't/') this.setTenant(tenantRows.decode(value))
      else if (kind === 'p/') this.setPlacement(placementRows.decode(value))
      else if (kind === 'n/') this.setNode(nodeRows.decode(value))
      else if (kind === 'a/') this.setAdmin(adminRows.decode(value))
      else if (kind === 'l/') this.setAudit(auditRows.decode(value))
      else if (name === 's/c') this.setConfig(configRows.decode(value))
      else throw new DecodeError('rows of this kind are unknown to this version')
    } catch (cause) {
      if (cause instanceof DecodeError) throw new DecodeError(`row ${name} cannot be read`, { cause })
      throw cause
    }
  }

  /** Every row as it is stored, in key order within each kind; for snapshots. */
  *rows(): Generator<StoredRow> {
    if (this.#config !== null) yield { key: keys.config(), value: configRows.encode(this.#config) }
    for (const row of this.#admins.values()) yield { key: keys.admin(row.id), value: adminRows.encode(row) }
    for (const row of this.#nodes.values()) yield { key: keys.node(row.id), value: nodeRows.encode(row) }
    for (const row of this.#tenants.values()) yield { key: keys.tenant(row.id), value: tenantRows.encode(row) }
    for (const row of this.#placements.values())
      yield { key: keys.placement(row.tenantId), value: placementRows.encode(row) }
    for (const rows of this.#perTenant) yield* rows.stored()
    for (const row of this.#audit.values()) yield { key: keys.audit(row.number), value: auditRows.encode(row) }
  }

  setTenant(next: Tenant): void {
    const old = this.#tenants.get(next.id)
    if (old !== undefined && old.status !== 'deleted') {
      this.#tenantCount--
      this.#bySlug.delete(old.slug) // or a renamed tenant would hold its old name for ever
      for (const domain of old.domains) this.#byDomain.delete(domain)
    }
    this.#tenants.set(next.id, next)
    if (next.status === 'deleted') return
    this.#tenantCount++
    this.#bySlug.set(next.slug, next.id)
    for (const domain of next.domains) this.#byDomain.set(domain, next.id)
  }

  setPlacement(next: PlacementRow): void {
    this.removePlacement(next.tenantId)
    this.#placements.set(next.tenantId, next)
    const onNode = this.#byNode.get(next.nodeId)
    if (onNode === undefined) this.#byNode.set(next.nodeId, new Set([next.tenantId]))
    else onNode.add(next.tenantId)
  }

  removePlacement(id: TenantId): void {
    const old = this.#placements.get(id)
    if (old === undefined) return
    this.#placements.delete(id)
    this.#byNode.get(old.nodeId)?.delete(id)
  }

  setNode(next: NodeRow): void {
    this.#nodes.set(next.id, next)
  }

  removeNode(id: NodeId): void {
    this.#nodes.delete(id)
    this.#byNode.delete(id)
  }

  setAdmin(next: Admin): void {
    this.#admins.set(next.id, next)
    this.#byTokenPrefix.set(next.tokenPrefix, next)
  }

  removeAdmin(id: string): void {
    const old = this.#admins.get(id)
    this.#admins.delete(id)
    if (old !== undefined) this.#byTokenPrefix.delete(old.tokenPrefix)
  }

  setAudit(next: AuditRow): void {
    this.#audit.set(next.number, next)
    this.#auditLast = Math.max(this.#auditLast, next.number)
  }

  removeAudit(number: number): void {
    this.#audit.delete(number)
  }

  setConfig(next: ClusterConfig): void {
    this.#config = next
  }
}

/** Collects the rows that committed commands change, while memory already shows them to the commands that follow. */
export class StateBatch {
  readonly #state: ClusterState
  readonly #writes: RowWrite[] = []
  readonly #tenants = new Set<TenantId>()
  readonly #nodes = new Set<NodeId>()

  constructor(state: ClusterState) {
    this.#state = state
  }

  get writes(): readonly RowWrite[] {
    return this.#writes
  }

  get changes(): Changes {
    return { tenants: this.#tenants, nodes: this.#nodes }
  }

  putTenant(row: Tenant): void {
    this.#writes.push({ key: keys.tenant(row.id), value: tenantRows.encode(row) })
    this.#state.setTenant(row)
    this.#tenants.add(row.id)
  }

  putPlacement(row: PlacementRow): void {
    this.#writes.push({ key: keys.placement(row.tenantId), value: placementRows.encode(row) })
    this.#state.setPlacement(row)
    this.#tenants.add(row.tenantId)
  }

  removePlacement(id: TenantId): void {
    this.#writes.push({ key: keys.placement(id), value: null })
    this.#state.removePlacement(id)
    this.#tenants.add(id)
  }

  putPlannedChange(row: PlannedChange): void {
    this.#writes.push(this.#state.plannedChanges.put(row))
  }

  removePlannedChange(id: TenantId): void {
    this.#writes.push(this.#state.plannedChanges.remove(id))
  }

  putReplica(row: ReplicaRow): void {
    this.#writes.push(this.#state.replicas.put(row))
  }

  putRetention(row: RetentionRow): void {
    this.#writes.push(this.#state.retentions.put(row))
  }

  removeRetention(id: TenantId): void {
    this.#writes.push(this.#state.retentions.remove(id))
  }

  putWarmStandby(row: WarmStandbyRow): void {
    this.#writes.push(this.#state.warmStandbys.put(row))
  }

  removeWarmStandby(id: TenantId): void {
    this.#writes.push(this.#state.warmStandbys.remove(id))
  }

  /** Routes do not depend on it: nobody is told. */
  putActivity(row: TenantActivity): void {
    this.#writes.push(this.#state.activities.put(row))
  }

  removeActivity(id: TenantId): void {
    this.#writes.push(this.#state.activities.remove(id))
  }

  putOperation(row: TenantOperation): void {
    this.#writes.push(this.#state.operations.put(row))
    this.#tenants.add(row.tenantId)
  }

  removeOperation(id: TenantId): void {
    this.#writes.push(this.#state.operations.remove(id))
    this.#tenants.add(id)
  }

  /** Nobody keeps copies of it, so it is no change of the tenant. */
  putDrill(row: DrillRow): void {
    this.#writes.push(this.#state.drills.put(row))
  }

  removeDrill(id: TenantId): void {
    this.#writes.push(this.#state.drills.remove(id))
  }

  putNode(row: NodeRow): void {
    this.#writes.push({ key: keys.node(row.id), value: nodeRows.encode(row) })
    this.#state.setNode(row)
    this.#nodes.add(row.id)
  }

  removeNode(id: NodeId): void {
    this.#writes.push({ key: keys.node(id), value: null })
    this.#state.removeNode(id)
    this.#nodes.add(id)
  }

  putAdmin(row: Admin): void {
    this.#writes.push({ key: keys.admin(row.id), value: adminRows.encode(row) })
    this.#state.setAdmin(row)
  }

  removeAdmin(id: string): void {
    this.#writes.push({ key: keys.admin(id), value: null })
    this.#state.removeAdmin(id)
  }

  putHandOver(row: HandOverRow): void {
    this.#writes.push(this.#state.handOvers.put(row))
    this.#tenants.add(row.tenantId)
  }

  removeHandOver(id: TenantId): void {
    this.#writes.push(this.#state.handOvers.remove(id))
    this.#tenants.add(id)
  }

  putSweep(row: SweepRow): void {
    this.#writes.push(this.#state.sweeps.put(row))
  }

  removeSweep(id: TenantId): void {
    this.#writes.push(this.#state.sweeps.remove(id))
  }

  putAudit(row: AuditRow): void {
    this.#writes.push({ key: keys.audit(row.number), value: auditRows.encode(row) })
    this.#state.setAudit(row)
  }

  removeAudit(number: number): void {
    this.#writes.push({ key: keys.audit(number), value: null })
    this.#state.removeAudit(number)
  }

  putConfig(row: ClusterConfig): void {
    this.#writes.push({ key: keys.config(), value: configRows.encode(row) })
    this.#state.setConfig(row)
  }
}
