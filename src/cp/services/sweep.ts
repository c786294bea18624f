// What nobody needs any more is deleted from the store, in two phases: first it is named, a day later it is proven again and
// deleted. Deleted tenants (cancelled and failed forks are such) go whole, once the time has passed in which they may be
// wanted back; of living tenants the paths of epochs before theirs; uploads that were begun and never finished.
//
// Only tombstones of our own are ever swept: what this control plane does not know may be a tenant to adopt. Each phase is
// an entry in the log before anything is done, so a crash goes on where it was, and a tenant that is taken back is not swept
// at the same time. Nodes do the work, one tenant at a time (`src/node/tenants/sweep.ts`).

import type { SweepReport } from '../../ipc/messages/jobs.ts'
import type { TenantId } from '../../lib/brand.ts'
import type { Cancel, Clock } from '../../lib/clock.ts'
import { errorCode, errorMessage, OverloadedError } from '../../lib/errors.ts'
import { recordId } from '../../lib/id.ts'
import type { ObjectStore } from '../../lib/object-store/object-store.ts'
import type { Logger } from '../../lib/obs/log.ts'
import type { CounterMetric } from '../../lib/obs/metrics.ts'
import type { Rng } from '../../lib/rng.ts'
import type { SweepPolicy } from '../config.ts'
import type { StateReader } from '../state/state.ts'
import type { SweepPhase, SweepRow } from '../state/sweeps.ts'
import type { Tenant } from '../state/tenants.ts'
import { type AuditLog, systemActor } from './audit.ts'
import { runTenantJob } from './jobs.ts'
import type { NodeService } from './nodes.ts'
import type { Orders } from './orders.ts'
import type { Propose } from './proposer.ts'

export interface SweepDeps {
  readonly state: StateReader
  readonly propose: Propose
  readonly orders: Orders
  readonly nodes: Pick<NodeService, 'candidates'>
  readonly audit: AuditLog
  readonly store: Pick<ObjectStore, 'endUploads'>
  readonly objectPrefix: string
  readonly clock: Clock
  readonly rng: Rng
  readonly log: Logger
  readonly policy: SweepPolicy
  /** Only the leader sweeps. */
  readonly isLeader: () => boolean
  readonly objectsDeleted: CounterMetric
  readonly bytesDeleted: CounterMetric
  readonly uploadsEnded: CounterMetric
  readonly kept: CounterMetric
}

/** Something that is or will be swept. */
export interface Leftover {
  readonly tenantId: TenantId
  readonly slug: string
  readonly kind: 'deleted tenant' | 'old paths'
  readonly phase: SweepPhase
  /** When the next phase may begin; null: never, or there is none. */
  readonly dueAtMs: number | null
  readonly objects: number
  readonly bytes: number
}

/** What a round did to one tenant, or would do. */
export interface SweepStep {
  readonly tenantId: TenantId
  readonly slug: string
  readonly kind: Leftover['kind']
  readonly does: 'name' | 'delete' | 'nothing left' | 'kept'
  readonly objects: number
  readonly bytes: number
  /** Why it was kept. */
  readonly reason: string | null
}

export interface SweepRound {
  readonly isDryRun: boolean
  readonly startedAtMs: number
  /** null while it goes on. */
  readonly endedAtMs: number | null
  readonly steps: readonly SweepStep[]
  readonly uploadsEnded: number
}

interface Due extends Pick<Leftover, 'tenantId' | 'slug' | 'kind'> {
  readonly row: SweepRow | null
  readonly belowEpoch: number | null
  readonly knownEpoch: number
}

/** Tenants of one round; the rest waits for the next. */
const stepsMax = 200
/** One tenant may take so long, ms; deleting it goes on in the next round. */
const stepMsMax = 2 * 3_600_000
/** Living tenants with paths of epochs are looked at once in this time, ms. */
const lookAgainMs = 24 * 3_600_000
/** Uploads are looked for once in this time, ms: it lists all that are under way. */
const uploadsEveryMs = 24 * 3_600_000

