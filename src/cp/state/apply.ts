// Where decisions become facts: every check that must hold under concurrency is here and nowhere earlier, because two
// proposals can each look valid before either commits.

import { standbySetsMax, standbysMax } from '../../ipc/messages/tenant.ts'
import { assert, unreachable } from '../../lib/assert.ts'
import type { Epoch, TenantId } from '../../lib/brand.ts'
import { err, ok, type Result } from '../../lib/result.ts'
import { type AuditFacts, auditKeepMs, auditRowsMax, auditTrimMax } from './audit.ts'
import { type Command, commands, type RejectReason } from './command.ts'
import { tenantsMaxDefault } from './config.ts'
import { epochMax, prunedSets, withSet } from './placements.ts'
import type { StateBatch, StateReader } from './state.ts'
import type { Tenant } from './tenants.ts'
import type { WarmPlace } from './warm-standbys.ts'

export type Outcome = Result<null, RejectReason>

const accepted: Outcome = ok(null)
const reject = (reason: RejectReason): Outcome => err(reason)

/**
 * Applies one committed command. Every member must reach the same bytes, hence no clock (`atMs` is the proposer's), no
 * randomness (ids too) and no I/O. A rejected command changes nothing; one that is applied twice changes nothing more.
 */
export function apply(state: StateReader, batch: StateBatch, command: Command): Outcome {
  switch (command.type) {
    case 'cluster.init': {
      if (state.config !== null) return reject('initialized')
      batch.putConfig({ clusterId: command.clusterId, createdAtMs: command.atMs, tenantsMax: tenantsMaxDefault })
      return accepted
    }
    case 'tenant.create': {
      const { tenant, nodeId, worker } = command
      const refused = newTenantRefusal(state, tenant) ?? nodeRefusal(state, command.nodeId)
      if (refused !== null) return reject(refused)
      batch.putTenant({ ...tenant, status: 'created' })
      batch.putPlacement({ tenantId: tenant.id, nodeId, worker, epoch: 1 as Epoch, standbySets: [] })
      return accepted
    }
    case 'tenant.fork': {
      const { tenant, nodeId, worker, operation } = command
      const refused = newTenantRefusal(state, tenant) ?? nodeRefusal(state, command.nodeId)
      if (refused !== null) return reject(refused)
      batch.putTenant({ ...tenant, status: 'created', pendingSuperuser: null })
      batch.putPlacement({ tenantId: tenant.id, nodeId, worker, epoch: 1 as Epoch, standbySets: [] })
      batch.putOperation(operation)
      return accepted
    }
    case 'tenant.archive':
    case 'tenant.resume': {
      const tenant = state.tenants.get(command.id)
      const [from, to] =
        command.type === 'tenant.archive' ? (['active', 'archived'] as const) : (['archived', 'active'] as const)
      if (tenant === undefined || tenant.status === 'deleted') return reject('not_found')
      if (tenant.status === to) return accepted
      if (tenant.status !== from) return reject('wrong_status')
      if (state.operations.get(command.id) !== undefined) return reject('operation_pending')
      batch.putTenant({ ...tenant, status: to, updatedAtMs: command.atMs })
      return accepted
    }
    case 'replica.begin': {
      const { id, epoch } = command
      if (state.tenants.get(id)?.status === 'deleted') return reject('not_found')
      if (state.replicas.get(id) === undefined) batch.putReplica({ tenantId: id, epoch })
      return accepted
    }
    case 'replica.move': {
      const replica = state.replicas.get(command.id)
      if (replica === undefined) return reject('not_found')
      // Only of the owner of now: the copy of one that was replaced meanwhile misses what came after it.
      if (state.placements.get(command.id)?.epoch !== command.epoch) return reject('stale_epoch')
      if (replica.epoch !== command.epoch) batch.putReplica({ tenantId: command.id, epoch: command.epoch })
      return accepted
    }
    case 'activity.put': {
      const status = state.tenants.get(command.activity.tenantId)?.status
      if (status === undefined || status === 'deleted') return reject('not_found')
      batch.putActivity(command.activity)
      return accepted
    }
    case 'activity.note': {
      for (const { tenantId, usedAtMs } of command.used) {
        const tenant = state.tenants.get(tenantId)
        if (tenant === undefined || tenant.status === 'deleted') continue
        const known = state.activities.get(tenantId)
        if (known !== undefined && known.usedAtMs >= usedAtMs) continue
        // Used again, what was moved is read again: it counts as warm, so that what comes new is moved in its turn.
        const stage = known?.stage === 'archived' ? 'archived' : 'warm'
        const stageAtMs = known?.stage === stage ? known.stageAtMs : usedAtMs
        batch.putActivity({ tenantId, usedAtMs, stage, stageAtMs, reopenMs: known?.reopenMs ?? null })
      }
      return accepted
    }
    case 'operation.begin': {
      const { operation } = command
      const status = state.tenants.get(operation.tenantId)?.status
      if (status === undefined || status === 'deleted') return reject('not_found')
      if (status !== 'active' && status !== 'suspended') return reject('wrong_status')
      if (operation.type === 'restore' && state.handOvers.get(operation.tenantId) !== undefined)
        return reject('handed_over') // it would write
      if (state.operations.get(operation.tenantId) !== undefined) return reject('operation_pending')
      batch.putOperation(operation)
      return accepted
    }
    case 'operation.end': {
      if (state.operations.get(command.tenantId)?.id === command.id) batch.removeOperation(command.tenantId)
      return accepted
    }
    case 'tenant.adopt': {
      const none = { standbySets: [], keepEveryMs: null, isKeptWarm: false, isHandedOver: false, replicaEpoch: null }
      return applyReclaim(state, batch, { ...command, ...none, atMs: command.tenant.updatedAtMs })
    }
    case 'tenant.reclaim':
      return applyReclaim(state, batch, command)
    case 'tenant.activate': {
      const tenant = state.tenants.get(command.id)
      if (tenant === undefined || tenant.status === 'deleted') return reject('not_found')
      if (tenant.status === 'active') return accepted
      if (tenant.status !== 'created') return reject('wrong_status')
      batch.putTenant({ ...tenant, status: 'active', pendingSuperuser: null, updatedAtMs: command.atMs })
      if (state.operations.get(command.id)?.type === 'fork') batch.removeOperation(command.id)
      return accepted
    }
    case 'tenant.update':
      return applyUpdate(state, batch, { ...command, lossBoundMs: null, onStoreOutage: null })
    case 'tenant.change': {
      const outcome = applyUpdate(state, batch, command)
      const { id: tenantId, retention, standby } = command
      if (!outcome.ok) return outcome
      if (retention !== null) putRetention(state, batch, { tenantId, ...retention })
      if (standby !== null) {
        const place = standby.warm?.place ?? null
        const isThere = place !== null && state.nodes.get(place.nodeId) !== undefined
        putWarm(state, batch, tenantId, standby.warm && { place: isThere ? place : null })
      }
      return accepted
    }
    case 'tenant.delete': {
      const tenant = state.tenants.get(command.id)
      if (tenant === undefined || tenant.status === 'deleted') return reject('not_found')
      batch.putTenant({ ...tenant, status: 'deleted', pendingSuperuser: null, updatedAtMs: command.atMs })
      if (state.operations.get(command.id) !== undefined) batch.removeOperation(command.id)
      if (state.activities.get(command.id) !== undefined) batch.removeActivity(command.id)
      if (state.drills.get(command.id) !== undefined) batch.removeDrill(command.id)
      if (state.retentions.get(command.id) !== undefined) batch.removeRetention(command.id)
      if (state.warmStandbys.get(command.id) !== undefined) batch.removeWarmStandby(command.id)
      if (state.plannedChanges.get(command.id) !== undefined) batch.removePlannedChange(command.id)
      return accepted
    }
    case 'tenant.retention': {
      const { id, keepEveryMs } = command
      const status = state.tenants.get(id)?.status
      if (status === undefined || status === 'deleted') return reject('not_found')
      putRetention(state, batch, { tenantId: id, keepEveryMs })
      return accepted
    }
    case 'tenant.warm': {
      const { id, warm } = command
      const status = state.tenants.get(id)?.status
      if (status === undefined || status === 'deleted') return reject('not_found')
      const place = warm?.place ?? null
      if (place !== null && state.nodes.get(place.nodeId) === undefined) return reject('node_not_found')
      putWarm(state, batch, id, warm)
      return accepted
    }
    case 'tenant.durability': {
      const { id, lossBoundMs, onStoreOutage, atMs } = command
      const tenant = state.tenants.get(id)
      if (tenant === undefined || tenant.status === 'deleted') return reject('not_found')
      batch.putTenant({
        ...tenant,
        lossBoundMs: lossBoundMs ?? tenant.lossBoundMs,
        onStoreOutage: onStoreOutage ?? tenant.onStoreOutage,
        updatedAtMs: atMs,
      })
      return accepted
    }
    case 'tenant.assign':
      return applyPlace(state, batch, { ...command, standbys: [], forget: false })
    case 'tenant.place':
      return applyPlace(state, batch, command)
    case 'change.begin': {
      const { change } = command
      const status = state.tenants.get(change.tenantId)?.status
      const placement = state.placements.get(change.tenantId)
      if (placement === undefined || status === undefined || status === 'deleted') return reject('not_found')
      if (placement.epoch !== change.epoch) return reject('stale_epoch')
      const refused = change.nodeId === placement.nodeId ? null : nodeRefusal(state, change.nodeId)
      if (refused !== null) return reject(refused)
      batch.putPlannedChange(change)
      return accepted
    }
    case 'change.end': {
      if (state.plannedChanges.get(command.id)?.epoch === command.epoch) batch.removePlannedChange(command.id)
      return accepted
    }
    case 'tenant.sealed': {
      const placement = state.placements.get(command.id)
      if (placement === undefined) return reject('not_found')
      if (command.epoch > placement.epoch) return reject('stale_epoch')
      const standbySets = prunedSets(placement.standbySets, command.epoch)
      if (standbySets.length < placement.standbySets.length) batch.putPlacement({ ...placement, standbySets })
      return accepted
    }
    case 'placement.remove': {
      const tenant = state.tenants.get(command.id)
      if (tenant?.status !== 'deleted') return reject('wrong_status')
      const placement = state.placements.get(command.id)
      if (placement === undefined) return accepted
      batch.removePlacement(command.id)
      const { epoch } = placement
      const left = { tenantId: command.id, phase: 'released', atMs: tenant.updatedAtMs, epoch } as const
      batch.putSweep({ ...left, objects: 0, bytes: 0 })
      return accepted
    }
    case 'node.register': {
      const known = state.nodes.get(command.node.id)
      const { draining = false, createdAtMs = command.node.createdAtMs } = known ?? {}
      batch.putNode({ ...command.node, draining, createdAtMs })
      return accepted
    }
    case 'node.drain': {
      const node = state.nodes.get(command.id)
      if (node === undefined) return reject('node_not_found')
      if (node.draining !== command.draining) batch.putNode({ ...node, draining: command.draining })
      return accepted
    }
    case 'node.remove': {
      if (state.nodes.get(command.id) === undefined) return reject('node_not_found')
      if (state.placements.onNode(command.id).size > 0) return reject('node_in_use')
      batch.removeNode(command.id)
      return accepted
    }
    case 'admin.create': {
      const { admin, onlyFirst } = command
      if (onlyFirst && state.admins.count > 0) return reject('not_first_admin')
      if (state.admins.get(admin.id) !== undefined) return reject('id_taken')
      if (state.admins.byEmail(admin.email) !== undefined) return reject('email_taken')
      if (state.admins.byTokenPrefix(admin.tokenPrefix) !== undefined) return reject('token_prefix_taken')
      batch.putAdmin(admin)
      return accepted
    }
    case 'admin.delete': {
      if (state.admins.get(command.id) === undefined) return reject('not_found')
      if (state.admins.count === 1) return reject('last_admin')
      batch.removeAdmin(command.id)
      return accepted
    }
    case 'tenant.hand-over': {
      const tenant = state.tenants.get(command.id)
      if (tenant === undefined || tenant.status === 'deleted') return reject('not_found')
      if (tenant.status !== 'suspended') return reject('wrong_status')
      if (state.operations.get(command.id) !== undefined) return reject('operation_pending')
      // What a hand-over writes must not come between the other program's writes.
      if (state.handOvers.get(command.id) !== undefined) return reject('handed_over')
      batch.putHandOver({ tenantId: command.id, atMs: command.atMs })
      return accepted
    }
    case 'tenant.take-back': {
      const tenant = state.tenants.get(command.id)
      if (tenant === undefined || tenant.status === 'deleted') return reject('not_found')
      if (state.handOvers.get(command.id) === undefined) return reject('not_handed_over')
      batch.removeHandOver(command.id)
      batch.putTenant({ ...tenant, status: 'active', updatedAtMs: command.atMs })
      return accepted
    }
    case 'sweep.put':
      return applySweep(state, batch, command)
    case 'audit.append':
      appendAudit(state, batch, command.audit)
      return accepted
    case 'audited': {
      const decision = commands.decode(command.command)
      assert(decision.type !== 'audited', 'a record of a record')
      const outcome = apply(state, batch, decision)
      if (outcome.ok) appendAudit(state, batch, command.audit)
      return outcome
    }
    case 'drill.note': {
      const status = state.tenants.get(command.drill.tenantId)?.status
      if (status === undefined || status === 'deleted') return reject('not_found')
      batch.putDrill(command.drill)
      return accepted
    }
    default:
      return unreachable(command)
  }
}

