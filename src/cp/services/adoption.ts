// Tenants that the object store knows and this control plane does not: a fleet that lost its control plane takes them over
// again, one by one. And deleted ones that are wanted back: of them everything is known that a row says.

import { needsStandbys } from '../../ipc/messages/tenant.ts'
import type { Epoch, Slug, TenantId } from '../../lib/brand.ts'
import type { Clock } from '../../lib/clock.ts'
import { err, ok, type Result } from '../../lib/result.ts'
import type { ControlPlaneConfig } from '../config.ts'
import type { RecordedSet } from '../state/placements.ts'
import type { StateReader } from '../state/state.ts'
import type { Tenant } from '../state/tenants.ts'
import type { Actor, AuditLog } from './audit.ts'
import type { TenantHistory, TenantIdentity, TenantTails } from './history.ts'
import type { TenantMoves } from './placement/moves.ts'
import { planDefault, plans } from './plans.ts'
import type { Propose } from './proposer.ts'
import type { TenantRefusal } from './refusals.ts'
import { findTenant } from './routing/table.ts'
import { lossBoundMsDefault } from './tenants.ts'

export interface AdoptionDeps {
  readonly state: StateReader
  readonly propose: Propose
  readonly history: TenantHistory
  readonly moves: Pick<TenantMoves, 'waitForPlace'>
  readonly audit: AuditLog
  readonly clock: Clock
  readonly config: Pick<ControlPlaneConfig, 'isCreateOnlyAtomic'>
}

/** Which standbys the next owner asks, and the highest epoch that they are known to have had. */
interface Standbys {
  readonly sets: readonly RecordedSet[]
  readonly epoch: number
}

export class AdoptionService {
  readonly #deps: AdoptionDeps

  constructor(deps: AdoptionDeps) {
    this.#deps = deps
  }

  /**
   * Takes over a tenant whose history lies in the object store and whose row does not lie here. Its standbys are asked before
   * it is served, as the control plane that chose them would have had them asked.
   *
   * @param isLossAccepted they are not: what only they hold is lost.
   */
  async adopt(reference: string, isLossAccepted: boolean, by: Actor): Promise<Result<TenantId, TenantRefusal>> {
    const { state, history, moves, clock, propose, audit, config } = this.#deps
    if (findTenant(state, reference) !== undefined) return err('already_known')
    const identity = await history.find(reference)
    if (identity === null) return err('history_not_found')
    const { id } = identity
    const before = state.tenants.get(id)
    // A deleted one may be wanted back, as long as its objects are there.
    if (before !== undefined && before.status !== 'deleted') return err('already_known')
    const replicaEpoch = await history.replicaEpoch(id)
    const tails = await history.tails(id, replicaEpoch)
    const standbys = isLossAccepted ? { sets: [], epoch: 0 } : await this.#standbysOf(identity, tails)
    if (standbys === null) return err('standbys_unknown')
    const known = [tails.highestEpoch, identity.highestEpoch, standbys.epoch, state.sweeps.get(id)?.epoch ?? 0]
    const epoch = (Math.max(...known) + 1) as Epoch
    const place = await moves.waitForPlace(before?.region ?? identity.region)
    if (place === null) return err('no_node')
    const nowMs = clock.now()
    const tenant: Tenant =
      before === undefined ? tenantOf(identity, nowMs) : { ...before, status: 'active' as const, updatedAtMs: nowMs }
    const isHandedOver = identity.isHandedOver || tails.data.epoch === 0
    const asked = standbys.sets.map(({ nodeIds }) => nodeIds.join('+')).join(' ')
    const details = {
      epoch,
      standbys: asked || undefined,
      isHandedOver: isHandedOver || undefined,
      isLossAccepted: isLossAccepted || undefined,
    }
    const outcome = await propose(
      {
        type: 'tenant.reclaim',
        tenant,
        ...place,
        epoch,
        standbySets: standbys.sets,
        keepEveryMs: identity.keepEveryMs,
        isKeptWarm: identity.isKeptWarm && config.isCreateOnlyAtomic,
        isHandedOver,
        replicaEpoch: replicaEpoch > 0 || !config.isCreateOnlyAtomic ? replicaEpoch : null,
        atMs: nowMs,
      },
      audit.facts(by, { action: 'tenant.adopt', target: id, targetName: tenant.slug, details }),
    )
    return outcome.ok ? ok(id) : err(outcome.error)
  }

  /** null: there may be some, and nobody knows which. */
  async #standbysOf(identity: TenantIdentity, { data }: TenantTails): Promise<Standbys | null> {
    const { id, standbys: facts, ackMode } = identity
    const record = await this.#deps.history.standbyRecord(id)
    const epoch = record?.epoch ?? 0
    const settled = facts?.settled ?? null
    if (settled !== null && settled.txid === data.txid && settled.epoch === data.epoch) return { sets: [], epoch }
    if (record !== null) return { sets: record.sets, epoch }
    // Without a record: of a version that left none, or somebody took it away.
    const mayHaveAny = facts === null ? ackMode !== null && needsStandbys(ackMode) : facts.recordEpoch !== null
    return mayHaveAny ? null : { sets: [], epoch }
  }
}

function tenantOf(identity: TenantIdentity, nowMs: number): Tenant {
  const plan = identity.plan !== null && plans[identity.plan] !== undefined ? identity.plan : planDefault
  return {
    id: identity.id,
    slug: identity.slug as Slug,
    domains: identity.domains,
    status: identity.isSuspended ? 'suspended' : 'active',
    owner: null,
    plan,
    region: identity.region,
    ackMode: identity.ackMode ?? 'async',
    lossBoundMs: identity.lossBoundMs ?? lossBoundMsDefault,
    onStoreOutage: identity.onStoreOutage ?? 'spool',
    limits: identity.limits ?? plans[plan]!,
    metadata: {},
    createdAtMs: identity.createdAtMs ?? nowMs,
    updatedAtMs: nowMs,
    pendingSuperuser: null,
  }
}
