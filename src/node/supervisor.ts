// Composition root of a tenant node: starts and watches its engine workers, keeps the link to the control plane, hands
// its orders to the worker they concern, and serves health and metrics. No request of a tenant passes here.

import { readdirSync, statfsSync } from 'node:fs'
import { availableParallelism, totalmem } from 'node:os'
import { join, resolve } from 'node:path'
import { Elysia } from 'elysia'
import { orderConversation } from '../ipc/conversation.ts'
import { RpcRefusal } from '../ipc/errors.ts'
import { clusterSecrets } from '../ipc/keys.ts'
import type { NodeLoad, NodeOrder, OrderReplies, WorkerAddress } from '../ipc/messages/cp-node.ts'
import { orphanPieceBytesMax } from '../ipc/messages/orphans.ts'
import { type Handlers, openRpcServer, type RpcContext } from '../ipc/server.ts'
import { openMessaging } from '../ipc/zmq/context.ts'
import type { TenantId } from '../lib/brand.ts'
import type { Clock } from '../lib/clock.ts'
import { type DirectoryLock, lockFile, lockWhenFree } from '../lib/dir-lock.ts'
import { ConfigError, errorMessage } from '../lib/errors.ts'
import { randomText } from '../lib/id.ts'
import { addReadings, meteredOperations, noReading } from '../lib/object-store/metered.ts'
import { shareOf } from '../lib/object-store/open.ts'
import type { Logger } from '../lib/obs/log.ts'
import { Metrics } from '../lib/obs/metrics.ts'
import type { MaybePromise } from '../lib/result.ts'
import type { Rng } from '../lib/rng.ts'
import { StandbyLogs } from '../replicate/standby-log.ts'
import { version } from '../version.ts'
import { BusyTenants, defaultBusyLimits } from './busy-tenants.ts'
import type { ListenAddress, TenantNodeConfig, WorkerConfig } from './config.ts'
import { ControlLink } from './control-link.ts'
import { busyWorkersMax, NodeWorkers } from './node-workers.ts'
import { type KnownPlacement, PlacementCache } from './placement-cache.ts'
import { serveStandby } from './standby-server.ts'
import { TenantShifts } from './tenant-shifts.ts'
import { listOrphans, readOrphan, removeOrphan } from './tenants/orphans.ts'
import { dealLists } from './tenants/upkeep-schedule.ts'
import { WorkerProcess } from './worker-process.ts'
import { totalLoad, type WorkerOrder, type WorkerQuestion, type WorkerReplies } from './worker-protocol.ts'

export interface TenantNodeDeps {
  readonly clock: Clock
  readonly rng: Rng
  readonly log: Logger
  readonly metrics?: Metrics
  /** For tests: another program in place of our own worker. */
  readonly workerCommand?: readonly string[]
}

export interface TenantNode {
  /** Health and metrics. */
  readonly httpUrl: string
  readonly ipcAddress: string
  readonly workers: readonly WorkerAddress[]
  /** Process ids of the workers that run, by index; those for busy tenants come last. */
  readonly workerPids: readonly (number | null)[]
  readonly isDraining: boolean
  /** Stops accepting, drains, ships every tail and closes; bounded in time. */
  close(): Promise<void>
  /** Ends every worker at once; what was not shipped stays on disk for the next start. */
  abort(): void
}

/** The commands and messages this build knows; raised with every release that adds one. */
const featureLevel = 1
/** A worker of a supervisor that was killed notices at once; one that was merely slow gets this long. */
const oldWorkersMs = 10_000
const incarnationLength = 20
/** Of the machine's memory, for all workers together; the rest is the page cache and others. */
const workersMemoryShare = 0.7

/**
 * Starts the workers and begins to serve. The control plane need not be there yet: `/health/ready` tells.
 *
 * Throws ConfigError for an address or directory that cannot be used, DirectoryLockedError when another node runs on it,
 * MessagingError without libzmq. Then nothing stays open.
 */
