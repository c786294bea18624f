// Composition root of a control-plane member: opens and wires what is below it, closes it in reverse.

import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Broadcast, BroadcastTopic } from '../ipc/messages/cp-gateway.ts'
import type { Directory } from '../ipc/messages/directory.ts'
import { openPublisher } from '../ipc/pubsub.ts'
import { openRpcServer } from '../ipc/server.ts'
import { openMessaging } from '../ipc/zmq/context.ts'
import type { TenantId } from '../lib/brand.ts'
import { type Cancel, type Clock, sleep } from '../lib/clock.ts'
import { AppError, ConfigError, errorMessage } from '../lib/errors.ts'
import { recordId } from '../lib/id.ts'
import type { Logger } from '../lib/obs/log.ts'
import type { Metrics } from '../lib/obs/metrics.ts'
import { AdminAuth } from './api/admin-auth.ts'
import { controlPlaneApp } from './api/app.ts'
import {
  type ControlPlane,
  type ControlPlaneConfig,
  type ControlPlaneDeps,
  defaultDrillPolicy,
  defaultSweepPolicy,
  defaultTimings,
} from './config.ts'
import { serveEndpoints } from './ipc-endpoints.ts'
import type { MemberId } from './raft/core/types.ts'
import { openRaftDriver, type RaftDriver } from './raft/driver.ts'
import { RocksLogStore } from './raft/storage/rocks-log-store.ts'
import { noTransport } from './raft/transport/transport.ts'
import { openRocksDb } from './rocks/db.ts'
import { AdminService } from './services/admins.ts'
import { AdoptionService } from './services/adoption.ts'
import { ArchiveService } from './services/archive.ts'
import { AuditLog, systemActor } from './services/audit.ts'
import { CostService } from './services/costs.ts'
import { DrillService } from './services/drills.ts'
import { tenantHistory } from './services/history.ts'
import { NodeService } from './services/nodes.ts'
import { OperationService } from './services/operations.ts'
import { NodeOrders } from './services/orders.ts'
import { OrphanService } from './services/orphans.ts'
import { TenantMoves } from './services/placement/moves.ts'
import { PlannedChanges } from './services/placement/planned-changes.ts'
import { StandbyKeeper } from './services/placement/standby-keeper.ts'
import { Transit } from './services/placement/transit.ts'
import { WarmKeeper } from './services/placement/warm-keeper.ts'
import { proposer } from './services/proposer.ts'
import { broadcastTopics, routeFeed } from './services/routing/feed.ts'
import { RouteTable } from './services/routing/table.ts'
import { SweepService } from './services/sweep.ts'
import { TenantOrders } from './services/tenant-orders.ts'
import { TenantService } from './services/tenants.ts'
import { TimeTravel } from './services/time-travel.ts'
import type { Outcome } from './state/apply.ts'
import type { StateReader } from './state/state.ts'
import { StateStore } from './state/store.ts'

/** A group of one leads within a tick; replaying a long log takes longer. */
const leaderTimeoutMs = 30_000
/** The HTTP listener could not be bound. */
export class ListenError extends AppError {
  readonly code = 'listen'
}

