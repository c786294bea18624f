// What the control plane orders a tenant node to do: each order goes to the one worker that may write its tenant, and some
// the supervisor carries out itself. Each may come again after a lost reply.

import { RpcRefusal } from '../ipc/errors.ts'
import type { NodeOrder, OrderReplies } from '../ipc/messages/cp-node.ts'
import { orphanPieceBytesMax } from '../ipc/messages/orphans.ts'
import type { Handlers, RpcContext } from '../ipc/server.ts'
import type { TenantId } from '../lib/brand.ts'
import type { Clock } from '../lib/clock.ts'
import { addReadings, noReading } from '../lib/object-store/metered.ts'
import type { MaybePromise } from '../lib/result.ts'
import type { ControlLink } from './control-link.ts'
import type { NodeWorkers } from './node-workers.ts'
import type { KnownPlacement, PlacementCache } from './placement-cache.ts'
import type { TenantShifts } from './tenant-shifts.ts'
import { meterPath, storedMeter } from './tenants/meter-book.ts'
import { listOrphans, readOrphan, removeOrphan } from './tenants/orphans.ts'
import type { WorkerProcess } from './worker-process.ts'
import type { WorkerOrder, WorkerReplies } from './worker-protocol.ts'

export interface OrderParts {
  readonly dir: string
  readonly workers: NodeWorkers
  readonly shifts: Pick<TenantShifts, 'during'>
  readonly placements: Pick<PlacementCache, 'get' | 'put' | 'delete'>
  readonly link: Pick<ControlLink, 'placement' | 'drain'>
  readonly clock: Clock
}

/** What the node answers to each order; rejects with what a worker rejected it with, or RpcRefusal. */
export function orderHandlers(parts: OrderParts): Handlers<NodeOrder, OrderReplies> {
  const { workers, shifts, placements, link, dir, clock } = parts
  const workerOf = async (tenantId: TenantId): Promise<WorkerProcess> => {
    let known = placements.get(tenantId)
    if (known === undefined) {
      const answer = await link.placement(tenantId)
      if (answer.tenant === null) throw new RpcRefusal('tenant_not_found', `there is no tenant ${tenantId}`)
      known = answer
    }
    return workers.ownerOf(known.placement)
  }
  /** Jobs that only read run anywhere; those that write name their placement. */
  const workerOfJob = ({ tenantId, job }: Extract<NodeOrder, { readonly type: 'job.run' }>) => {
    if (job.type === 'warm') return workers.ownerOf({ tenantId, worker: job.worker }) // who will open what it copies
    const placement = 'placement' in job ? job.placement : placements.get(tenantId)?.placement
    return workers.ownerOf({ tenantId, worker: placement?.worker ?? 0 })
  }
  const placed = async (known: KnownPlacement) => {
    await placements.put(known)
    return workers.ownerOf(known.placement)
  }
  /** The worker is chosen once the tenant stays where it is. */
  const carryOut = <T extends WorkerOrder>(
    choose: () => MaybePromise<WorkerProcess>,
    order: T,
    { signal }: RpcContext,
  ): Promise<WorkerReplies[T['type']]> => {
    const tenantId = 'tenant' in order ? order.tenant.id : order.tenantId
    return shifts.during(tenantId, order.type === 'job.run', async () => (await choose()).order(order, signal))
  }
  /** Of a worker that does not serve now, what it will begin with once it does: it counts nothing before. */
  const meterOf = async (
    worker: WorkerProcess,
    order: Extract<NodeOrder, { type: 'tenant.meter' }>,
    signal: AbortSignal,
  ) =>
    worker.url === null
      ? await storedMeter(meterPath(dir, worker.index), order.tenantId, clock.now())
      : await worker.order(order, signal)
  return {
    'tenant.create': (order, context) => carryOut(() => placed(order), order, context),
    'tenant.update': (order, context) => carryOut(() => placed(order), order, context),
    'tenant.release': async (order, { signal }) => {
      const { tenantId } = order
      await shifts.during(tenantId, false, async () => {
        const known = placements.get(tenantId)
        // Without a placement any worker could hold it from before a restart; each answers at once when it does not.
        // One for busy tenants can hold none but those that are away: it may be starting, and need not be asked.
        const away = workers.away.get(tenantId)
        const any = away === undefined ? workers.ordinary : [...workers.ordinary, away]
        const concerned = known === undefined ? any : [workers.ownerOf(known.placement)]
        // Before the answer: a node that crashes behind it must not open the tenant again by what it remembers.
        if (known !== undefined && known.placement.epoch <= order.epoch) await placements.delete(tenantId)
        await Promise.all(concerned.map((worker) => worker.order(order, signal)))
      })
      const now = placements.get(tenantId)
      if (now !== undefined && now.placement.epoch <= order.epoch) await placements.delete(tenantId)
      return { released: true }
    },
    'superuser.upsert': (order, context) => carryOut(() => workerOf(order.tenantId), order, context),
    'job.run': (order, context) => carryOut(() => workerOfJob(order), order, context),
    'job.stop': async (order, { signal }) => {
      // Of a worker that is starting no job runs: they died with the one before.
      await Promise.all(workers.all.filter(({ url }) => url !== null).map((worker) => worker.order(order, signal)))
      return { stopped: true }
    },
    'tenant.open': (order, context) => carryOut(() => workerOf(order.tenantId), order, context),
    'tenant.meter': async (order, { signal }) => {
      // It may have been another worker's before, which remembers.
      const parts = await Promise.all(workers.all.map((worker) => meterOf(worker, order, signal)))
      return {
        sinceMs: Math.min(...parts.map(({ sinceMs }) => sinceMs)),
        reading: parts.reduce((sum, { reading }) => addReadings(sum, reading), noReading),
      }
    },
    'orphan.list': async () => ({ orphans: await listOrphans(dir) }),
    'orphan.read': async (order) => ({
      bytes: await readOrphan(dir, { ...order, to: Math.min(order.to, order.from + orphanPieceBytesMax) }),
    }),
    'orphan.remove': async ({ name }) => {
      await removeOrphan(dir, name)
      return { removed: true }
    },
    'node.drain': () => {
      link.drain()
      return { draining: true }
    },
  }
}