export async function openTenantNode(config: TenantNodeConfig, deps: TenantNodeDeps): Promise<TenantNode> {
  const { clock, rng, log } = deps
  const secrets = clusterSecrets(config.clusterSecret, config.clusterSecretPrevious ?? null)
  checkPorts(config)
  await using opened = new AsyncDisposableStack()
  opened.use(await lockNode(config.dir, clock))
  const placements = PlacementCache.open(join(config.dir, 'placements'), log)
  const messaging = opened.adopt(openMessaging({ role: 'node', secrets, log }), (it) => it.close())
  const server = opened.adopt(
    openRpcServer({ messaging, bind: config.ipcBind, allow: ['control-plane', 'node'], clock, log }),
    (it) => it.close(),
  )
  let link: ControlLink | null = null
  const answer = (question: WorkerQuestion, worker: number) =>
    answerQuestion(question, { link: link!, placements, workers, shifts: shifts!, nodeId: config.nodeId, worker })
  const metrics = deps.metrics ?? new Metrics()
  const loadSeconds = metrics.histogram({
    name: 'node_tenant_load_seconds',
    help: 'Opening the histories of a tenant, from local files or from the object store.',
  })
  const restoreSeconds = metrics.histogram({
    name: 'restore_seconds',
    help: 'The same, of those for which databases came from the object store.',
  })
  let shifts: TenantShifts | null = null
  const busyMax = busyWorkersMax(config)
  if (busyMax === 0) log.warn('no port is left for a worker for busy tenants', { workers: config.workers })
  const workers = new NodeWorkers({
    ordinary: config.workers,
    busyMax,
    make: (index) =>
      new WorkerProcess(workerConfig(config, index, config.workers + busyMax), {
        clock,
        rng,
        log,
        onQuestion: (question) => answer(question, index),
        onAddress: () => link?.hurry(),
        leaseMsLeft: () => link?.leaseMsLeft ?? 0,
        onOpened: (ms, isRestored) => {
          loadSeconds.observe(ms / 1_000)
          if (isRestored) restoreSeconds.observe(ms / 1_000)
        },
        ...(deps.workerCommand && { command: deps.workerCommand }),
      }),
  })
  const meter = new LoadMeter(clock, config.dir, workers)
  const addresses = () => workers.ordinary.flatMap(({ index, url }) => (url === null ? [] : [{ index, url }]))
  link = opened.adopt(
    new ControlLink(
      {
        nodeId: config.nodeId,
        incarnation: randomText(rng, incarnationLength),
        ipcAddress: config.ipcAdvertise ?? server.address,
        tenantsMax: config.tenantsMax,
        version,
        featureLevel,
        region: config.region,
        zone: config.zone,
        labels: config.labels,
      },
      {
        messaging,
        secrets,
        addresses: config.controlPlane,
        clock,
        rng,
        log,
        workers: addresses,
        load: () => meter.measure(),
        away: () => workers.awayTenants(),
        onLease: () => {
          for (const worker of workers.all) worker.leaseChanged()
        },
      },
    ),
    (it) => it.close(),
  )
  opened.defer(() => workers.stop())
  shifts = opened.adopt(
    new TenantShifts({
      busy: new BusyTenants(config.busy ?? defaultBusyLimits),
      ...{ workers, placements, link, clock, log },
    }),
    (it) => it.close(),
  )
  const standbyLogs = StandbyLogs.open(join(config.dir, 'standby'))
  serveStandby(server, {
    logs: standbyLogs,
    clock,
    onFollow: ({ worker, epoch, ...hint }) => {
      // An owner of before, which has not noticed yet: the files are ours by now, whichever worker has them open.
      const known = placements.get(hint.tenantId)?.placement
      // While another worker may open it, nobody copies into its files; the next hint behind that says the same.
      if (workers.away.has(hint.tenantId)) return
      if (known === undefined || known.epoch < epoch) workers.homeOf(worker).follow(hint)
    },
  })
  serveOrders(server, { workers, shifts, placements, link, dir: config.dir })
  for (const kind of ['upkeep', 'crons'])
    dealLists(config.dir, kind, (id) => {
      const placement = placements.get(id)?.placement
      return placement === undefined ? null : workers.homeOf(placement.worker).index
    })
  await workers.start(config.dir)
  link.hurry()
  const http = opened.adopt(serveHttp(config.http, { workers, shifts, link, meter, standbyLogs, metrics }), (it) =>
    it.stop(),
  )
  log.info('tenant node started', { node: config.nodeId, workers: config.workers, ipc: server.address })
  return new RunningNode(`http://${http.hostname}:${http.port}`, server.address, { workers, link }, opened.move())
}

class RunningNode implements TenantNode {
  readonly httpUrl: string
  readonly ipcAddress: string
  readonly #parts: { readonly workers: NodeWorkers; readonly link: ControlLink }
  readonly #opened: AsyncDisposableStack
  #closing: Promise<void> | null = null

  constructor(
    httpUrl: string,
    ipcAddress: string,
    parts: { readonly workers: NodeWorkers; readonly link: ControlLink },
    opened: AsyncDisposableStack,
  ) {
    this.httpUrl = httpUrl
    this.ipcAddress = ipcAddress
    this.#parts = parts
    this.#opened = opened
  }

  get workers(): readonly WorkerAddress[] {
    return this.#parts.workers.ordinary.flatMap(({ index, url }) => (url === null ? [] : [{ index, url }]))
  }

  get workerPids(): readonly (number | null)[] {
    return this.#parts.workers.all.map((worker) => worker.pid)
  }

  get isDraining(): boolean {
    return this.#parts.link.isDraining
  }

  close(): Promise<void> {
    this.#closing ??= this.#opened.disposeAsync()
    return this.#closing
  }

