// The workers of a node: the ordinary ones, among which placements are spread, and those for busy tenants, which start
// when they are needed for the first time. Who serves a tenant is decided here and nowhere else in the node.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { AwayTenant } from '../ipc/messages/cp-node.ts'
import type { Placement } from '../ipc/messages/tenant.ts'
import { assert } from '../lib/assert.ts'
import type { TenantId } from '../lib/brand.ts'
import type { TenantNodeConfig } from './config.ts'
import type { WorkerProcess } from './worker-process.ts'

/** One for so many ordinary workers, and one at least: they share the cores with those, behind them. */
const ordinaryPerBusy = 4

/** Workers for busy tenants that a node may have; 0 when its ports do not suffice. */
export function busyWorkersMax({ workers, workerPorts }: Pick<TenantNodeConfig, 'workers' | 'workerPorts'>): number {
  const wanted = Math.max(1, Math.floor(workers / ordinaryPerBusy))
  return workerPorts === null ? wanted : Math.max(0, Math.min(wanted, workerPorts.to - workerPorts.from + 1 - workers))
}

export class NodeWorkers {
  readonly ordinary: readonly WorkerProcess[]
  readonly #busyMax: number
  readonly #make: (index: number) => WorkerProcess
  readonly #busy: WorkerProcess[] = []
  /** Tenants that are not served by the worker of their placement. It ends with this process, and the workers with it. */
  readonly #away = new Map<TenantId, WorkerProcess>()
  /** What heartbeats say of tenants that are about to change their worker; null: the one of its placement. */
  readonly #announced = new Map<TenantId, WorkerProcess | null>()

  constructor(options: {
    readonly ordinary: number
    readonly busyMax: number
    readonly make: (index: number) => WorkerProcess
  }) {
    this.#make = options.make
    this.#busyMax = options.busyMax
    this.ordinary = Array.from({ length: options.ordinary }, (_, index) => options.make(index))
  }

  /** All that run. */
  get all(): readonly WorkerProcess[] {
    return [...this.ordinary, ...this.#busy]
  }

  get mayHaveBusy(): boolean {
    return this.#busyMax > 0
  }

  get away(): ReadonlyMap<TenantId, WorkerProcess> {
    return this.#away
  }

  /** For heartbeats. */
  awayTenants(): AwayTenant[] {
    const told = new Map<TenantId, WorkerProcess | null>([...this.#away, ...this.#announced])
    return [...told].flatMap(([tenantId, worker]) =>
      worker === null ? [] : [{ tenantId, worker: worker.index, url: worker.url }],
    )
  }

  /** The one worker that may open the tenant now. */
  ownerOf({ tenantId, worker }: Pick<Placement, 'tenantId' | 'worker'>): WorkerProcess {
    return this.#away.get(tenantId) ?? this.homeOf(worker)
  }

  /** The worker that a placement names. */
  homeOf(worker: number): WorkerProcess {
    return this.ordinary[worker % this.ordinary.length]!
  }

  /**
   * The worker for busy tenants that has the fewest of them, one that has ended and does not serve again yet only where
   * there is no other. Where all have some, or none serves again, another one starts, as far as there may be.
   */
  busyWorker(): WorkerProcess {
    assert(this.mayHaveBusy, 'a node without workers for busy tenants moves none')
    const counts = new Map(this.#busy.map((worker) => [worker, 0]))
    for (const worker of this.#away.values()) counts.set(worker, counts.get(worker)! + 1)
    const [least] = [...counts].sort(([a, n], [b, m]) => Number(isBroken(a)) - Number(isBroken(b)) || n - m)
    if (least === undefined) return this.#startBusy()
    const [worker, tenants] = least
    return (tenants > 0 || isBroken(worker)) && this.#busy.length < this.#busyMax ? this.#startBusy() : worker
  }

  /** Ordinary workers, and those for busy tenants of which an earlier process left lists and counts behind; resolves once the ordinary ones serve. */
  async start(dir: string): Promise<void> {
    const known = (index: number) => existsSync(join(dir, `worker-${index}.lock`))
    for (let i = 0; i < this.#busyMax && known(this.ordinary.length + i); i++) this.#startBusy()
    await Promise.all(this.ordinary.map((worker) => worker.start()))
  }

  async stop(): Promise<void> {
    await Promise.all(this.all.map((worker) => worker.stop()))
  }

  /** Heartbeats name this worker from now on; who serves the tenant stays. @returns what takes it back. */
  announce(tenantId: TenantId, worker: WorkerProcess | null): () => void {
    this.#announced.set(tenantId, worker)
    return () => void this.#announced.delete(tenantId)
  }

  /** @param worker null: the one that its placement names. Only for who knows that the tenant is closed everywhere. */
  assign(tenantId: TenantId, worker: WorkerProcess | null): void {
    if (worker === null) this.#away.delete(tenantId)
    else this.#away.set(tenantId, worker)
  }

  #startBusy(): WorkerProcess {
    const worker = this.#make(this.ordinary.length + this.#busy.length)
    this.#busy.push(worker)
    void worker.start() // it is restarted until it serves; nobody needs it before
    return worker
  }
}

/** It served once or failed to, has ended, and does not serve: one that cannot start at all looks like this for ever. */
const isBroken = ({ url, restarts }: WorkerProcess) => url === null && restarts > 0
