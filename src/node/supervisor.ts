// Composition root of a tenant node: starts and watches its engine workers, keeps the link to the control plane, hands
// its orders to the worker they concern, and serves health and metrics. No request of a tenant passes here.

import { readdirSync } from 'node:fs'
import { totalmem } from 'node:os'
import { join, resolve } from 'node:path'
import { orderConversation } from '../ipc/conversation.ts'
import { clusterSecrets } from '../ipc/keys.ts'
import type { WorkerAddress } from '../ipc/messages/cp-node.ts'
import { openRpcServer } from '../ipc/server.ts'
import { openMessaging } from '../ipc/zmq/context.ts'
import type { Clock } from '../lib/clock.ts'
import { type DirectoryLock, lockFile, lockWhenFree } from '../lib/dir-lock.ts'
import { ConfigError } from '../lib/errors.ts'
import { randomText } from '../lib/id.ts'
import { shareOf } from '../lib/object-store/open.ts'
import type { Logger } from '../lib/obs/log.ts'
import { Metrics } from '../lib/obs/metrics.ts'
import type { Rng } from '../lib/rng.ts'
import { StandbyLogs } from '../replicate/standby-log.ts'
import { version } from '../version.ts'
import { BusyTenants, defaultBusyLimits } from './busy-tenants.ts'
import type { TenantNodeConfig, WorkerConfig } from './config.ts'
import { ControlLink } from './control-link.ts'
import { LoadMeter } from './load-meter.ts'
import { serveNodeHttp } from './node-http.ts'
import { orderHandlers } from './node-orders.ts'
import { busyWorkersMax, NodeWorkers } from './node-workers.ts'
import { PlacementCache } from './placement-cache.ts'
import { serveStandby } from './standby-server.ts'
import { TenantShifts } from './tenant-shifts.ts'
import { dealLists } from './tenants/upkeep-schedule.ts'
import { WorkerProcess } from './worker-process.ts'
import type { WorkerQuestion } from './worker-protocol.ts'
import { answerQuestion } from './worker-questions.ts'

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
  server.serve(orderConversation, orderHandlers({ workers, shifts, placements, link, dir: config.dir, clock }))
  for (const kind of ['upkeep', 'crons'])
    dealLists(config.dir, kind, (id) => {
      const placement = placements.get(id)?.placement
      return placement === undefined ? null : workers.homeOf(placement.worker).index
    })
  await workers.start(config.dir)
  link.hurry()
  const http = opened.adopt(serveNodeHttp(config.http, { workers, shifts, link, meter, standbyLogs, metrics }), (it) =>
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
