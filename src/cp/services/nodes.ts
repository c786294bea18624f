// Tenant nodes: who they are is replicated, how they are is in this process's memory only.

import type { AwayTenant, NodeLoad, NodeRequest, WorkerAddress } from '../../ipc/messages/cp-node.ts'
import type { NodeId, TenantId } from '../../lib/brand.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Logger } from '../../lib/obs/log.ts'
import type { Result } from '../../lib/result.ts'
import type { ControlPlaneTimings } from '../config.ts'
import type { RejectReason } from '../state/command.ts'
import type { NodeRow } from '../state/nodes.ts'
import type { StateReader } from '../state/state.ts'
import type { Actor, AuditLog } from './audit.ts'
import {
  checked,
  excused,
  heard,
  type Liveness,
  type NodeState,
  registered,
  unheard,
} from './health/failure-detector.ts'
import type { Candidate } from './placement/strategy.ts'
import type { Propose } from './proposer.ts'

type Of<T extends NodeRequest['type']> = Extract<NodeRequest, { readonly type: T }>

interface LiveNode {
  readonly liveness: Liveness
  readonly incarnation: string | null
  readonly workers: readonly WorkerAddress[]
  readonly load: NodeLoad | null
  /** By tenant. Not replicated: it ends with the node's process, which tells it anew with each heartbeat. */
  readonly away: ReadonlyMap<TenantId, AwayTenant>
  /** The process is about to end. Not replicated, unlike an admin's wish: it must not outlive the process. */
  readonly isLeaving: boolean
}

export interface NodeView {
  readonly row: NodeRow
  readonly state: NodeState
  readonly draining: boolean
  readonly workers: readonly WorkerAddress[]
  /** Tenants that it serves from workers for busy ones. */
  readonly away: readonly AwayTenant[]
  readonly load: NodeLoad | null
  readonly tenantsPlaced: number
}

export interface NodeServiceDeps {
  readonly state: StateReader
  readonly propose: Propose
  readonly audit: AuditLog
  readonly clock: Clock
  readonly log: Logger
  readonly timings: ControlPlaneTimings
}

/** Two looks for silent nodes that lie further apart than this many intervals tell that this process stood still. */
const intervalsMax = 2

export class NodeService {
  readonly #deps: NodeServiceDeps
  readonly #live = new Map<NodeId, LiveNode>()
  readonly #listeners = new Set<(id: NodeId) => void>()
  readonly #awayListeners = new Set<(id: TenantId) => void>()
  #checkedAtMs: number