/** A deleted tenant whose objects are all there, and that no node has any more. */
function canComeBack(state: StateReader, id: TenantId): boolean {
  const phase = state.sweeps.get(id)?.phase
  const isWhole = phase === undefined || phase === 'released' || phase === 'named'
  return state.tenants.get(id)?.status === 'deleted' && state.placements.get(id) === undefined && isWhole
}

function applyReclaim(
  state: StateReader,
  batch: StateBatch,
  command: Omit<Extract<Command, { readonly type: 'tenant.reclaim' }>, 'type'>,
): Outcome {
  const { tenant, nodeId, worker, epoch, standbySets: sets, keepEveryMs, isKeptWarm, replicaEpoch, atMs } = command
  const { id: tenantId } = tenant
  const isWantedBack = canComeBack(state, tenantId)
  const taken = isWantedBack ? nameRefusal(state, tenant) : newTenantRefusal(state, tenant)
  const refused = taken ?? nodeRefusal(state, nodeId)
  if (refused !== null) return reject(refused)
  if (epoch < 1 || epoch > epochMax || (sets.at(-1)?.epoch ?? 0) >= epoch) return reject('stale_epoch')
  if (sets.length > standbySetsMax) return reject('standbys_unasked')
  if (state.sweeps.get(tenantId) !== undefined) batch.removeSweep(tenantId)
  // Also deleted while another program wrote its histories: that one may still do so.
  const isHandedOver = command.isHandedOver || state.handOvers.get(tenantId) !== undefined
  batch.putTenant({ ...tenant, status: isHandedOver ? 'suspended' : tenant.status, pendingSuperuser: null })
  // Its owner asks the standbys that others had. Until it has some of its own the store alone acknowledges; where there is no
  // room for one more set, the last one goes on.
  const standbySets = sets.length < standbySetsMax ? withSet(sets, { epoch, nodeIds: [] }) : sets
  batch.putPlacement({ tenantId, nodeId, worker, epoch, standbySets })
  if (isHandedOver && state.handOvers.get(tenantId) === undefined) batch.putHandOver({ tenantId, atMs })
  if (keepEveryMs !== null) batch.putRetention({ tenantId, keepEveryMs })
  if (isKeptWarm) batch.putWarmStandby({ tenantId, place: null })
  if (replicaEpoch !== null && state.replicas.get(tenantId) === undefined)
    batch.putReplica({ tenantId, epoch: replicaEpoch })
  return accepted
}