/** Opens a member or leaves nothing behind. Throws RocksError, LogCorruptError, MessagingError, ListenError, ConfigError. */
export async function openControlPlane(config: ControlPlaneConfig, deps: ControlPlaneDeps): Promise<ControlPlane> {
  const { clock, rng, log, metrics, objectStore } = deps
  const timings = { ...defaultTimings, ...config.timings }
  if (config.raftPeers.length > 1 || config.raftPeers.some(({ id }) => id !== config.nodeId))
    throw new ConfigError(
      `--raft-peers: this version runs one control-plane member; leave it out, or name ${config.nodeId} alone`,
    )
  await using opened = new AsyncDisposableStack()
  await mkdir(config.dir, { recursive: true, mode: 0o700 })
  const db = opened.use(await openRocksDb(join(config.dir, 'rocksdb')))
  const store = new StateStore(db)
  await store.load()
  const { state } = store
  const id = config.nodeId as MemberId
  const commitSeconds = metrics.histogram({
    name: 'cp_raft_commit_seconds',
    help: 'From a proposal to its application.',
  })
  const driver = opened.use(
    await openRaftDriver<Outcome | null>({
      id,
      voters: [id],
      store: new RocksLogStore(db),
      machine: store,
      transport: noTransport,
      clock,
      rng,
      log,
      observeCommit: (seconds) => commitSeconds.observe(seconds),
    }),
  )
  await driver.ready(leaderTimeoutMs)
  const propose = proposer((data) => driver.propose(data), clock)
  if (state.config === null) await propose({ type: 'cluster.init', clusterId: recordId(rng), atMs: clock.now() })
  const audit = new AuditLog({ state, propose, clock })
  const admins = new AdminService({ state, propose, audit, clock, rng })
  const firstAdminToken = await firstAdmin(admins, state, config.createAdmin)

  const messaging = openMessaging({ role: 'control-plane', secrets: config.secrets, log })
  opened.defer(() => messaging.close())
  const publisher = openPublisher<Broadcast, BroadcastTopic>({
    messaging,
    clock,
    rng,
    bind: config.ipcPubBind,
    allow: ['node', 'gateway'],
    topics: broadcastTopics,
  })
  opened.defer(() => publisher.close())
  const server = openRpcServer({ messaging, clock, log, bind: config.ipcBind, allow: ['node', 'gateway'] })
  opened.defer(() => server.close())

  const nodes = new NodeService({ state, propose, audit, clock, log, timings })
  const orders = new NodeOrders({ messaging, clock, log, state })
  let tellGateways: (id: TenantId) => void = () => {}
  const transit = new Transit((tenant) => tellGateways(tenant))
  const tenantOrders = opened.adopt(new TenantOrders({ state, orders, nodes, timings, log }), (it) => it.close())
  const changes = new PlannedChanges({ state, propose, tenantOrders, transit, clock, log })
  const standbys = new StandbyKeeper({ state, propose, nodes, tenantOrders, transit, changes, log })
  const warm = new WarmKeeper({ state, propose, nodes, tenantOrders })
  const placing = { nodes, tenantOrders, standbys, warm, transit, changes }
  const common = { state, propose, ...placing, audit, clock, rng, log, config }
  const moves = new TenantMoves({ ...common, orders, timings })
  const tenants = new TenantService({ ...common, moves })
  opened.defer(() => {
    moves.close()
    tenants.close()
  })
  const history = tenantHistory(objectStore, config.objectPrefix)
  const adoption = new AdoptionService({ state, propose, history, moves, audit, clock, config })
  const operations = opened.adopt(
    new OperationService({ state, propose, orders, nodes, standbys, audit, clock, log }),
    (it) => it.close(),
  )
  const timeTravel = new TimeTravel({
    state,
    propose,
    orders,
    nodes,
    tenants,
    standbys,
    operations,
    audit,
    clock,
    rng,
    log,
  })
  const drillOutcomes = metrics.counter({
    name: 'restore_drills_total',
    help: 'Restores that were tried to prove that they work.',
    labels: ['outcome'],
  })
  const drills = opened.use(
    new DrillService({
      state,
      propose,
      orders,
      nodes,
      operations,
      clock,
      rng,
      log,
      policy: { ...defaultDrillPolicy, ...config.drills },
      isLeader: () => driver.status.role === 'leader',
      onOutcome: (outcome) => drillOutcomes.inc({ outcome }),
    }),
  )
  drills.schedule()
  const archive = opened.adopt(
    new ArchiveService({
      state,
      propose,
      orders,
      nodes,
      operations,
      audit,
      clock,
      rng,
      log,
      policy: config.archive,
      transitions: metrics.counter({
        name: 'archive_transitions_total',
        help: 'Tenants that went to another stage of the archive, or came back.',
        labels: ['to'],
      }),
      reopenSeconds: metrics.histogram({
        name: 'archive_reopen_seconds',
        help: 'From the first request for an archived tenant to its opening.',
      }),
    }),
    (it) => it.close(),
  )
  archive.start()
  const sweep = opened.adopt(
    new SweepService({
      state,
      propose,
      orders,
      nodes,
      audit,
      store: objectStore,
      objectPrefix: config.objectPrefix,
      clock,
      rng,
      log,
      policy: { ...defaultSweepPolicy, ...config.sweep },
      isLeader: () => driver.status.role === 'leader',
      ...sweepMetrics(metrics),
    }),
    (it) => it.close(),
  )
  sweep.start()
  const routes = new RouteTable(
    state,
    nodes,
    (tenant) => transit.isMoving(tenant),
    (tenant) => archive.used(tenant),
  )
  const feed = routeFeed(state, routes, publisher)
  tellGateways = (tenant) => feed.tenantChanged(tenant)
  store.onChange((changes) => {
    for (const tenant of changes.tenants) feed.tenantChanged(tenant)
    for (const node of changes.nodes) feed.nodeChanged(node)
  })
  serveEndpoints(server, {
    state,
    nodes,
    tenants,
    moves,
    standbys,
    transit,
    routes,
    timings,
    read: () => driver.read(),
  })
  opened.use(everyInterval(clock, timings.heartbeatMs, () => nodes.check()))
  const reconciler = opened.use(
    startReconciler({ tenants, moves, operations }, { clock, log, intervalMs: timings.reconcileMs }),
  )
  opened.defer(() => orders.close()) // before the reconciler, which waits for them
  nodes.onAway((tenant) => feed.tenantChanged(tenant))
  nodes.onChange((node) => {
    feed.nodeChanged(node)
    reconciler.hurry()
  })

  const auth = new AdminAuth(admins)
  let httpUrl = ''
  const directory = (): Directory => ({
    version: 1,
    members: [
      {
        id: config.nodeId,
        httpUrl,
        ipcAddress: advertised(server.address, config.advertiseHost),
        pubAddress: advertised(publisher.address, config.advertiseHost),
        isLeader: driver.status.role === 'leader',
      },
    ],
  })
  const { secrets } = config
  const app = controlPlaneApp({
    driver,
    state,
    nodes,
    auth,
    metrics,
    secrets,
    clock,
    directory,
    tenants,
    moves,
    adoption,
    operations,
    timeTravel,
    drills,
    store: config,
    archive,
    orphans: new OrphanService({ nodes, orders, audit, log }),
    audit,
    sweep,
    costs: new CostService({ state, nodes, orders, timeTravel, prices: config.prices, log }),
    admins,
    log,
  })
  registerMetrics(metrics, driver, state, nodes)
  registerDrillMetrics(metrics, state, clock)
  const http = listen(app, config)
  opened.defer(async () => {
    await http.stop(true)
  })
  httpUrl = advertised(`http://${hostPort(config.httpListen.host, http.port)}`, config.advertiseHost)
  log.info('control plane started', { id: config.nodeId, http: httpUrl, tenants: state.tenants.count })
  const all = opened.move()
  return {
    httpUrl,
    ipcAddress: advertised(server.address, config.advertiseHost),
    ipcPubAddress: advertised(publisher.address, config.advertiseHost),
    firstAdminToken,
    failed: driver.failed,
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  }
}