  constructor(deps: NodeServiceDeps) {
    this.#deps = deps
    const nowMs = deps.clock.monotonic()
    this.#checkedAtMs = nowMs
    // Nothing is known yet: every node gets the full time to report before it counts as down.
    for (const { id } of deps.state.nodes.all())
      this.#live.set(id, {
        liveness: unheard(nowMs),
        incarnation: null,
        workers: [],
        load: null,
        away: new Map(),
        isLeaving: false,
      })
  }

  /** Calls `listener` when a node's state or the address of one of its workers changed. */
  onChange(listener: (id: NodeId) => void): void {
    this.#listeners.add(listener)
  }

  /** Calls `listener` for each tenant that its node serves from another worker than before. */
  onAway(listener: (id: TenantId) => void): void {
    this.#awayListeners.add(listener)
  }

  async register(request: Of<'node.register'>): Promise<void> {
    const { nodeId, incarnation, workers, type: _, ...facts } = request
    const known = this.#deps.state.nodes.get(nodeId)
    const node = { ...facts, id: nodeId, createdAtMs: known?.createdAtMs ?? this.#deps.clock.now() }
    if (known === undefined || !sameIdentity(known, node)) await this.#deps.propose({ type: 'node.register', node })
    const load = this.#live.get(nodeId)?.load ?? null
    this.#live.set(nodeId, {
      liveness: registered(this.#deps.clock.monotonic()),
      incarnation,
      workers,
      load,
      away: new Map(),
      isLeaving: false,
    })
    this.#deps.log.info('node registered', { node: nodeId, workers: workers.length })
    this.#changed(nodeId)
  }

  /** False asks the node to register again: this process does not know it, or it was removed. */
  heartbeat({ nodeId, incarnation, workers, load, draining, away: told = [] }: Of<'node.heartbeat'>): boolean {
    const live = this.#live.get(nodeId)
    if (live === undefined || this.#deps.state.nodes.get(nodeId) === undefined || live.incarnation !== incarnation)
      return false
    const liveness = heard(live.liveness, this.#deps.clock.monotonic())
    const away = new Map(told.map((each) => [each.tenantId, each]))
    this.#live.set(nodeId, { liveness, incarnation, workers, load, away, isLeaving: draining })
    const hasNews = liveness.state !== live.liveness.state || draining !== live.isLeaving
    if (hasNews || !sameWorkers(live.workers, workers)) this.#changed(nodeId)
    for (const id of new Set([...live.away.keys(), ...away.keys()]))
      if (!Bun.deepEquals(live.away.get(id), away.get(id))) for (const listener of this.#awayListeners) listener(id)
    return true
  }

  /** Looks for nodes that have gone silent; call it every `heartbeatMs`. */
  check(): void {
    const { clock, timings, log } = this.#deps
    const nowMs = clock.monotonic()
    // A machine that was paused for a moment takes no node for down: what they said may wait behind this very look.
    const sinceMs = nowMs - this.#checkedAtMs
    const stoodStillMs = sinceMs > intervalsMax * timings.heartbeatMs ? sinceMs - timings.heartbeatMs : 0
    this.#checkedAtMs = nowMs
    if (stoodStillMs >= timings.degradedAfterMs) log.warn('control plane stood still', { ms: Math.round(stoodStillMs) })
    for (const [id, live] of this.#live) {
      if (this.#deps.state.nodes.get(id) === undefined) {
        this.#live.delete(id)
        continue
      }
      const told = stoodStillMs > 0 ? excused(live.liveness, nowMs, stoodStillMs) : live.liveness
      const liveness = checked(told, nowMs, timings)
      if (liveness === live.liveness) continue
      this.#live.set(id, { ...live, liveness })
      if (liveness.state === live.liveness.state) continue
      log.warn('node state changed', { node: id, state: liveness.state })
      this.#changed(id)
    }
  }

  stateOf(id: NodeId): NodeState {
    return this.#live.get(id)?.liveness.state ?? 'down'
  }

  /** It must give its tenants away: an admin said so, or its process is about to end. */
  isDraining(id: NodeId): boolean {
    return this.#deps.state.nodes.get(id)?.draining === true || this.#live.get(id)?.isLeaving === true
  }

  workersOf(id: NodeId): readonly WorkerAddress[] {
    return this.#live.get(id)?.workers ?? []
  }

  /** Where the node serves the tenant while it is busy; undefined: by the worker of its placement. */
  awayOn(id: NodeId, tenantId: TenantId): AwayTenant | undefined {
    return this.#live.get(id)?.away.get(tenantId)
  }

  view(id: NodeId): NodeView | null {
    const row = this.#deps.state.nodes.get(id)
    if (row === undefined) return null
    const tenantsPlaced = this.#deps.state.placements.onNode(id).size
    const load = this.#live.get(id)?.load ?? null
    return {
      row,
      state: this.stateOf(id),
      draining: this.isDraining(id),
      workers: this.workersOf(id),
      away: [...(this.#live.get(id)?.away.values() ?? [])],
      load,
      tenantsPlaced,
    }
  }

  list(): NodeView[] {
    return [...this.#deps.state.nodes.all()].map(({ id }) => this.view(id)!)
  }

  /** Nodes that may get a tenant now. */
  candidates(): Candidate[] {
    const { state } = this.#deps
    return this.list()
      .filter(({ row, state: is, workers }) => is === 'healthy' && !this.isDraining(row.id) && workers.length > 0)
      .map(({ row, workers, load, tenantsPlaced }) => {
        const byWorker = workers.map(() => 0)
        for (const id of state.placements.onNode(row.id)) {
          const worker = (state.placements.get(id as TenantId)?.worker ?? 0) % byWorker.length
          byWorker[worker] = byWorker[worker]! + 1
        }
        const { id, region, zone, labels, tenantsMax } = row
        return { id, region, zone, labels, tenantsMax, tenantsPlaced, cpu: load?.cpu ?? 0, byWorker }
      })
  }

  drain(id: NodeId, by: Actor): Promise<Result<null, RejectReason>> {
    const { propose, audit } = this.#deps
    return propose({ type: 'node.drain', id, draining: true }, audit.facts(by, { action: 'node.drain', target: id }))
  }

  /** Only a node without tenants can go. */
  remove(id: NodeId, by: Actor): Promise<Result<null, RejectReason>> {
    const { propose, audit } = this.#deps
    return propose({ type: 'node.remove', id }, audit.facts(by, { action: 'node.remove', target: id }))
  }

  #changed(id: NodeId): void {
    for (const listener of this.#listeners) listener(id)
  }
}

function sameIdentity(known: NodeRow, node: Omit<NodeRow, 'draining'>): boolean {
  const { draining: _, ...before } = known
  return Bun.deepEquals(before, node)
}

function sameWorkers(a: readonly WorkerAddress[], b: readonly WorkerAddress[]): boolean {
  return a.length === b.length && a.every((worker, at) => worker.index === b[at]!.index && worker.url === b[at]!.url)
}