/** Deleting objects is decided here, so that nobody takes the tenant back at the same time. */
function applySweep(
  state: StateReader,
  batch: StateBatch,
  { sweep, expected }: Omit<Extract<Command, { readonly type: 'sweep.put' }>, 'type'>,
): Outcome {
  const { tenantId, epoch } = sweep
  const tenant = state.tenants.get(tenantId)
  if (tenant === undefined) return reject('not_found')
  if ((state.sweeps.get(tenantId)?.phase ?? null) !== expected) return reject('wrong_status')
  if (tenant.status === 'deleted') {
    if (state.placements.get(tenantId) !== undefined) return reject('wrong_status')
    if (state.handOvers.get(tenantId) !== undefined) return reject('handed_over')
    for (const operation of state.operations.all())
      if (operation.type === 'fork' && operation.source === tenantId) return reject('operation_pending')
    // Without an epoch it was about a deleted tenant, which was taken back meanwhile.
  } else if (epoch === 0 || epoch > (state.replicas.get(tenantId)?.epoch ?? 0)) return reject('stale_epoch')
  batch.putSweep(sweep)
  return accepted
}

function putRetention(
  state: StateReader,
  batch: StateBatch,
  { tenantId, keepEveryMs }: { readonly tenantId: TenantId; readonly keepEveryMs: number | null },
): void {
  if (keepEveryMs !== null) batch.putRetention({ tenantId, keepEveryMs })
  else if (state.retentions.get(tenantId) !== undefined) batch.removeRetention(tenantId)
}

