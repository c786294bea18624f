// Tenants that the object store knows and this control plane does not: a fleet that lost its control plane takes them over
// again, one by one. And deleted ones that are wanted back: of them everything is known that a row says.

import type { Epoch, Slug, TenantId } from '../../lib/brand.ts'
import type { Clock } from '../../lib/clock.ts'
import { err, ok, type Result } from '../../lib/result.ts'
import type { ControlPlaneConfig } from '../config.ts'
import type { StateReader } from '../state/state.ts'
import type { Tenant } from '../state/tenants.ts'
import type { Actor, AuditLog } from './audit.ts'
import type { TenantHistory } from './history.ts'
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

export class AdoptionService {
  readonly #deps: AdoptionDeps

  constructor(deps: AdoptionDeps) {
    this.#deps = deps
  }

  /** Takes over a tenant whose history lies in the object store and whose row does not lie here. */
  async adopt(reference: string, by: Actor): Promise<Result<TenantId, TenantRefusal>> {
    const { state, history, moves, clock, propose, audit, config } = this.#deps
    if (findTenant(state, reference) !== undefined) return err('already_known')
    const identity = await history.find(reference)
    if (identity === null) return err('history_not_found')
    const before = state.tenants.get(identity.id)
    // A deleted one may be wanted back, as long as its objects are there.
    if (before !== undefined && before.status !== 'deleted') return err('already_known')
    const replicaEpoch = await history.replicaEpoch(identity.id)
    const epoch = (Math.max(
      await history.highestEpoch(identity.id, replicaEpoch),
      state.sweeps.get(identity.id)?.epoch ?? 0,
    ) + 1) as Epoch
    const place = await moves.waitForPlace(before?.region ?? null)
    if (place === null) return err('no_node')
    const plan = identity.plan !== null && plans[identity.plan] !== undefined ? identity.plan : planDefault
    const nowMs = clock.now()
    const known = before && { ...before, status: 'active' as const, updatedAtMs: nowMs }
    const tenant: Tenant = known ?? {
      id: identity.id,
      slug: identity.slug as Slug,
      domains: identity.domains,
      status: 'active',
      owner: null,
      plan,
      region: null,
      ackMode: identity.ackMode ?? 'async',
      lossBoundMs: lossBoundMsDefault,
      onStoreOutage: 'spool',
      limits: identity.limits ?? plans[plan]!,
      metadata: {},
      createdAtMs: identity.createdAtMs ?? nowMs,
      updatedAtMs: nowMs,
      pendingSuperuser: null,
    }
    if (replicaEpoch > 0 || !config.isCreateOnlyAtomic)
      await propose({ type: 'replica.begin', id: tenant.id, epoch: replicaEpoch })
    const record = { action: 'tenant.adopt', target: tenant.id, targetName: tenant.slug, details: { epoch } }
    const outcome = await propose({ type: 'tenant.adopt', tenant, ...place, epoch }, audit.facts(by, record))
    if (!outcome.ok) return err(outcome.error)
    if (identity.keepEveryMs !== null)
      await propose({ type: 'tenant.retention', id: tenant.id, keepEveryMs: identity.keepEveryMs })
    return ok(tenant.id)
  }
}
