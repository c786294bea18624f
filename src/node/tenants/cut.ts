// One moment of all databases of a tenant: of each the last TXID at or before a time. They share one hybrid clock, so
// nothing else is recorded.

import type { Cut, PointWish } from '../../ipc/messages/jobs.ts'
import type { TenantId } from '../../lib/brand.ts'
import type { Clock } from '../../lib/clock.ts'
import { AppError } from '../../lib/errors.ts'
import type { ObjectStore } from '../../lib/object-store/object-store.ts'
import type { HistoryLocation } from '../../replicate/ltx-store.ts'
import { pointAt, pointOfTxid, type RestorablePoint, restorablePoints } from '../../replicate/point-in-time.ts'
import { tenantPrefix } from './manifest.ts'
import type { DatabaseName } from './tenant-files.ts'

/** There is no such moment to go back to; asking again does not help. */
export class NoSuchPointError extends AppError {
  readonly code = 'no_such_point'
}

export interface TenantHistories {
  readonly store: ObjectStore
  readonly objectPrefix: string
  readonly tenantId: TenantId
}

export function locate({ store, objectPrefix, tenantId }: TenantHistories, name: DatabaseName): HistoryLocation {
  return { store, prefix: `${tenantPrefix(objectPrefix, tenantId)}/${name}` }
}

/** Throws NoSuchPointError, which says what there is; ObjectStoreError. */
export async function resolveCut(
  histories: TenantHistories,
  wish: PointWish,
  clock: Clock,
  signal: AbortSignal,
): Promise<Cut> {
  const data = locate(histories, 'data.db')
  switch (wish.type) {
    case 'time':
      if (wish.atMs > clock.now()) throw new NoSuchPointError(`${iso(wish.atMs)} is in the future`)
      return cutAt(histories, wish.atMs, await pointOfData(data, wish.atMs, signal), signal)
    case 'txid': {
      const point = await pointOfTxid(data, wish.txid, signal)
      if (point === null)
        throw new NoSuchPointError(
          `TXID ${wish.txid} of data.db cannot be restored; ${await whatThereIs(data, signal)}`,
        )
      return cutAt(histories, point.timestampMs, point, signal)
    }
    case 'latest': {
      const newest = await Promise.all(
        (['data.db', 'hooks.db', 'auxiliary.db'] as const).map((name) => newestOf(locate(histories, name), signal)),
      )
      const [dataPoint, hooks, auxiliary] = newest as [RestorablePoint, RestorablePoint, RestorablePoint]
      const atMs = Math.max(...newest.map(({ timestampMs }) => timestampMs))
      return { atMs, data: dataPoint.txid, hooks: hooks.txid, auxiliary: auxiliary.txid }
    }
  }
}

async function cutAt(
  histories: TenantHistories,
  atMs: number,
  data: RestorablePoint,
  signal: AbortSignal,
): Promise<Cut> {
  const [hooks, auxiliary] = await Promise.all([
    pointAt(locate(histories, 'hooks.db'), atMs, signal),
    pointAt(locate(histories, 'auxiliary.db'), atMs, signal),
  ])
  if (hooks === null) throw new NoSuchPointError(`hooks.db cannot be restored as of ${iso(atMs)}`)
  // Logs ship late and are kept for less long: without a state of that time, the oldest one stands in.
  const logs = auxiliary ?? (await oldestOf(locate(histories, 'auxiliary.db'), signal))
  return { atMs, data: data.txid, hooks: hooks.txid, auxiliary: logs.txid }
}

async function pointOfData(at: HistoryLocation, atMs: number, signal: AbortSignal): Promise<RestorablePoint> {
  const point = await pointAt(at, atMs, signal)
  if (point !== null) return point
  throw new NoSuchPointError(`nothing can be restored as of ${iso(atMs)}; ${await whatThereIs(at, signal)}`)
}

async function newestOf(at: HistoryLocation, signal: AbortSignal): Promise<RestorablePoint> {
  const { latest } = await restorablePoints(at, 1, signal)
  if (latest[0] === undefined) throw new NoSuchPointError(`${at.prefix} holds no history of a database`)
  return latest[0]
}

async function oldestOf(at: HistoryLocation, signal: AbortSignal): Promise<RestorablePoint> {
  const { ranges } = await restorablePoints(at, 0, signal)
  if (ranges[0] === undefined) throw new NoSuchPointError(`${at.prefix} holds no history of a database`)
  return ranges[0].from
}

async function whatThereIs(at: HistoryLocation, signal: AbortSignal): Promise<string> {
  const { ranges } = await restorablePoints(at, 0, signal)
  const [first, last] = [ranges[0], ranges.at(-1)]
  if (first === undefined || last === undefined) return 'there is no history at all'
  return `the oldest point is ${iso(first.from.timestampMs)} (TXID ${first.from.txid}), the newest ${iso(last.to.timestampMs)} (TXID ${last.to.txid})`
}

function iso(atMs: number): string {
  return new Date(atMs).toISOString()
}
