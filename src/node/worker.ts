// Composition root of one engine worker process: many tenants, one HTTP server, no connection to the control plane but
// through the supervisor. Its standard input is its life line: when that ends, the process ends at once, because from
// then on another supervisor may start another writer of the same tenants.

import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { clusterSecrets } from '../ipc/keys.ts'
import { routeHeaderKeys } from '../ipc/messages/route-header.ts'
import type { Placement } from '../ipc/messages/tenant.ts'
import { openMessaging } from '../ipc/zmq/context.ts'
import { assert } from '../lib/assert.ts'
import { type Epoch, firstEpoch, type TenantId } from '../lib/brand.ts'
import { systemClock } from '../lib/clock.ts'
import { lockWhenFree } from '../lib/dir-lock.ts'
import { OverloadedError } from '../lib/errors.ts'
import { Lane } from '../lib/lane.ts'
import { readLifeLine } from '../lib/life-line.ts'
import { openObjectStore, shareOf } from '../lib/object-store/open.ts'
import { createLogger } from '../lib/obs/log.ts'
import { type RetryPolicy, retry } from '../lib/retry.ts'
import { systemRng } from '../lib/rng.ts'
import { wantedThreadMs } from '../lib/scheduling.ts'
import { defaultRetention } from '../replicate/retention.ts'
import { UpkeepProcess } from '../replicate/upkeep-process.ts'
import { tenantApp } from './api/app.ts'
import { listenWith } from './api/listen.ts'
import { platformRoutes } from './api/platform.ts'
import { exportRoutes } from './api/platform-export.ts'
import { superuserRoutes } from './api/platform-superusers.ts'
import type { TenantHost } from './api/tenant-host.ts'
import { trunkRoutes } from './api/trunk.ts'
import type { WorkerConfig } from './config.ts'
import { PasswordQueue } from './engine/auth/password.ts'
import { cronsOf } from './engine/crons/system-jobs.ts'
import { FileCache } from './engine/files/file-cache.ts'
import { Lease, leaseOfOpening } from './lease.ts'
import { startEvictor } from './tenants/evictor.ts'
import { ExportDesk } from './tenants/export-desk.ts'
import { JobDesk } from './tenants/job-desk.ts'
import { jobRunnerIn } from './tenants/job-process.ts'
import { tenantOfKey } from './tenants/manifest.ts'
import { MeterBook, meterPath } from './tenants/meter-book.ts'
import { openTenant, type TenantDeps } from './tenants/open-tenant.ts'
import { ackHeaderName, withRequestedAck } from './tenants/output-gate.ts'
import { TenantPool } from './tenants/pool.ts'
import { onPath, storeOfOwner } from './tenants/replica-path.ts'
import { StandbyClients } from './tenants/standby-clients.ts'
import { TenantInactiveError, WrongOwnerError } from './tenants/tenant-errors.ts'
import { TenantFiles } from './tenants/tenant-files.ts'
import { passClosed, UpkeepSchedule } from './tenants/upkeep-schedule.ts'
import { WarmCopies } from './tenants/warm-copies.ts'
import { warmCopy } from './tenants/warm-copy.ts'
import { Mailbox } from './worker-mailbox.ts'
import { OrderDesk } from './worker-orders.ts'
import { outcomeOf } from './worker-protocol.ts'

/** A worker that was killed frees its lock at once; one that is being killed gets this long. */
const lockMs = 5_000
/** Without this report a later takeover asks more standbys than it needs to: worth some attempts, not more. */
const sealedPolicy: RetryPolicy = { attemptsMax: 20, baseDelayMs: 500, delayMsMax: 10_000 }
/** Copies of uploaded files on this disk. */
const fileCacheBytesMax = 256 * 1024 * 1024
/** Of merges and deletions, read and written together: a quarter of a gigabit. */
const upkeepBytesPerSecond = 32 * 1024 * 1024
/** Of closed tenants with cron jobs: late by a second at most, few at a time, tried again while the job still makes sense. */
const cronLooks = { lookMsMin: 1_000, atOnceMax: 4, retryMs: 60_000 } as const

/** Closed tenants with cron jobs that are suspended or archived are looked at again after this, ms. */
const inactiveCronMs = 3_600_000
/** Tenants of whose use of the thread the supervisor hears: one that takes much of it is among the first. */
const busiestMax = 16
/** Histories that are copied to the path of an epoch at once: each is held in memory whole. */
const replicaCopiesMax = 2

/** Of what this worker may ask of the bucket where that is limited: itself, its upkeep, and each of two jobs at a time. */
const storeShares = { worker: 0.7, upkeep: 0.1, job: 0.1 } as const

