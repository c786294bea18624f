// Restore drills: every tenant's history is restored somewhere else once a while, spread over time, those that were never
// proven first. One at a time in the whole fleet, so that they never compete with the tenants for store or disk.

import type { DrillReport } from '../../ipc/messages/jobs.ts'
import type { NodeId, TenantId } from '../../lib/brand.ts'
import { type Clock, sleep } from '../../lib/clock.ts'
import { errorCode, errorMessage, TimeoutError } from '../../lib/errors.ts'
import { recordId } from '../../lib/id.ts'
import type { Logger } from '../../lib/obs/log.ts'
import { err, ok, type Result } from '../../lib/result.ts'
import type { Rng } from '../../lib/rng.ts'
import type { DrillPolicy } from '../config.ts'
import type { DrillFailure, DrillRow } from '../state/drills.ts'
import type { StateReader } from '../state/state.ts'
import type { Tenant } from '../state/tenants.ts'
import { runTenantJob } from './jobs.ts'
import type { NodeService } from './nodes.ts'
import type { OperationService, OperationView } from './operations.ts'
import type { Orders } from './orders.ts'
import type { Propose } from './proposer.ts'
import type { TenantRefusal } from './refusals.ts'
import { findTenant } from './routing/table.ts'

/** What a drill is for. Everything else that ends one says nothing about the history. */
const findings: ReadonlySet<string> = new Set([
  'drill_failed',
  'ltx_format',
  'ltx_gap',
  'never_shipped',
  'damaged_database',
])
/** Of a message that is kept, characters. */
const messageCharsMax = 1_000

export interface DrillDeps {
  readonly state: StateReader
  readonly propose: Propose
  readonly orders: Orders
  readonly nodes: Pick<NodeService, 'stateOf' | 'candidates'>
  readonly operations: Pick<OperationService, 'start'>
  readonly clock: Clock
  readonly rng: Rng
  readonly log: Logger
  readonly policy: DrillPolicy
  /** Only the leader schedules. */
  readonly isLeader: () => boolean
  readonly onOutcome: (outcome: 'proven' | 'failed' | 'given_up') => void
}

export class DrillService implements AsyncDisposable {
  readonly #deps: DrillDeps
  readonly #closing = new AbortController()
  /** Last attempts that said nothing about the history: another tenant's turn comes before theirs. */
  readonly #givenUpAtMs = new Map<TenantId, number>()
  #schedule: Promise<void> | null = null

  constructor(deps: DrillDeps) {
    this.#deps = deps
  }

  /** Drills one tenant now. */
  start(reference: string): Result<OperationView, TenantRefusal> {
    const { state, operations, rng } = this.#deps
    const tenant = findTenant(state, reference)
    if (tenant === undefined) return err('not_found')
    if (tenant.status === 'created') return err('not_active')
    const id = recordId(rng)
    return ok(
      operations.start({ id, tenantId: tenant.id, kind: 'drill' }, (onProgress, signal) =>
        this.#drill(tenant.id, id, signal, onProgress),
      ),
    )
  }

  /** Drills by itself from now on, until disposed. */
  schedule(): void {
    this.#schedule ??= this.#run()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new TimeoutError('the control plane is stopping'))
    await this.#schedule
  }

  /** Of the active tenants whose last drill is too long ago the one whose last attempt is the longest ago. */
  #nextDue(): Tenant | null {
    const { state, clock, policy } = this.#deps
    const nowMs = clock.now()
    let found: Tenant | null = null
    let oldestMs = Number.POSITIVE_INFINITY
    for (const tenant of state.tenants.all()) {
      if (tenant.status !== 'active' || nowMs - tenant.createdAtMs < policy.firstAfterMs) continue
      const drilledAtMs = lastTriedAtMs(state.drills.get(tenant.id))
      const triedAtMs = Math.max(drilledAtMs, this.#givenUpAtMs.get(tenant.id) ?? 0)
      if (drilledAtMs > nowMs - policy.everyMs || triedAtMs >= oldestMs) continue
      found = tenant
      oldestMs = triedAtMs
    }
    return found
  }