function putWarm(
  state: StateReader,
  batch: StateBatch,
  tenantId: TenantId,
  warm: { readonly place: WarmPlace | null } | null,
): void {
  if (warm !== null) batch.putWarmStandby({ tenantId, place: warm.place })
  else if (state.warmStandbys.get(tenantId) !== undefined) batch.removeWarmStandby(tenantId)
}

/** By the times of the proposers, so that every member removes the same rows. */
function appendAudit(state: StateReader, batch: StateBatch, facts: AuditFacts): void {
  batch.putAudit({ number: state.audit.last + 1, ...facts })
  for (let removed = 0; removed < auditTrimMax; removed++) {
    const oldest = state.audit.oldest()
    if (oldest === undefined || oldest.number === state.audit.last) return
    if (state.audit.count <= auditRowsMax && oldest.atMs >= facts.atMs - auditKeepMs) return
    batch.removeAudit(oldest.number)
  }
}

function applyPlace(
  state: StateReader,
  batch: StateBatch,
  command: Omit<Extract<Command, { readonly type: 'tenant.place' }>, 'type'>,
): Outcome {
  const { id, nodeId, worker, expected, seen, standbys, forget } = command
  const placement = state.placements.get(id)
  const status = state.tenants.get(id)?.status
  if (placement === undefined || status === undefined || status === 'deleted') return reject('not_found')
  if (placement.epoch !== expected) return reject('stale_epoch')
  // Staying where it is under a new epoch is allowed while draining: a fenced owner must be able to go on.
  if (placement.nodeId !== nodeId) {
    const refused = nodeRefusal(state, nodeId)
    if (refused !== null) return reject(refused)
  }
  if (standbys.length > standbysMax || standbys.some((each) => state.nodes.get(each) === undefined))
    return reject('node_not_found')
  const epoch = (Math.max(expected, seen) + 1) as Epoch
  if (epoch > epochMax) return reject('stale_epoch')
  const standbySets = withSet(forget ? [] : placement.standbySets, { epoch, nodeIds: standbys })
  if (standbySets.length > standbySetsMax) return reject('standbys_unasked')
  batch.putPlacement({ tenantId: id, nodeId, worker, epoch, standbySets })
  if (state.plannedChanges.get(id) !== undefined) batch.removePlannedChange(id)
  return accepted
}