  abort(): void {
    for (const worker of this.#parts.workers.all) worker.kill()
  }
}

function checkPorts({ workers, workerPorts }: TenantNodeConfig): void {
  if (workers < 1) throw new ConfigError(`--workers: got ${workers}, at least 1 is needed`)
  if (workerPorts !== null && workerPorts.to - workerPorts.from + 1 < workers)
    throw new ConfigError(
      `--worker-ports: got ${workerPorts.from}-${workerPorts.to}, too few for ${workers} workers (--workers)`,
    )
}

/** One supervisor per directory, and no worker of an earlier one, which could still write the tenants that we hand out. */
async function lockNode(dir: string, clock: Clock): Promise<DirectoryLock> {
  const lock = lockFile(join(dir, 'node.lock'))
  try {
    const old = readdirSync(dir).filter((name) => /^worker-\d+\.lock$/.test(name))
    await Promise.all(old.map(async (name) => (await lockWhenFree(join(dir, name), oldWorkersMs, clock)).release()))
    return lock
  } catch (error) {
    lock.release()
    throw error
  }
}

/** @param workersMax with those for busy tenants: among so many is divided what the node may use. */
function workerConfig(config: TenantNodeConfig, index: number, workersMax: number): WorkerConfig {
  const isIp = /^[\d.]+$|:/.test(config.nodeAddress)
  return {
    index,
    workers: config.workers,
    isForBusy: index >= config.workers,
    nodeId: config.nodeId,
    dir: resolve(config.dir),
    listen: {
      host: isIp || config.nodeAddress === 'localhost' ? config.nodeAddress : '0.0.0.0',
      port: config.workerPorts === null ? 0 : config.workerPorts.from + index,
    },
    advertiseHost: config.nodeAddress.includes(':') ? `[${config.nodeAddress}]` : config.nodeAddress,
    clusterSecret: config.clusterSecret,
    clusterSecretPrevious: config.clusterSecretPrevious ?? null,
    objectStore: shareOf(config.objectStore, 1 / workersMax),
    objectPrefix: config.objectPrefix,
    tenantsMax: Math.max(1, Math.ceil(config.tenantsMax / config.workers)),
    memoryBytesMax: Math.floor((totalmem() * workersMemoryShare) / workersMax),
    idleMs: config.idleMs,
    evictMs: config.evictMs,
    logLevel: config.logLevel,
    logFormat: config.logFormat,
    isDev: config.isDev ?? false,
  }
}

/** The control plane when it answers, else what it said last. */
async function answerQuestion(
  question: WorkerQuestion,
  {
    link,
    placements,
    workers,
    shifts,
    nodeId,
    worker,
  }: {
    readonly link: ControlLink
    readonly placements: PlacementCache
    readonly workers: NodeWorkers
    readonly shifts: TenantShifts
    readonly nodeId: string
    /** Who asks. */
    readonly worker: number
  },
): Promise<unknown> {
  if (question.type === 'placement.fenced') {
    await placements.delete(question.tenantId)
    return link.fenced(question.tenantId, question)
  }
  if (question.type === 'replica.moved') {
    await placements.delete(question.tenantId) // the path that counted before counts no more
    return { counts: await link.replicaMoved(question.tenantId, question.epoch) }
  }
  if (question.type === 'placement.sealed') return link.sealed(question.tenantId, question.epoch)
  if (question.type === 'tenant.yielded') return shifts.yielded(question.tenantId, worker)
  const { tenantId } = question
  /** With the worker that serves it now, as an index that no worker has to reckon with. */
  const told = (placed: KnownPlacement): KnownPlacement => ({
    ...placed,
    placement: { ...placed.placement, worker: workers.ownerOf(placed.placement).index },
  })
  const known = placements.get(tenantId)
  let answer: Awaited<ReturnType<ControlLink['placement']>>
  try {
    answer = await link.placement(tenantId)
  } catch (error) {
    if (known === undefined) throw error
    return told(known)
  }
  if (answer.tenant === null || answer.placement.nodeId !== nodeId) {
    await placements.delete(tenantId)
    return answer
  }
  await placements.put(answer)
  return told(answer)
}

interface OrderParts {
  readonly dir: string
  readonly workers: NodeWorkers
  readonly shifts: TenantShifts
  readonly placements: PlacementCache
  readonly link: ControlLink
}

/** Each order goes to the one worker that may write its tenant. */
function serveOrders(
  server: ReturnType<typeof openRpcServer>,
  { workers, shifts, placements, link, dir }: OrderParts,
): void {
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
  const handlers: Handlers<NodeOrder, OrderReplies> = {
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
      const parts = await Promise.all(workers.all.map((worker) => worker.order(order, signal)))
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
  server.serve(orderConversation, handlers)
}

/** Measured figures; rates are over the time since the last call. */
class LoadMeter {
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

function serveHttp(
  listen: ListenAddress,
  parts: {
    readonly workers: NodeWorkers
    readonly shifts: TenantShifts
    readonly link: ControlLink
    readonly meter: LoadMeter
    readonly standbyLogs: StandbyLogs
    readonly metrics: Metrics
  },
) {
  const { workers, shifts, link, meter, standbyLogs, metrics } = parts
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
    return Bun.serve({ hostname: listen.host, port: listen.port, development: false, fetch: app.fetch })
  } catch (error) {
    throw new ConfigError(`--http: cannot listen on ${listen.host}:${listen.port}: ${errorMessage(error)}`, {
      cause: error,
    })
  }
}