  #giveUp(id: TenantId): void {
    const { state, clock } = this.#deps
    for (const known of this.#givenUpAtMs.keys())
      if (state.tenants.get(known)?.status !== 'active') this.#givenUpAtMs.delete(known)
    this.#givenUpAtMs.set(id, clock.now())
  }

  async #run(): Promise<void> {
    const { clock, policy, state, isLeader, log } = this.#deps
    const { signal } = this.#closing
    let pauseMs = policy.firstAfterMs
    while (!signal.aborted) {
      await sleep(clock, pauseMs, signal).catch(() => undefined) // only the end cuts it short
      if (signal.aborted) return
      const tenant = isLeader() ? this.#nextDue() : null
      const share = policy.everyMs / Math.max(1, state.tenants.count)
      pauseMs = Math.min(
        policy.pauseMsMax,
        Math.max(policy.pauseMsMin, tenant === null ? policy.pauseMsMax : share / 2),
      )
      if (tenant === null) continue
      const id = recordId(this.#deps.rng)
      await this.#drill(tenant.id, id, signal, () => {}).catch((error) => {
        if (!signal.aborted) log.debug('scheduled drill ended', { tenant: tenant.id, error: errorMessage(error) })
      })
    }
  }

  /** Records what it finds; throws when the history was not proven. */
  async #drill(
    tenantId: TenantId,
    jobId: string,
    signal: AbortSignal,
    onProgress: Parameters<typeof runTenantJob>[2]['onProgress'] & {},
  ): Promise<DrillReport> {
    const { state, clock, policy, propose, onOutcome, log } = this.#deps
    const deadline = new AbortController()
    const cancel = clock.setTimer(policy.deadlineMs, () =>
      deadline.abort(new TimeoutError(`the drill took longer than ${policy.deadlineMs} ms`)),
    )
    let nodeId: NodeId | null = null
    const where = () => {
      nodeId = this.#elsewhere(tenantId, nodeId)
      return nodeId && { nodeId, job: { type: 'drill' } as const }
    }
    const note = async (row: Omit<DrillRow, 'tenantId'>) => {
      await propose({ type: 'drill.note', drill: { tenantId, ...row } })
    }
    try {
      const options = { signal: AbortSignal.any([signal, deadline.signal]), onProgress }
      const report = await runTenantJob<'drill'>(this.#deps, { jobId, tenantId, where }, options)
      const { txid, sizeBytes, restoreMs } = report.databases.find(({ name }) => name === 'data.db')!
      const facts = { atMs: clock.now(), nodeId: nodeId!, txid, sizeBytes, restoreMs: Math.round(restoreMs) }
      await note({ proven: facts, failure: null })
      onOutcome('proven')
      log.info('restore proven by a drill', { tenant: tenantId, node: nodeId!, txid, restoreMs: facts.restoreMs })
      return report
    } catch (error) {
      const code = errorCode(error) ?? 'internal'
      if (signal.aborted) throw error
      if (nodeId !== null && findings.has(code)) {
        const message = errorMessage(error).slice(0, messageCharsMax)
        const failure: DrillFailure = { atMs: clock.now(), nodeId, code, message }
        await note({ proven: state.drills.get(tenantId)?.proven ?? null, failure })
        onOutcome('failed')
        log.error('restore drill failed', { tenant: tenantId, node: nodeId, error })
      } else {
        this.#giveUp(tenantId)
        onOutcome('given_up')
        log.warn('restore drill was given up', { tenant: tenantId, error: errorMessage(error) })
      }
      throw error
    } finally {
      cancel()
    }
  }

  /** Where the drill is, while that node lives; else any node but the owner's, or that one when there is no other. */
  #elsewhere(tenantId: TenantId, current: NodeId | null): NodeId | null {
    const { state, nodes, rng } = this.#deps
    if (current !== null && nodes.stateOf(current) !== 'down') return current
    const owner = state.placements.get(tenantId)?.nodeId
    const candidates = nodes.candidates()
    const others = candidates.filter(({ id }) => id !== owner)
    const from = others.length > 0 ? others : candidates
    return from.length === 0 ? null : from[rng.below(from.length)]!.id
  }
}

function lastTriedAtMs(row: DrillRow | undefined): number {
  return Math.max(row?.proven?.atMs ?? 0, row?.failure?.atMs ?? 0)
}