async function firstAdmin(admins: AdminService, state: StateReader, email: string): Promise<string | null> {
  if (state.admins.count > 0) return null
  const made = await admins.create({ email, name: email.split('@')[0]! }, systemActor, { onlyFirst: true })
  return made.ok ? made.value.token : null
}

function listen(
  app: ReturnType<typeof controlPlaneApp>,
  config: ControlPlaneConfig,
): { port: number; stop(force: boolean): unknown } {
  const { host, port } = config.httpListen
  try {
    const server = app.listen({ hostname: host, port, reusePort: false }).server
    if (server?.port === undefined) throw new ListenError('the listener has no port')
    return { port: server.port, stop: (force) => server.stop(force) }
  } catch (cause) {
    throw new ListenError(`cannot listen on ${hostPort(host, port)}: ${errorMessage(cause)}`, { cause })
  }
}

function hostPort(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/** An address with the host that others should use: the one given, else loopback in place of "every interface". */
function advertised(address: string, host: string | null): string {
  const match = /^(tcp|http):\/\/(.+):(\d+)$/.exec(address)
  if (match === null) return address
  const [, scheme, bound, port] = match
  const isEvery = bound === '0.0.0.0' || bound === '[::]' || bound === '*'
  const named = host?.includes(':') && !host.startsWith('[') ? `[${host}]` : host
  return `${scheme}://${named ?? (isEvery ? '127.0.0.1' : bound)}:${port}`
}

function everyInterval(clock: Clock, intervalMs: number, work: () => void): Disposable {
  let cancel: Cancel = () => {}
  const again = () => {
    cancel = clock.setTimer(intervalMs, () => {
      work()
      again()
    })
  }
  again()
  return { [Symbol.dispose]: () => cancel() }
}

/** Looks for unfinished work at an interval, and at once when told to hurry; one look at a time. */
function startReconciler(
  {
    tenants,
    moves,
    operations,
  }: { readonly tenants: TenantService; readonly moves: TenantMoves; readonly operations: OperationService },
  { clock, log, intervalMs }: { readonly clock: Clock; readonly log: Logger; readonly intervalMs: number },
): AsyncDisposable & { hurry(): void } {
  const closing = new AbortController()
  let wake: () => void = () => {}
  let isHurried = false
  const run = async () => {
    while (!closing.signal.aborted) {
      operations.resumeAll()
      await tenants.reconcile().catch((error) => log.error('reconciler failed', { error }))
      const woken = Promise.withResolvers<void>()
      wake = woken.resolve
      if (isHurried) woken.resolve()
      isHurried = false
      const pause = new AbortController()
      const any = AbortSignal.any([pause.signal, closing.signal])
      await Promise.race([woken.promise, sleep(clock, intervalMs, any).catch(() => {})])
      pause.abort()
    }
  }
  const running = run()
  return {
    hurry() {
      isHurried = true
      wake()
    },
    async [Symbol.asyncDispose]() {
      moves.close()
      tenants.close()
      closing.abort()
      await running
    },
  }
}

function registerMetrics(
  metrics: Metrics,
  driver: RaftDriver<Outcome | null>,
  state: StateReader,
  nodes: NodeService,
): void {
  metrics.gauge({ name: 'cp_raft_is_leader', help: '1 while this member leads.' }, (set) =>
    set(driver.status.role === 'leader' ? 1 : 0),
  )
  metrics.gauge({ name: 'cp_nodes', help: 'Tenant nodes by state.', labels: ['state'] }, (set) => {
    const counts = { healthy: 0, degraded: 0, down: 0 }
    for (const node of nodes.list()) counts[node.state]++
    for (const [name, count] of Object.entries(counts)) set(count, { state: name })
  })
  metrics.gauge({ name: 'cp_tenants', help: 'Tenants by status.', labels: ['status'] }, (set) => {
    const counts: Record<string, number> = { created: 0, active: 0, suspended: 0, archived: 0 }
    for (const { status } of state.tenants.all()) counts[status] = (counts[status] ?? 0) + 1
    for (const [name, count] of Object.entries(counts)) set(count, { status: name })
  })
}

function sweepMetrics(metrics: Metrics) {
  return {
    objectsDeleted: metrics.counter({
      name: 'sweep_objects_deleted_total',
      help: 'Objects that nobody needed any more.',
    }),
    bytesDeleted: metrics.counter({ name: 'sweep_bytes_deleted_total', help: 'Bytes of objects that nobody needed.' }),
    uploadsEnded: metrics.counter({ name: 'sweep_uploads_ended_total', help: 'Uploads that were never finished.' }),
    kept: metrics.counter({ name: 'sweep_kept_total', help: 'Leftovers that turned out to be in use.' }),
  }
}

/** Read at each scrape from the state: every member says the same. */
function registerDrillMetrics(metrics: Metrics, state: StateReader, clock: Clock): void {
  metrics.gauge({ name: 'restore_drill_failed_tenants', help: 'Tenants whose last restore drill failed.' }, (set) => {
    let failed = 0
    for (const { failure } of state.drills.all()) if (failure !== null) failed++
    set(failed)
  })
  metrics.gauge({ name: 'restore_unproven_tenants', help: 'Active tenants that no drill has proven yet.' }, (set) => {
    let unproven = 0
    for (const { id, status } of state.tenants.all())
      if (status === 'active' && !state.drills.get(id)?.proven) unproven++
    set(unproven)
  })
  metrics.gauge({ name: 'restore_proven_age_seconds', help: 'Age of the oldest last proven restore.' }, (set) => {
    let oldestMs = clock.now()
    for (const { proven } of state.drills.all()) if (proven !== null) oldestMs = Math.min(oldestMs, proven.atMs)
    set(Math.max(0, clock.now() - oldestMs) / 1_000)
  })
}