/** Serves until it is told to stop or its supervisor is gone, and ends the process; throws when it cannot start. */
export async function runWorker(): Promise<never> {
  const clock = systemClock
  const rng = systemRng
  // Ctrl-C reaches the whole process group; who stops a worker is its supervisor, which drains it first.
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => {})
  const desk = new Mailbox(clock, (line) => void process.stdout.write(line))
  const { config: raw, ended } = await readLifeLine(undefined, (line) => desk.onLine(line))
  void ended.then(dieNow)
  process.on('uncaughtException', (error) => dieOf('uncaught exception', error))
  process.on('unhandledRejection', (error) => dieOf('unhandled rejection', error))
  const config = raw as WorkerConfig // written by our own supervisor, of the same version
  const log = createLogger({
    level: config.logLevel,
    format: config.logFormat,
    now: clock.now,
    fields: { worker: config.index },
  })
  await using opened = new AsyncDisposableStack()
  opened.use(await lockWhenFree(join(config.dir, `worker-${config.index}.lock`), lockMs, clock))
  const store = opened.adopt(
    await openObjectStore(shareOf(config.objectStore, storeShares.worker), { clock, rng }),
    (it) => it.close(),
  )
  const meters = opened.adopt(
    await MeterBook.open({ store, path: meterPath(config.dir, config.index), clock, log }),
    (it) => it.close(),
  )
  const files = new TenantFiles(config.dir, clock)
  const fileCache = await FileCache.open({
    dir: join(config.dir, 'cache', `worker-${config.index}`),
    bytesMax: fileCacheBytesMax,
  })
  const scratchDir = await emptyFolder(join(config.dir, 'scratch', `worker-${config.index}`))
  const run = jobRunnerIn({ ...config, objectStore: shareOf(config.objectStore, storeShares.job) }, (id, reading) =>
    meters.add(id, reading),
  )
  const lease = new Lease(clock)
  const stopping = new AbortController()
  const replicaCopies = new Lane(replicaCopiesMax)
  opened.defer(() => stopping.abort(new OverloadedError('the node is stopping')))
  const secrets = clusterSecrets(config.clusterSecret, config.clusterSecretPrevious)
  const standbys = opened.adopt(
    new StandbyClients({ open: () => openMessaging({ role: 'node', secrets, log }), clock, log }),
    (it) => it.close(),
  )
  const upkeep = new UpkeepProcess(
    {
      objectStore: shareOf(config.objectStore, storeShares.upkeep),
      scratchDir: join(config.dir, 'upkeep', `worker-${config.index}`),
      bytesPerSecond: upkeepBytesPerSecond,
      policy: defaultRetention,
    },
    {
      clock,
      onMeter: (prefix, reading) => {
        const id = tenantOfKey(prefix)
        if (id !== null) meters.add(id, reading)
      },
    },
  )
  opened.defer(() => upkeep.close())
  // Nothing is waited for from here to the pool: what is due now would use it before it is there.
  const schedule = new UpkeepSchedule({
    clock,
    log,
    path: join(config.dir, `upkeep-${config.index}.json`),
    isOurs: async (id) => pool.peek(id) === null && (await placementHere(id)) !== null,
    pass: async (id) => passClosed(id, depsOf(id, await placementHere(id))),
  })
  const crons = new UpkeepSchedule({
    clock,
    log,
    path: join(config.dir, `crons-${config.index}.json`),
    isOurs: async (id) => (await placementHere(id)) !== null,
    async pass(id, dueAtMs) {
      const placement = await placementHere(id)
      if (placement === null) return null // it has just moved
      try {
        await pool.use(id, placement.epoch, ({ engine }) => cronsOf(engine).runMissed(dueAtMs))
      } catch (error) {
        if (!(error instanceof TenantInactiveError)) throw error
        return clock.now() + inactiveCronMs
      }
      return null // it comes back here when it closes
    },
    ...cronLooks,
  })
  const deps: TenantDeps = {
    clock,
    rng,
    log,
    store,
    objectPrefix: config.objectPrefix,
    files,
    fileCache,
    passwords: new PasswordQueue(),
    isDev: config.isDev,
    upkeep,
    onUpkeepDue: (id, dueAtMs) => schedule.note(id, dueAtMs),
    onCronDue: (id, dueAtMs) => crons.note(id, dueAtMs),
    leaseLostMs: () => lease.lostMs(),
    standbys,
    onSealed: ({ tenantId, epoch, standbySets = [] }) => {
      if (standbySets.length < 2) return
      const report = () => desk.ask({ type: 'placement.sealed', tenantId, epoch })
      retry({ clock, rng, policy: sealedPolicy }, () => true, report).catch((error) =>
        log.warn('sealing was not reported', { tenant: tenantId, error }),
      )
    },
    onOpened: (ms, isRestored) => desk.say({ type: 'opened', ms, isRestored }),
    onStandbyLost: (id) => {
      pool
        .closeNow(id)
        .catch((error) => log.warn('tenant could not be closed to renew its standbys', { tenant: id, error }))
    },
  }
  const keys = routeHeaderKeys(secrets)
  const pool = new TenantPool(
    { tenantsMax: config.tenantsMax, idleMs: config.idleMs, memoryBytesMax: config.memoryBytesMax },
    {
      clock,
      log,
      keys,
      open: (id, epochMin) => openPlaced(id, epochMin),
      onFenced: ({ spec, placement }, seenEpoch) => {
        desk
          .ask({ type: 'placement.fenced', tenantId: spec.id, epoch: placement.epoch, seenEpoch })
          .catch((error) => log.warn('fencing was not reported', { tenant: spec.id, error }))
      },
      memoryBytes: () => process.memoryUsage.rss(),
    },
  )
  opened.defer(() => schedule.stop())
  opened.defer(() => crons.stop())
  opened.defer(() => pool.close())
  const warm = opened.adopt(
    await WarmCopies.open({
      index: config.index,
      pool,
      files,
      storeOf: (id) => meters.storeOf(id),
      objectPrefix: config.objectPrefix,
      clock,
      log,
      workers: config.workers,
    }),
    (it) => it.close(),
  )
  opened.defer(startEvictor({ pool, files, clock, log, evictMs: config.evictMs, onLooked: () => warm.forgetGone() }))
  const replicasOf = (id: TenantId) => {
    const placement = pool.peek(id)?.placement
    return placement?.replica === undefined ? [] : [{ tenantId: id, epoch: placement.epoch }]
  }
  const exports = opened.adopt(
    new ExportDesk({
      store,
      objectPrefix: config.objectPrefix,
      clock,
      log,
      dir: join(scratchDir, 'exports'),
      run,
      replicasOf,
    }),
    (it) => it.close(),
  )
  const host = { acquire: (request: Request) => pool.acquire(request) } satisfies TenantHost
  const listener = listenWith(
    acknowledging(
      tenantApp({
        host,
        routes: [
          ...platformRoutes({ secrets, keys }),
          ...superuserRoutes({ secrets, keys }),
          ...exportRoutes({ secrets, keys }, exports),
          ...trunkRoutes,
        ],
      }),
    ),
    { address: config.listen, flag: '--worker-ports', clock },
  )
  opened.defer(() => listener.close())
  const jobs = opened.adopt(
    new JobDesk({
      pool,
      files,
      clock,
      log,
      scratchDir: join(scratchDir, 'jobs'),
      run,
      warm: async (tenantId, report, signal) => {
        using _ = await files.lock(tenantId)
        await warm.forget(tenantId)
        const histories = { store: meters.storeOf(tenantId), objectPrefix: config.objectPrefix, tenantId }
        return await warmCopy(histories, { files, clock, log, signal, report })
      },
    }),
    (it) => it.close(),
  )
  const orders = new OrderDesk(pool, jobs, meters, deps, (tenantId) => desk.ask({ type: 'tenant.yielded', tenantId }))

  const stopped = Promise.withResolvers<void>()
  desk.onMessage = (message) => {
    switch (message.type) {
      case 'ping':
        desk.say({ type: 'pong', id: message.id, load: load(), atMs: clock.monotonic() })
        return
      case 'order':
        void outcomeOf(() => orders.carryOut(message.order)).then((outcome) =>
          desk.say({ type: 'reply', id: message.id, outcome }),
        )
        return
      case 'link':
        lease.set(message.leaseEndsAtMs)
        return
      case 'follow':
        warm.hint(message.tenantId, message.databases)
        return
      case 'stop':
        stopped.resolve()
        return
      case 'answer':
        desk.settle(message.id, message.outcome)
    }
  }
  const port = new URL(listener.url).port
  desk.say({ type: 'ready', url: `http://${config.advertiseHost}:${port}` })
  void shipLeftovers()
  await stopped.promise
  await opened.disposeAsync()
  process.exit(0) // the life line is still open and would keep the process alive

  function load() {
    const { user, system } = process.cpuUsage()
    return {
      tenantsOpen: pool.tenantsOpen,
      cpuMs: (user + system) / 1_000,
      threadMs: wantedThreadMs() ?? (user + system) / 1_000,
      memoryBytes: process.memoryUsage.rss(),
      requests: pool.requests,
      evictions: pool.evictions,
      replicationLagMsMax: pool.lagMsMax,
      store: meters.total,
      upkeep: upkeep.totals,
      tenants: pool.busiest(busiestMax),
      warm: warm.totals,
    }
  }

  /** Opening needs the placement, not a lease: the supervisor answers from its disk when the control plane is away. */
  async function openPlaced(id: TenantId, epochMin: Epoch) {
    const { term } = lease
    const known = await desk.ask({ type: 'placement.get', tenantId: id })
    if (known.tenant === null) throw new WrongOwnerError(`there is no tenant ${id}`)
    const { tenant, placement } = known
    assert(tenant.id === id && placement.tenantId === id, 'the answer is about the tenant that was asked for')
    if (placement.nodeId !== config.nodeId || placement.worker !== config.index)
      throw new WrongOwnerError(`tenant ${id} is placed elsewhere`)
    if (placement.epoch < epochMin || pool.isReleased(id, placement.epoch))
      throw new WrongOwnerError(`tenant ${id} is placed here under epoch ${placement.epoch} only`)
    if (tenant.status !== 'active' && tenant.status !== 'created')
      throw new TenantInactiveError(`tenant ${id} is ${tenant.status}`)
    using _ = await files.lock(id) // until the folder is dirty: another worker may keep a copy in it
    await warm.forget(id)
    await takeOverReplica(placement)
    return await openTenant(tenant, placement, depsOf(id, placement, term))
  }

  /** What this worker does for a tenant is counted as the tenant's, and goes to the path of its epoch where it has one. */
  function depsOf(id: TenantId, placement: Placement | null, term = lease.term): TenantDeps {
    const store = meters.storeOf(id)
    if (placement?.replica === undefined) return { ...deps, store }
    const path = { tenantId: id, epoch: placement.epoch }
    const lostMs = leaseOfOpening(
      lease,
      term,
      () => replicaCounts(id, path.epoch),
      (error) => log.warn('whether a tenant is still placed here is not known', { tenant: id, error }),
    )
    return {
      ...deps,
      store: storeOfOwner(store, config.objectPrefix, path, lostMs),
      upkeep: {
        merge: (prefix, job) => upkeep.merge(onPath(prefix, path.epoch), job),
        retain: (prefix, state) => upkeep.retain(onPath(prefix, path.epoch), state),
      },
    }
  }

  /** Where epochs have paths of their own, a new owner begins with a copy of what counted before. */
  async function takeOverReplica({ tenantId: id, epoch, replica }: Placement): Promise<void> {
    if (replica === undefined || replica.epoch === epoch) return
    const scratch = join(scratchDir, 'replicas', id)
    const job = { type: 'move-replica', from: replica.epoch, to: epoch } as const
    await replicaCopies.enter()
    try {
      await run({ tenantId: id, job, scratchDir: scratch }, () => {}, stopping.signal)
    } finally {
      replicaCopies.leave()
    }
    if (!(await replicaCounts(id, epoch)))
      throw new WrongOwnerError(`tenant ${id} was placed anew while its history was copied`)
  }

  /** Whether the control plane takes the path of this epoch, and so this owner, for the one that counts. */
  async function replicaCounts(id: TenantId, epoch: Epoch): Promise<boolean> {
    const { counts } = await desk.ask({ type: 'replica.moved', tenantId: id, epoch })
    return counts
  }

  async function placementHere(id: TenantId): Promise<Placement | null> {
    const known = await desk.ask({ type: 'placement.get', tenantId: id })
    if (known.tenant === null || known.tenant.isHandedOver) return null
    const { nodeId, worker } = known.placement
    return nodeId === config.nodeId && worker === config.index ? known.placement : null
  }

  /** Commits that a crash kept from the store go there now, not with the next request, which may never come. */
  async function shipLeftovers(): Promise<void> {
    for (const { id, isClean } of await files.list()) {
      if (isClean) continue
      try {
        await pool.use(id, firstEpoch, () => {})
      } catch (error) {
        if (error instanceof WrongOwnerError) continue // another worker's, or another node's by now
        log.warn('tenant with unshipped files could not be opened', { tenant: id, error })
      }
    }
  }
}

/** What an earlier process left there is of no use to anybody. */
async function emptyFolder(path: string): Promise<string> {
  await rm(path, { recursive: true, force: true })
  await mkdir(path, { recursive: true, mode: 0o700 })
  return path
}

/**
 * Ends the process as a crash would. Leaving by `process.exit` makes Bun close every database, and its close empties the
 * WAL into the database file: commits that were not shipped yet could then not be told from those that were.
 */
function dieNow(): never {
  process.kill(process.pid, 'SIGKILL')
  throw new Error('unreachable: the process was killed')
}

function dieOf(what: string, error: unknown): never {
  process.stderr.write(`worker ended by an ${what}: ${error instanceof Error ? error.stack : String(error)}\n`)
  return dieNow()
}

/** The app, with `X-Ack` in force for the whole of each request. */
function acknowledging<App extends ReturnType<typeof tenantApp>>(app: App): App {
  return new Proxy(app, {
    get(target, key) {
      if (key !== 'fetch') return Reflect.get(target, key, target)
      return (request: Request) => withRequestedAck(request.headers.get(ackHeaderName), () => target.fetch(request))
    },
  })
}
