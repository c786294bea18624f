// What a node tells of its load: the figures of all its workers, and rates over the time between two heartbeats.

import { statfsSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import type { NodeLoad } from '../ipc/messages/cp-node.ts'
import type { Clock } from '../lib/clock.ts'
import type { NodeWorkers } from './node-workers.ts'
import { totalLoad } from './worker-protocol.ts'

/** Measured figures; rates are over the time since the last call. */
export class LoadMeter {
  readonly #clock: Clock
  readonly #dir: string
  readonly #workers: NodeWorkers
  #last: { readonly atMs: number; readonly cpuMs: number; readonly requests: number } | null = null

  constructor(clock: Clock, dir: string, workers: NodeWorkers) {
    this.#clock = clock
    this.#dir = dir
    this.#workers = workers
  }

  totals(): ReturnType<typeof totalLoad> {
    return totalLoad(this.#workers.all.flatMap(({ load }) => (load === null ? [] : [load])))
  }

  measure(): NodeLoad {
    const atMs = this.#clock.monotonic()
    const { tenantsOpen, memoryBytes, replicationLagMsMax, cpuMs, requests } = this.totals()
    const last = this.#last
    this.#last = { atMs, cpuMs, requests }
    const passedMs = last === null ? 0 : atMs - last.atMs
    // A worker that was restarted counts from zero again: then the interval says nothing.
    const rate = (now: number, before: number) => (passedMs > 0 && now > before ? (now - before) / passedMs : 0)
    const disk = statfsSync(this.#dir)
    return {
      tenantsOpen,
      cpu: Math.min(1, rate(cpuMs, last?.cpuMs ?? 0) / availableParallelism()),
      memoryBytes: memoryBytes + process.memoryUsage.rss(),
      diskFreeBytes: disk.bavail * disk.bsize,
      requestsPerSecond: rate(requests, last?.requests ?? 0) * 1_000,
      replicationLagMsMax,
    }
  }
}