function newTenantRefusal(state: StateReader, tenant: Tenant): RejectReason | null {
  if (state.tenants.get(tenant.id) !== undefined) return 'id_taken' // also of a deleted tenant
  return nameRefusal(state, tenant)
}

function nameRefusal(state: StateReader, tenant: Tenant): RejectReason | null {
  if (state.tenants.count >= (state.config?.tenantsMax ?? tenantsMaxDefault)) return 'tenant_quota'
  if (state.tenants.bySlug(tenant.slug) !== undefined) return 'slug_taken'
  if (tenant.domains.some((domain) => state.tenants.byDomain(domain) !== undefined)) return 'domain_taken'
  return null
}

function nodeRefusal(state: StateReader, id: Parameters<StateReader['nodes']['get']>[0]): RejectReason | null {
  const node = state.nodes.get(id)
  if (node === undefined) return 'node_not_found'
  return node.draining ? 'node_draining' : null
}

function applyUpdate(
  state: StateReader,
  batch: StateBatch,
  command: Omit<Extract<Command, { readonly type: 'tenant.change' }>, 'type' | 'retention' | 'standby'>,
): Outcome {
  const tenant = state.tenants.get(command.id)
  if (tenant === undefined || tenant.status === 'deleted') return reject('not_found')
  const slug = command.slug ?? tenant.slug
  const domains = command.domains ?? tenant.domains
  const isOther = (found: Tenant | undefined) => found !== undefined && found.id !== tenant.id
  if (isOther(state.tenants.bySlug(slug))) return reject('slug_taken')
  if (domains.some((domain) => isOther(state.tenants.byDomain(domain)))) return reject('domain_taken')
  if (command.status !== null && tenant.status !== 'active' && tenant.status !== 'suspended')
    return reject('wrong_status')
  // The other program may still write: whoever knows that it does not takes the tenant back.
  if (command.status === 'active' && state.handOvers.get(tenant.id) !== undefined) return reject('handed_over')
  batch.putTenant({
    ...tenant,
    slug,
    domains,
    status: command.status ?? tenant.status,
    plan: command.plan ?? tenant.plan,
    ackMode: command.ackMode ?? tenant.ackMode,
    limits: command.limits ?? tenant.limits,
    metadata: command.metadata ?? tenant.metadata,
    lossBoundMs: command.lossBoundMs ?? tenant.lossBoundMs,
    onStoreOutage: command.onStoreOutage ?? tenant.onStoreOutage,
    updatedAtMs: command.atMs,
  })
  return accepted
}
