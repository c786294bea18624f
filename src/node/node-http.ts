// Health and metrics of a tenant node over HTTP, for operators; no tenant is served here.

import { Elysia } from 'elysia'
import { ConfigError, errorMessage } from '../lib/errors.ts'
import { meteredOperations } from '../lib/object-store/metered.ts'
import type { Metrics } from '../lib/obs/metrics.ts'
import type { StandbyLogs } from '../replicate/standby-log.ts'
import type { ListenAddress } from './config.ts'
import type { ControlLink } from './control-link.ts'
import type { LoadMeter } from './load-meter.ts'
import type { NodeWorkers } from './node-workers.ts'
import type { TenantShifts } from './tenant-shifts.ts'

export interface NodeHttpParts {
  readonly workers: NodeWorkers
  readonly shifts: Pick<TenantShifts, 'counts'>
  readonly link: Pick<ControlLink, 'isDraining' | 'isRegistered'>
  readonly meter: Pick<LoadMeter, 'totals'>
  readonly standbyLogs: Pick<StandbyLogs, 'heldBytes' | 'refusals'>
  readonly metrics: Metrics
}

/** Throws ConfigError for an address that cannot be listened on. The caller stops the server. */
export function serveNodeHttp(listen: ListenAddress, parts: NodeHttpParts): ReturnType<typeof Bun.serve> {
  addMetrics(parts)
  const { workers, link, metrics } = parts
  const app = new Elysia()
    .get('/health/live', () => ({ status: 'live' }))
    .get('/api/health', () => ({ code: 200, message: 'API is healthy.', data: {} }))
    .get('/health/ready', ({ status }) => {
      if (link.isDraining) return status(503, { status: 503, message: 'The node is draining.', data: {} })
      if (!link.isRegistered)
        return status(503, { status: 503, message: 'The control plane has not registered this node yet.', data: {} })
      if (workers.ordinary.some(({ url }) => url === null))
        return status(503, { status: 503, message: 'A worker is starting.', data: {} })
      return { status: 'ready' }
    })
    .get('/metrics', async ({ set }) => {
      set.headers['content-type'] = metrics.contentType
      return metrics.render()
    })
  try {
    return Bun.serve({
      hostname: listen.host,
      port: listen.port,
      reusePort: false, // else a second node would share the port unseen
      development: false,
      fetch: app.fetch,
    })
  } catch (error) {
    throw new ConfigError(`--http: cannot listen on ${listen.host}:${listen.port}: ${errorMessage(error)}`, {
      cause: error,
    })
  }
}

/** Each is measured when it is asked for. */
function addMetrics({ workers, shifts, meter, standbyLogs, metrics }: NodeHttpParts): void {
  metrics.gauge({ name: 'node_standby_bytes', help: "Other nodes' commits held until the store has them." }, (set) =>
    set(standbyLogs.heldBytes),
  )
  metrics.counter(
    { name: 'node_standby_refusals_total', help: "Other nodes' commits refused for want of room since the start." },
    (set) => set(standbyLogs.refusals),
  )
  metrics.gauge({ name: 'node_warm_copies', help: "Other nodes' tenants that are kept warm here." }, (set) =>
    set(meter.totals().warm.copies),
  )
  metrics.gauge({ name: 'node_warm_bytes', help: 'Disk that their databases take.' }, (set) =>
    set(meter.totals().warm.bytes),
  )
  metrics.gauge(
    { name: 'node_warm_lag_seconds', help: 'How long the warm copy that waits longest has known that it is behind.' },
    (set) => set(meter.totals().warm.lagMsMax / 1_000),
  )
  metrics.gauge({ name: 'node_tenants_open', help: 'Tenants open on this node.' }, (set) =>
    set(meter.totals().tenantsOpen),
  )
  metrics.gauge({ name: 'node_workers_ready', help: 'Engine workers that serve.' }, (set) =>
    set(workers.all.filter(({ url }) => url !== null).length),
  )
  metrics.gauge({ name: 'node_worker_restarts', help: 'Restarts of engine workers since the start.' }, (set) =>
    set(workers.all.reduce((sum, { restarts }) => sum + restarts, 0)),
  )
  metrics.gauge({ name: 'node_busy_tenants', help: 'Tenants served by workers for busy ones.' }, (set) =>
    set(workers.away.size),
  )
  metrics.counter(
    {
      name: 'node_busy_shifts_total',
      help: 'Moves of tenants to workers for busy ones and back, and those that failed.',
      labels: ['to'],
    },
    (set) => {
      for (const to of ['busy', 'ordinary', 'failed'] as const) set(shifts.counts[to], { to })
    },
  )
  metrics.gauge({ name: 'node_requests_served', help: 'Requests since the start of the workers.' }, (set) =>
    set(meter.totals().requests),
  )
  metrics.gauge({ name: 'replication_lag_seconds', help: 'The largest lag of any open tenant.' }, (set) =>
    set(meter.totals().replicationLagMsMax / 1_000),
  )
  const storeHelp = 'asked of the object store for tenants since the start of the workers.'
  metrics.counter(
    { name: 'object_store_requests_total', help: `Requests ${storeHelp}`, labels: ['op', 'code'] },
    (set) => {
      const { calls, failures } = meter.totals().store
      for (const op of meteredOperations) {
        set(calls[op] - failures[op], { op, code: 'ok' })
        set(failures[op], { op, code: 'failed' })
      }
    },
  )
  metrics.counter({ name: 'object_store_bytes_total', help: `Bytes ${storeHelp}`, labels: ['direction'] }, (set) => {
    const { bytesSent, bytesReceived } = meter.totals().store
    set(bytesSent, { direction: 'sent' })
    set(bytesReceived, { direction: 'received' })
  })
  const upkeepHelp = 'of histories since the start of the workers.'
  metrics.counter({ name: 'history_merges_total', help: `Merges ${upkeepHelp}` }, (set) =>
    set(meter.totals().upkeep.merges),
  )
  metrics.counter({ name: 'history_deleted_files_total', help: `Deleted files ${upkeepHelp}` }, (set) =>
    set(meter.totals().upkeep.filesDeleted),
  )
  metrics.counter({ name: 'history_deleted_bytes_total', help: `Their bytes, ${upkeepHelp}` }, (set) =>
    set(meter.totals().upkeep.bytesDeleted),
  )
  metrics.counter(
    { name: 'history_upkeep_failures_total', help: `Failed merges and retention passes ${upkeepHelp}` },
    (set) => set(meter.totals().upkeep.failures),
  )
}