export class SweepService {
  readonly #deps: SweepDeps
  readonly #closing = new AbortController()
  readonly #lookedAtMs = new Map<TenantId, number>()
  /** Whose last step failed, those that have waited for their turn longest first: they go behind all others. */
  readonly #failed = new Set<TenantId>()
  #uploadsAtMs = Number.NEGATIVE_INFINITY
  #cancel: Cancel = () => {}
  #running: Promise<void> | null = null
  #last: SweepRound | null = null

  constructor(deps: SweepDeps) {
    this.#deps = deps
  }

  /** Sweeps at its interval until it is closed. */
  start(): void {
    this.#cancel = this.#deps.clock.setTimer(this.#deps.policy.everyMs, () => {
      this.start()
      if (this.#running === null && this.#deps.isLeader()) this.#begin(false)
    })
  }

  async close(): Promise<void> {
    this.#cancel()
    this.#closing.abort(new OverloadedError('the control plane is stopping'))
    await this.#running
  }

  /** The round that is under way, else the last one. */
  get last(): SweepRound | null {
    return this.#last
  }

  get isUnderWay(): boolean {
    return this.#running !== null
  }

  /** Begins a round now. Throws OverloadedError when one is under way. */
  begin(isDryRun: boolean): SweepRound {
    if (this.isUnderWay) throw new OverloadedError('a sweep is under way')
    this.#begin(isDryRun)
    return this.#last!
  }

  /** Everything that is known to be left, the next one due first. */
  leftovers(): Leftover[] {
    const { state } = this.#deps
    const found: Leftover[] = []
    for (const tenant of state.tenants.deleted()) {
      if (state.placements.get(tenant.id) !== undefined) continue
      const row = this.#rowOf(tenant)
      if (row.phase !== 'swept')
        found.push({ ...leftoverOf(tenant, 'deleted tenant', row), dueAtMs: this.#dueAtMs(row) })
    }
    for (const row of state.sweeps.all()) {
      const tenant = state.tenants.get(row.tenantId)
      if (tenant === undefined || tenant.status === 'deleted' || row.phase === 'swept') continue
      found.push({ ...leftoverOf(tenant, 'old paths', row), dueAtMs: this.#dueAtMs(row) })
    }
    const order = ({ dueAtMs }: Leftover) => dueAtMs ?? Number.POSITIVE_INFINITY
    return found.sort((a, b) => order(a) - order(b))
  }

  #begin(isDryRun: boolean): void {
    const { clock, log } = this.#deps
    this.#last = { isDryRun, startedAtMs: clock.now(), endedAtMs: null, steps: [], uploadsEnded: 0 }
    this.#running = this.#round(isDryRun)
      .catch((error) => {
        if (!this.#closing.signal.aborted) log.warn('sweep will be tried again', { error: errorMessage(error) })
      })
      .finally(() => {
        this.#last = { ...this.#last!, endedAtMs: clock.now() }
        this.#running = null
      })
  }

  async #round(isDryRun: boolean): Promise<void> {
    const { clock, log } = this.#deps
    for (const due of this.#due()) {
      if (this.#closing.signal.aborted) return
      if (this.#deps.nodes.candidates().length === 0) break // a step would wait for one to its deadline
      const deadline = new AbortController()
      const cancel = clock.setTimer(stepMsMax, () => deadline.abort(new OverloadedError(`not done in ${stepMsMax} ms`)))
      try {
        const step = await this.#step(due, isDryRun, AbortSignal.any([deadline.signal, this.#closing.signal]))
        this.#last = { ...this.#last!, steps: [...this.#last!.steps, step] }
        if (!isDryRun) this.#failed.delete(due.tenantId)
      } catch (error) {
        if (this.#closing.signal.aborted) return
        this.#failed.delete(due.tenantId)
        this.#failed.add(due.tenantId)
        log.warn('leftovers will be swept later', { tenant: due.tenantId, error: errorMessage(error) })
      } finally {
        cancel()
      }
    }
    if (!isDryRun) await this.#endUploads()
  }

  /** What a round works on: those that are in the middle of it first, those that failed last. */
  #due(): Due[] {
    const { state, policy, clock } = this.#deps
    const nowMs = clock.now()
    for (const id of this.#lookedAtMs.keys())
      if (state.tenants.get(id)?.status === 'deleted') this.#lookedAtMs.delete(id)
    if (policy.graceMs === null) return []
    const found: Due[] = []
    for (const tenant of state.tenants.deleted()) {
      if (state.placements.get(tenant.id) !== undefined) continue
      const row = this.#rowOf(tenant)
      const dueAtMs = this.#dueAtMs(row)
      if (dueAtMs === null || dueAtMs > nowMs) continue
      const { id: tenantId, slug } = tenant
      const stored = state.sweeps.get(tenantId) ?? null
      found.push({ tenantId, slug, kind: 'deleted tenant', row: stored, belowEpoch: null, knownEpoch: row.epoch })
    }
    for (const { id: tenantId, slug } of state.tenants.all()) {
      const epoch = state.replicas.get(tenantId)?.epoch ?? 0
      if (epoch === 0) continue
      if (state.handOvers.get(tenantId) !== undefined) continue
      const row = state.sweeps.get(tenantId) ?? null
      if (row?.phase === 'swept' && row.epoch === epoch) continue
      if (row?.phase === 'named' && this.#dueAtMs(row)! > nowMs) continue
      const isFresh = row === null || row.phase === 'swept'
      if (isFresh && (this.#lookedAtMs.get(tenantId) ?? Number.NEGATIVE_INFINITY) > nowMs - lookAgainMs) continue
      const belowEpoch = isFresh ? epoch : row.epoch
      found.push({ tenantId, slug, kind: 'old paths', row, belowEpoch, knownEpoch: 0 })
    }
    const dueNow = new Set(found.map(({ tenantId }) => tenantId))
    for (const id of this.#failed) if (!dueNow.has(id)) this.#failed.delete(id)
    const turns = new Map([...this.#failed].map((id, at) => [id, at + 1]))
    const turnOf = ({ tenantId, row }: Due) => turns.get(tenantId) ?? (row?.phase === 'deleting' ? -1 : 0)
    return found.sort((a, b) => turnOf(a) - turnOf(b)).slice(0, stepsMax)
  }

  async #step(due: Due, isDryRun: boolean, signal: AbortSignal): Promise<SweepStep> {
    const { clock, policy, kept, log } = this.#deps
    const nowMs = clock.now()
    const facts = { tenantId: due.tenantId, slug: due.slug, kind: due.kind }
    const isNamed = due.row?.phase === 'named' || due.row?.phase === 'deleting'
    // What was named is what was old enough then.
    const unchangedSinceMs = (due.row?.phase === 'named' ? due.row.atMs : nowMs) - policy.graceMs!
    try {
      if (isNamed && !isDryRun) return { ...facts, does: 'delete', reason: null, ...(await this.#delete(due, signal)) }
      const found = await this.#ask(due, { unchangedSinceMs, isDryRun: true }, signal)
      const { objects, bytes } = found
      // Of a dry run nothing is remembered: the next round would pass the tenant over.
      if (due.kind === 'old paths' && !isDryRun) this.#lookedAtMs.set(due.tenantId, nowMs)
      const does = isNamed ? 'delete' : objects === 0 ? 'nothing left' : 'name'
      // Nothing of a living tenant may only mean: nothing that is old enough yet.
      const isEnd = objects === 0 && due.kind === 'deleted tenant'
      if (!isDryRun && (objects > 0 || isEnd)) await this.#put(due, { phase: isEnd ? 'swept' : 'named', ...found })
      return { ...facts, does, objects, bytes, reason: null }
    } catch (error) {
      if (errorCode(error) !== 'still_used') throw error
      kept.inc()
      log.warn('leftovers are in use and stay', { tenant: due.tenantId, error: errorMessage(error) })
      if (!isDryRun) await this.#put(due, { phase: 'released', objects: 0, bytes: 0 })
      return { ...facts, does: 'kept', objects: 0, bytes: 0, reason: errorMessage(error) }
    }
  }

  /** Decided, recorded, done, noted: whatever is interrupted goes on from there. */
  async #delete(due: Due, signal: AbortSignal): Promise<Pick<SweepStep, 'objects' | 'bytes'>> {
    const { clock, policy, objectsDeleted, bytesDeleted, log } = this.#deps
    const named = due.row!
    const unchangedSinceMs = named.atMs - policy.graceMs!
    // Proven before the decision: afterwards it cannot be taken back.
    if (named.phase === 'named') {
      const { objects, bytes } = await this.#ask(due, { unchangedSinceMs, isDryRun: true }, signal)
      await this.#put(due, { phase: 'deleting', objects, bytes, atMs: named.atMs })
    }
    const begun = { ...due, row: { ...named, phase: 'deleting' } as const }
    const done = await this.#ask(begun, { unchangedSinceMs, isDryRun: false }, signal)
    await this.#put(begun, { phase: 'swept', objects: done.objects, bytes: done.bytes, atMs: clock.now() })
    objectsDeleted.inc({}, done.objectsDeleted)
    bytesDeleted.inc({}, done.bytes)
    log.info('leftovers deleted', { tenant: due.tenantId, kind: due.kind, objects: done.objects, bytes: done.bytes })
    return { objects: done.objects, bytes: done.bytes }
  }

  #ask(
    { tenantId, belowEpoch, knownEpoch }: Due,
    how: { readonly unchangedSinceMs: number; readonly isDryRun: boolean },
    signal: AbortSignal,
  ): Promise<SweepReport> {
    const { nodes, rng } = this.#deps
    const job = { type: 'sweep', belowEpoch, knownEpoch, ...how } as const
    let nodeId: string | null = null
    const where = () => {
      const alive = nodes.candidates()
      const place = alive.find(({ id }) => id === nodeId) ?? alive[0]
      nodeId = place?.id ?? null
      return place === undefined ? null : { nodeId: place.id, job }
    }
    return runTenantJob<'sweep'>(this.#deps, { jobId: recordId(rng), tenantId, where }, { signal })
  }

  async #put(
    { tenantId, slug, kind, row, belowEpoch, knownEpoch }: Due,
    next: Pick<SweepRow, 'phase' | 'objects' | 'bytes'> & { readonly atMs?: number },
  ): Promise<void> {
    const { propose, audit, clock } = this.#deps
    const { phase, objects, bytes, atMs = clock.now() } = next
    const sweep: SweepRow = { tenantId, phase, atMs, epoch: belowEpoch ?? knownEpoch, objects, bytes }
    const act = { action: 'sweep.delete', target: tenantId, targetName: slug, details: { kind, objects, bytes } }
    const record = phase === 'deleting' ? audit.facts(systemActor, act) : null
    const outcome = await propose({ type: 'sweep.put', sweep, expected: row?.phase ?? null }, record)
    // Taken back, or somebody else's round: the next look sees how it is.
    if (!outcome.ok) throw new OverloadedError(`the sweep of tenant ${tenantId} is out of date: ${outcome.error}`)
  }

  async #endUploads(): Promise<void> {
    const { clock, store, objectPrefix, policy, uploadsEnded } = this.#deps
    if (clock.monotonic() - this.#uploadsAtMs < uploadsEveryMs) return
    const prefix = objectPrefix === '' ? 't/' : `${objectPrefix}/t/`
    const beforeMs = clock.now() - policy.uploadMs
    const ended = await store.endUploads({ prefix, beforeMs, signal: this.#closing.signal })
    this.#uploadsAtMs = clock.monotonic()
    uploadsEnded.inc({}, ended)
    this.#last = { ...this.#last!, uploadsEnded: ended }
  }

  #rowOf(tenant: Tenant): SweepRow {
    const none = { tenantId: tenant.id, phase: 'released', epoch: 0, objects: 0, bytes: 0 } as const
    return this.#deps.state.sweeps.get(tenant.id) ?? { ...none, atMs: tenant.updatedAtMs }
  }

  /** Never for what another program writes: how it goes about its history is not ours to know. */
  #dueAtMs({ tenantId, phase, atMs }: SweepRow): number | null {
    const { graceMs, namedMs } = this.#deps.policy
    if (graceMs === null || phase === 'swept' || this.#deps.state.handOvers.get(tenantId) !== undefined) return null
    return phase === 'released' ? atMs + graceMs : phase === 'named' ? atMs + namedMs : atMs
  }
}

function leftoverOf(tenant: Tenant, kind: Leftover['kind'], row: SweepRow): Omit<Leftover, 'dueAtMs'> {
  const { phase, objects, bytes } = row
  return { tenantId: tenant.id, slug: tenant.slug, kind, phase, objects, bytes }
}
