// Goal: a member over real HTTP, real ZeroMQ and real RocksDB makes, moves, changes, deletes and adopts tenants, refuses
// what it must, and knows everything again after a restart.
// Method: nodes are played by the test over the same IPC that real ones use; the object store is in memory.

import { afterAll, afterEach, expect, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { until } from '../../test/support/wait.ts'
import { openRpcClient } from '../ipc/client.ts'
import { gatewayConversation, nodeConversation, orderConversation } from '../ipc/conversation.ts'
import { RpcRefusal } from '../ipc/errors.ts'
import { clusterSecrets } from '../ipc/keys.ts'
import type { NodeOrder, OrderReplies } from '../ipc/messages/cp-node.ts'
import type { Cut, TenantJob } from '../ipc/messages/jobs.ts'
import type { TenantSpec } from '../ipc/messages/tenant.ts'
import { type Handlers, openRpcServer } from '../ipc/server.ts'
import { openMessaging } from '../ipc/zmq/context.ts'
import type { NodeId, TenantId, Txid } from '../lib/brand.ts'
import { utf8 } from '../lib/bytes.ts'
import { systemClock as clock } from '../lib/clock.ts'
import { MemoryObjectStore } from '../lib/object-store/memory.ts'
import { noReading } from '../lib/object-store/metered.ts'
import { createLogger, type Logger, silentLogger as log } from '../lib/obs/log.ts'
import { Metrics } from '../lib/obs/metrics.ts'
import { systemRng as rng } from '../lib/rng.ts'
import { encodeLtxHeader } from '../replicate/ltx/header.ts'
import type { ControlPlane } from './config.ts'
import { openControlPlane } from './control-plane.ts'
import { defaultPrices } from './services/prices.ts'

const secrets = clusterSecrets('a cluster secret that is long enough for this')
const opened: (() => unknown)[] = []
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close()
})

const root = mkdtempSync(join(tmpdir(), 'pf-cp-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))

const folder = () => mkdtempSync(join(root, 'member-'))

/** A node that is silent for so long is down, ms: only where a test stops one, since a busy machine is silent, too. */
const downAfterMs = 1_500

interface StartOptions {
  readonly objectStore?: MemoryObjectStore
  readonly log?: Logger
  readonly downAfterMs?: number
}

async function start(dir: string, options: StartOptions = {}): Promise<ControlPlane> {
  const { objectStore = new MemoryObjectStore(), downAfterMs = 60_000 } = options
  const member = await openControlPlane(
    {
      nodeId: 'cp-1',
      dir,
      httpListen: { host: '127.0.0.1', port: 0 },
      ipcBind: 'tcp://127.0.0.1:0',
      ipcPubBind: 'tcp://127.0.0.1:0',
      advertiseHost: null,
      raftPeers: [],
      secrets,
      baseDomain: 'fleet.test',
      publicUrl: { scheme: 'http', port: 8090 },
      objectPrefix: '',
      storeLocation: { kind: 'file', dir: '/srv/objects' },
      prices: defaultPrices,
      isCreateOnlyAtomic: true,
      archive: { infrequentAfterDays: 7, archiveAfterDays: 90, infrequentClass: 'IA', archiveClass: 'GIR' },
      createAdmin: 'root@fleet.test',
      timings: { heartbeatMs: 50, degradedAfterMs: downAfterMs / 2, downAfterMs, reconcileMs: 100, orderMs: 3_000 },
    },
    { clock, rng, log: options.log ?? log, metrics: new Metrics(), objectStore },
  )
  opened.push(() => member[Symbol.asyncDispose]())
  return member
}

/** A node that does what it is told and writes it down. */
async function playNode(
  member: ControlPlane,
  id: string,
  behave: {
    failCreates?: number
    failOpens?: number
    unshipped?: number
    job?: (job: TenantJob) => OrderReplies['job.run'] | null
  } = {},
) {
  const messaging = openMessaging({ role: 'node', secrets, log })
  opened.push(() => messaging.close())
  const orders: NodeOrder[] = []
  const server = openRpcServer({ messaging, clock, log, bind: 'tcp://127.0.0.1:0', allow: ['control-plane'] })
  let failures = behave.failCreates ?? 0
  let failOpens = behave.failOpens ?? 0
  let unshipped = behave.unshipped ?? 0
  const handlers: Handlers<NodeOrder, OrderReplies> = {
    'tenant.create': (order) => {
      orders.push(order)
      if (failures-- > 0) throw new Error('no disk')
      return { created: true, setupPath: order.superuser ? null : '/_/#/pbinstal/token' }
    },
    'tenant.release': (order) => {
      orders.push(order)
      if (unshipped-- > 0) throw new RpcRefusal('tail_not_shipped', 'commits are here alone')
      return { released: true }
    },
    'tenant.update': (order) => {
      orders.push(order)
      return { ok: true }
    },
    'superuser.upsert': (order) => {
      orders.push(order)
      return { created: true }
    },
    'tenant.open': (order) => {
      orders.push(order)
      if (failOpens-- > 0) throw new Error('too few standbys answer')
      return { opened: true }
    },
    'tenant.meter': () => ({ sinceMs: 1_700_000_000_000, reading: { ...noReading, bytesSent: 7 } }),
    'job.run': (order) => {
      if (order.job.type === 'warm') return { state: 'done', report: { databases: [] } }
      orders.push(order)
      const progress = { step: 'waiting', done: 0, total: null }
      return behave.job?.(order.job) ?? { state: 'running', progress }
    },
    'job.stop': (order) => {
      orders.push(order)
      return { stopped: true }
    },
    'orphan.list': () => ({
      orphans: [
        {
          name: 'abcdefghij12345-1700000000000',
          tenantId: 'abcdefghij12345' as TenantId,
          takenAtMs: 1_700_000_000_000,
          files: [{ name: 'data.db-wal', sizeBytes: 600_000 }],
        },
      ],
    }),
    'orphan.read': ({ from, to }) => ({ bytes: new Uint8Array(Math.max(0, Math.min(to, 600_000) - from)).fill(7) }),
    'orphan.remove': () => {
      throw new RpcRefusal('orphan_not_found', 'there is none')
    },
    'node.drain': (order) => {
      orders.push(order)
      return { draining: true }
    },
  }
  server.serve(orderConversation, handlers)
  const client = openRpcClient({
    messaging,
    clock,
    log,
    conversation: nodeConversation,
    connect: member.ipcAddress,
    serverRole: 'control-plane',
  })
  const nodeId = id as NodeId
  const workers = [0, 1].map((index) => ({ index, url: `http://127.0.0.1:${9000 + index}` }))
  const load = {
    tenantsOpen: 0,
    cpu: 0,
    memoryBytes: 1,
    diskFreeBytes: 1,
    requestsPerSecond: 0,
    replicationLagMsMax: 0,
  }
  await client.request(
    {
      type: 'node.register',
      nodeId,
      incarnation: id,
      ipcAddress: server.address,
      workers,
      tenantsMax: 100,
      version: '1',
      featureLevel: 1,
      region: 'local',
      zone: 'local',
      labels: {},
    },
    { deadlineMs: 5_000 },
  )
  const beat = setInterval(() => {
    client
      .request(
        { type: 'node.heartbeat', nodeId, incarnation: id, workers, load, draining: false },
        { deadlineMs: 1_000 },
      )
      .catch(() => {})
  }, 40)
  let isStopped = false
  const stop = () => {
    if (isStopped) return
    isStopped = true
    clearInterval(beat)
    client.close()
    server.close()
  }
  opened.push(stop)
  return { orders, client, stop, nodeId }
}

const api = (member: ControlPlane, token: string | null) => async (method: string, path: string, body?: unknown) => {
  const response = await fetch(member.httpUrl + path, {
    method,
    headers: { ...(token && { authorization: `Bearer ${token}` }), 'content-type': 'application/json' },
    ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  })
  const text = await response.text()
  // biome-ignore lint/suspicious/noExplicitAny: answers are compared field by field
  return { status: response.status, body: (text === '' ? null : JSON.parse(text)) as any }
}

test('a tenant is made, found, changed, survives a restart, and is deleted', async () => {
  const dir = folder()
  const member = await start(dir)
  const token = member.firstAdminToken!
  expect(token).toMatch(/^admin_[A-Za-z0-9]{32}$/)
  const call = api(member, token)
  const node = await playNode(member, 'node-1')

  const superuser = { email: 'me@example.com', password: 'a long password' }
  const made = await call('POST', '/api/cp/tenants', { id: 'acme', domain: 'Shop.example.com', superuser })
  expect(made.status).toBe(201)
  expect(made.body).toMatchObject({ slug: 'acme', status: 'active', domains: ['shop.example.com'] })
  expect(made.body.setupUrl).toBeUndefined()
  expect(made.body.placement).toMatchObject({ nodeId: 'node-1', epoch: 1 })
  const order = node.orders[0]!
  if (order.type !== 'tenant.create') throw new Error('wrong order')
  expect(order.superuser!.passwordHash).toMatch(/^\$2[ab]\$10\$/)
  expect(await Bun.password.verify(superuser.password, order.superuser!.passwordHash)).toBe(true)

  const bare = await call('POST', '/api/cp/tenants', { id: 'bare' })
  expect(bare.body.setupUrl).toBe('http://bare.fleet.test:8090/_/#/pbinstal/token')

  const gateway = openMessaging({ role: 'gateway', secrets, log })
  opened.push(() => gateway.close())
  const routes = openRpcClient({
    messaging: gateway,
    clock,
    log,
    conversation: gatewayConversation,
    connect: member.ipcAddress,
    serverRole: 'control-plane',
  })
  const resolve = (key: Parameters<typeof routes.request>[0]['key']) =>
    routes.request({ type: 'route.resolve', key }, { deadlineMs: 60_000 })
  const id = made.body.id as TenantId
  for (const key of [
    { kind: 'slug', slug: 'acme' },
    { kind: 'domain', domain: 'shop.example.com' },
    { kind: 'reference', reference: id },
    { kind: 'reference', reference: 'acme' },
  ] as const)
    expect(await resolve(key)).toMatchObject({ found: 'route', route: { tenantId: id, epoch: 1, nodeId: 'node-1' } })
  expect(await resolve({ kind: 'slug', slug: 'nobody' })).toEqual({ found: 'unknown' })
  const placement = await node.client.request(
    { type: 'placement.get', nodeId: node.nodeId, tenantId: id },
    { deadlineMs: 60_000 },
  )
  expect(placement).toMatchObject({ tenant: { id, slug: 'acme' }, placement: { epoch: 1 } })
  const other = { type: 'placement.get', nodeId: 'node-9' as NodeId, tenantId: id } as const
  expect(await node.client.request(other, { deadlineMs: 60_000 })).toEqual({ tenant: null })

  expect((await call('PATCH', `/api/cp/tenants/acme`, { slug: 'acme2', plan: 'small' })).body).toMatchObject({
    slug: 'acme2',
    plan: 'small',
    quotas: { storageBytesMax: 100_000_000 },
  })
  expect(node.orders.at(-1)).toMatchObject({ type: 'tenant.update', tenant: { slug: 'acme2' } })
  expect((await call('PATCH', `/api/cp/tenants/${id}`, { status: 'suspended' })).body.status).toBe('suspended')
  expect(await resolve({ kind: 'slug', slug: 'acme2' })).toMatchObject({ found: 'unavailable', reason: 'suspended' })
  expect((await call('POST', `/api/cp/tenants/bare/superusers`, superuser)).body).toMatchObject({ created: true })

  node.stop()
  await member[Symbol.asyncDispose]()
  const again = await start(dir)
  expect(again.firstAdminToken).toBeNull()
  const callAgain = api(again, token)
  const list = await callAgain('GET', '/api/cp/tenants?sort=-slug&perPage=1')
  expect(list.body).toMatchObject({ page: 1, perPage: 1, totalItems: 2, totalPages: 2 })
  expect(list.body.items[0].slug).toBe('bare')
  const node2 = await playNode(again, 'node-1')
  expect((await callAgain('DELETE', '/api/cp/tenants/acme2')).status).toBe(204)
  // The reconciler may find it half deleted, and order the same again.
  expect(node2.orders.length).toBeGreaterThan(0)
  for (const each of node2.orders) expect(each).toMatchObject({ type: 'tenant.release', tenantId: id, epoch: 1 })
  expect((await callAgain('GET', `/api/cp/tenants/${id}`)).status).toBe(404)
  expect((await callAgain('POST', '/api/cp/tenants', { id: 'acme2' })).status).toBe(201)
})

test('strangers and bad input get a clear error', async () => {
  const member = await start(folder())
  const call = api(member, member.firstAdminToken)
  for (const token of [null, 'admin_wrong', `admin_${'x'.repeat(32)}`, `${member.firstAdminToken}x`]) {
    const refused = await api(member, token)('GET', '/api/cp/tenants')
    expect(refused).toMatchObject({ status: 401, body: { status: 401, data: {} } })
    expect((await api(member, token)('POST', '/api/cp/tenants', '{broken')).status).toBe(401)
    expect((await api(member, token)('GET', '/api/cp/raft/status')).status).toBe(401)
    expect((await api(member, token)('GET', '/api/cp/ipc')).status).toBe(401)
  }
  const open = await api(member, null)('GET', '/api/cp/health')
  expect(open).toMatchObject({ status: 200, body: { data: {} } })
  expect((await call('GET', '/api/cp/health')).body.data).toMatchObject({ role: 'leader', tenants: 0 })
  expect((await call('POST', '/api/cp/tenants', '{broken')).status).toBe(400)
  expect((await call('POST', '/api/cp/tenants', {})).body).toMatchObject({ status: 400, data: { id: {} } })
  const tooLarge = await call('POST', '/api/cp/tenants', 'x'.repeat(2_000_000))
  expect(tooLarge).toMatchObject({ status: 413, body: { status: 413, data: {} } })
  const form = await fetch(`${member.httpUrl}/api/cp/tenants`, {
    method: 'POST',
    headers: { authorization: `Bearer ${member.firstAdminToken}` },
    body: new URLSearchParams({ id: 'acme' }),
  })
  expect(form.status).toBe(415)
  for (const id of ['../x', 'a b', 'admin', '-a', 'a'.repeat(64)])
    expect([id, (await call('POST', '/api/cp/tenants', { id })).status]).toEqual([id, 400])
  const short = { id: 'ok', superuser: { email: 'a@b.c', password: 'short' } }
  expect((await call('POST', '/api/cp/tenants', short)).body.data).toHaveProperty('password')
  expect((await call('GET', '/api/cp/tenants/nobody')).status).toBe(404)
  expect((await call('GET', '/api/cp/nothing')).status).toBe(404)
  expect((await call('GET', '/api/cp/tenants?sort=__proto__')).status).toBe(200) // nothing to sort
  expect((await call('POST', '/api/cp/tenants/adopt', { reference: 'nobody' })).status).toBe(404)
  const metrics = await fetch(`${member.httpUrl}/metrics`)
  expect(await metrics.text()).toContain('pocketfleet_cp_raft_is_leader 1')
})

test('a second process cannot open the directory; several members are refused', async () => {
  const dir = folder()
  await start(dir)
  await expect(start(dir)).rejects.toMatchObject({ code: 'rocksdb' })
})

test('admins come and go, but neither oneself nor the last', async () => {
  const member = await start(folder())
  const call = api(member, member.firstAdminToken)
  const made = await call('POST', '/api/cluster/admins', { email: 'two@fleet.test', name: 'Two' })
  expect(made.status).toBe(201)
  expect((await call('POST', '/api/cluster/admins', { email: 'two@fleet.test' })).status).toBe(409)
  const list = await call('GET', '/api/cp/admins')
  expect(list.body.items.map(({ email }: { email: string }) => email)).toEqual(['root@fleet.test', 'two@fleet.test'])
  expect(JSON.stringify(list.body)).not.toContain('token')
  const two = api(member, made.body.token)
  expect((await two('DELETE', `/api/cluster/admins/${made.body.id}`)).status).toBe(400)
  expect((await two('DELETE', `/api/cluster/admins/${list.body.items[0].id}`)).status).toBe(204)
  expect((await call('GET', '/api/cp/tenants')).status).toBe(401)
  expect((await two('GET', '/api/cp/tenants')).status).toBe(200)
})

test('a creation that the node failed is finished later, with the same superuser', async () => {
  const member = await start(folder())
  const call = api(member, member.firstAdminToken)
  const node = await playNode(member, 'node-1', { failCreates: 2 })
  const superuser = { email: 'me@example.com', password: 'a long password' }
  const made = await call('POST', '/api/cp/tenants', { id: 'slow', superuser })
  expect(made.status).toBe(503)
  await until('activation', async () => (await call('GET', '/api/cp/tenants/slow')).body.status === 'active')
  const creates = node.orders.filter((order) => order.type === 'tenant.create')
  expect(creates.length).toBe(3)
  expect(creates[2]).toEqual(creates[0]!)
})

test('tenants leave a node that is drained or down, under a higher epoch', async () => {
  const member = await start(folder(), { downAfterMs })
  const call = api(member, member.firstAdminToken)
  const one = await playNode(member, 'node-1')
  await call('POST', '/api/cp/tenants', { id: 'a' })
  await call('POST', '/api/cp/tenants', { id: 'b' })
  const two = await playNode(member, 'node-2')
  const placed = async (slug: string) => (await call('GET', `/api/cp/tenants/${slug}`)).body.placement
  const moved = await call('POST', '/api/cp/tenants/a/migrate', { node: 'node-2' })
  expect(moved.body.placement).toMatchObject({ nodeId: 'node-2', epoch: 2 })
  expect(one.orders.at(-1)).toMatchObject({ type: 'tenant.release', epoch: 1 })
  expect((await call('POST', '/api/cp/tenants/a/migrate', { node: 'node-2' })).status).toBe(409)

  two.stop() // its disk is gone
  await until('failover', async () => (await placed('a')).nodeId === 'node-1')
  expect(await placed('a')).toMatchObject({ epoch: 3 })
  one.stop() // nobody else is left: the placement stays
  await until('down', async () => (await call('GET', '/api/cp/nodes/node-1')).body.state === 'down')
  expect(await placed('a')).toMatchObject({ nodeId: 'node-1', epoch: 3 })

  const three = await playNode(member, 'node-3')
  await until('failover of all', async () => (await placed('b')).nodeId === 'node-3')
  await playNode(member, 'node-4')
  expect((await call('POST', '/api/cp/nodes/node-3/drain')).status).toBe(202)
  await until('drained', async () => (await call('GET', '/api/cp/nodes/node-3')).body.tenants === 0)
  expect(await placed('b')).toMatchObject({ nodeId: 'node-4', epoch: 3 })
  expect(three.orders.filter(({ type }) => type === 'tenant.release').length).toBe(2)
  expect((await call('DELETE', '/api/cp/nodes/node-4')).status).toBe(409)
  expect((await call('DELETE', '/api/cp/nodes/node-1')).status).toBe(204)
})

test('a tenant that is deleted while its node is down waits for nobody', async () => {
  const member = await start(folder(), { downAfterMs })
  const call = api(member, member.firstAdminToken)
  const one = await playNode(member, 'node-1')
  const { id } = (await call('POST', '/api/cp/tenants', { id: 'gone' })).body
  one.stop() // for good
  await until('down', async () => (await call('GET', '/api/cp/nodes/node-1')).body.state === 'down')
  expect((await call('DELETE', '/api/cp/tenants/gone')).status).toBe(204)
  expect((await call('GET', '/api/cp/sweep')).body.items).toMatchObject([{ tenant: id, phase: 'released' }])
  expect((await call('DELETE', '/api/cp/nodes/node-1')).status).toBe(204)
})

test('how long restore points stay is told to the node, and taken back', async () => {
  const member = await start(folder())
  const call = api(member, member.firstAdminToken)
  const one = await playNode(member, 'node-1')
  expect((await call('POST', '/api/cp/tenants', { id: 'kept' })).body.keepPointsHours).toBeNull()
  const told = () => one.orders.findLast(({ type }) => type === 'tenant.update') as { tenant: TenantSpec } | undefined
  expect((await call('PATCH', '/api/cp/tenants/kept', { keepPointsHours: 48 })).body.keepPointsHours).toBe(48)
  await until('the node to be told', () => told()?.tenant.keepEveryMs === 48 * 3_600_000)
  for (const bad of [0, 721, 1.5, 'x']) {
    const { status } = await call('PATCH', '/api/cp/tenants/kept', { keepPointsHours: bad })
    expect(status).toBe(400)
  }
  expect((await call('PATCH', '/api/cp/tenants/kept', { keepPointsHours: null })).body.keepPointsHours).toBeNull()
  await until('the node to be told again', () => told()?.tenant.keepEveryMs === undefined)
})

test('a node that holds commits of a crash ships them before it lets go', async () => {
  const member = await start(folder())
  const call = api(member, member.firstAdminToken)
  const one = await playNode(member, 'node-1', { unshipped: 1 })
  await call('POST', '/api/cp/tenants', { id: 'a' })
  await playNode(member, 'node-2')
  await call('POST', '/api/cp/nodes/node-1/drain')
  await until('the move', async () => (await call('GET', '/api/cp/tenants/a')).body.placement.nodeId === 'node-2')
  const types = one.orders.map(({ type }) => type).filter((type) => /release|open/.test(type))
  expect(types).toEqual(['tenant.release', 'tenant.open', 'tenant.release'])
}, 180_000)

test('standbys of a dead owner are not forgotten before its successor has asked them', async () => {
  const member = await start(folder(), { downAfterMs })
  const call = api(member, member.firstAdminToken)
  // Whichever is the heir, its first attempts fail.
  const job = ({ type }: TenantJob) => (type === 'cut' ? { state: 'done' as const, report: cut } : null)
  const first = await playNode(member, 'node-1', { failOpens: 2, job })
  const second = await playNode(member, 'node-2', { failOpens: 2, job })
  const made = await call('POST', '/api/cp/tenants', { id: 'acme', ackMode: 'quorum' })
  const [owner, heir] = made.body.placement.nodeId === 'node-1' ? [first, second] : [second, first]
  expect(made.body.placement.standbys).toEqual([heir.nodeId])
  owner.stop()
  await until('the heir to have it', async () => {
    const { placement } = (await call('GET', '/api/cp/tenants/acme')).body
    return placement.nodeId === heir.nodeId
  })
  // Nobody has opened it there yet; a third node comes, and could stand by.
  heir.orders.length = 0
  await playNode(member, 'node-3')
  await until('a standby', async () => {
    const { placement } = (await call('GET', '/api/cp/tenants/acme')).body
    return placement.standbys.length === 1
  })
  const types = heir.orders.map(({ type }) => type)
  const released = types.indexOf('tenant.release')
  expect(types.slice(0, released)).toContain('tenant.open')
  expect(types.filter((type) => type === 'tenant.release')).toHaveLength(1)
  // Nor does a fork of now leave out what only they hold.
  heir.orders.length = 0
  expect((await call('POST', '/api/cp/tenants/acme/fork', { id: 'copy' })).status).toBe(202)
  expect(heir.orders.slice(0, 2).map(({ type }) => type)).toEqual(['tenant.open', 'job.run'])
}, 180_000)

test('a forced takeover needs the word for it, and the log says whose it was', async () => {
  const lines: string[] = []
  const sink = { write: (line: string) => void lines.push(line) }
  const member = await start(folder(), {
    log: createLogger({ level: 'warn', format: 'json', now: clock.now, sink }),
  })
  const call = api(member, member.firstAdminToken)
  await playNode(member, 'node-1')
  await call('POST', '/api/cp/tenants', { id: 'acme' })
  expect((await call('POST', '/api/cp/tenants/acme/force-takeover', {})).status).toBe(400)
  const forced = await call('POST', '/api/cp/tenants/acme/force-takeover', { acceptLoss: true })
  expect(forced.body.placement).toMatchObject({ nodeId: 'node-1', epoch: 2 })
  const said = lines.map((line) => JSON.parse(line)).filter(({ event }) => /takeover was forced/.test(event))
  expect(said).toMatchObject([{ tenant: forced.body.id, admin: expect.stringContaining('root@fleet.test'), epoch: 1 }])
})

test('orphans of all nodes are listed, downloaded piece by piece, and removed where they are', async () => {
  const member = await start(folder(), { downAfterMs })
  const call = api(member, member.firstAdminToken)
  await playNode(member, 'node-1')
  const two = await playNode(member, 'node-2')
  const both = await call('GET', '/api/cp/orphans')
  expect(both.body).toMatchObject({ totalItems: 2, nodesMissing: [] })
  const { name } = both.body.items[0]
  const authorization = `Bearer ${member.firstAdminToken}`
  const get = (path: string) => fetch(`${member.httpUrl}/api/cp/orphans/${path}`, { headers: { authorization } })
  const wal = await get(`node-1/${name}/data.db-wal`)
  expect((await wal.bytes()).length).toBe(600_000)
  for (const path of [`node-1/${name}/secret`, 'node-1/..%2F..%2Fetc/data.db', 'node-1/x/data.db'])
    expect((await get(path)).status).toBeGreaterThanOrEqual(400)
  expect((await call('DELETE', `/api/cp/orphans/node-1/${name}`)).status).toBe(404)
  expect((await fetch(`${member.httpUrl}/api/cp/orphans`)).status).toBe(401)
  two.stop()
  await until('down', async () => (await call('GET', '/api/cp/nodes/node-2')).body.state === 'down')
  expect((await call('GET', '/api/cp/orphans')).body).toMatchObject({ totalItems: 1, nodesMissing: ['node-2'] })
}, 180_000)

test('a tenant is adopted from the object store above its highest epoch', async () => {
  const store = new MemoryObjectStore()
  const id = 'abcdefghij12345' as TenantId
  const tenant = { id, slug: 'old', domains: [], plan: 'small', ackMode: 'sync', createdAtMs: 1_700_000_000_000 }
  await store.put(`t/${id}/manifest.json`, utf8(JSON.stringify({ version: 1, tenant })))
  const member = await start(folder(), { objectStore: store })
  const call = api(member, member.firstAdminToken)
  await playNode(member, 'node-1')
  expect((await call('POST', '/api/cp/tenants/adopt', { reference: 'old' })).status).toBe(409) // no history
  for (const [txid, epoch] of [
    [1, 1],
    [2, 7],
  ] as const) {
    const header = encodeLtxHeader({
      pageSize: 4096,
      commit: 1,
      minTxid: txid as Txid,
      maxTxid: txid as Txid,
      timestampMs: 1,
      walOffset: 32,
      walSize: 0,
      walSalt1: 0,
      walSalt2: 0,
      writer: { epoch, incarnation: 1 },
    })
    const name = txid.toString(16).padStart(16, '0')
    const folderName = store.layout === 'file' ? 'ltx/0' : '0000'
    await store.put(`t/${id}/data.db/${folderName}/${name}-${name}.ltx`, header)
  }
  const adopted = await call('POST', '/api/cp/tenants/adopt', { reference: 'old' })
  expect(adopted).toMatchObject({ status: 200, body: { id, slug: 'old', ackMode: 'sync', plan: 'small' } })
  expect(adopted.body.placement.epoch).toBe(8)
  expect((await call('POST', '/api/cp/tenants/adopt', { reference: id })).status).toBe(409)
})

const cut: Cut = { atMs: 1_700_000_000_000, data: 9 as Txid, hooks: 1 as Txid, auxiliary: 2 as Txid }

test('a restore is decided first and carried out until the node has done it, across a restart', async () => {
  const dir = folder()
  const member = await start(dir)
  const token = member.firstAdminToken!
  const call = api(member, token)
  const node = await playNode(member, 'node-1', {
    job: (job) => (job.type === 'cut' ? { state: 'done', report: cut } : null),
  })
  const made = await call('POST', '/api/cp/tenants', { id: 'acme' })
  const started = await call('POST', '/api/cp/tenants/acme/restore', { at: '2026-01-31T12:00:00Z' })
  expect(started).toMatchObject({ status: 202, body: { kind: 'restore', state: 'running', tenant: made.body.id } })
  expect(node.orders.find((order) => order.type === 'job.run')).toMatchObject({
    job: { type: 'cut', wish: { type: 'time', atMs: Date.UTC(2026, 0, 31, 12) } },
  })
  expect((await call('POST', '/api/cp/tenants/acme/restore', { txid: 5 })).status).toBe(409)
  expect((await call('POST', '/api/cp/tenants/acme/migrate', {})).status).toBe(409)
  await until('the order', () => node.orders.some((each) => each.type === 'job.run' && each.job.type === 'restore'))

  node.stop()
  await member[Symbol.asyncDispose]()
  const again = await start(dir)
  const callAgain = api(again, token)
  const path = `/api/cp/tenants/acme/operations/${started.body.id}`
  expect((await callAgain('GET', path)).body).toMatchObject({ state: 'running' })
  let failures = 2
  const report = { cut, dataTxid: 12 as Txid, filesReleased: 3 }
  const node2 = await playNode(again, 'node-1', {
    job: (job) => {
      if (job.type !== 'restore') return null
      if (failures-- > 0) return { state: 'failed', code: 'object_store', message: 'away' }
      return { state: 'done', report }
    },
  })
  await until('the end', async () => (await callAgain('GET', path)).body.state === 'done')
  expect((await callAgain('GET', path)).body).toMatchObject({
    report: { dataTxid: 12, filesReleased: 3, cut: { at: '2023-11-14T22:13:20.000Z', data: 9 } },
  })
  const restores = node2.orders.filter((each) => each.type === 'job.run' && each.job.type === 'restore')
  expect(restores.length).toBeGreaterThanOrEqual(3)
  expect(restores[0]).toMatchObject({ jobId: started.body.id, job: { placement: { epoch: 1 }, cut } })
}, 180_000)

test('an impossible moment is refused at once, and an impossible restore ends', async () => {
  const member = await start(folder())
  const call = api(member, member.firstAdminToken)
  await playNode(member, 'node-1', {
    job: (job) => {
      if (job.type === 'cut' && job.wish.type === 'txid') return { state: 'done', report: cut }
      if (job.type === 'cut') return { state: 'failed', code: 'no_such_point', message: 'too old' }
      if (job.type === 'restore') return { state: 'failed', code: 'corrupt_database', message: 'damaged' }
      return null
    },
  })
  await call('POST', '/api/cp/tenants', { id: 'acme' })
  const restore = (body: unknown) => call('POST', '/api/cp/tenants/acme/restore', body)
  expect(await restore({ at: '2020-01-01T00:00:00Z' })).toMatchObject({
    status: 400,
    body: { data: { at: { code: 'no_such_point' } } },
  })
  for (const body of [
    {},
    { at: 'yesterday' },
    { at: '2026-01-01T00:00:00' },
    { at: 1, txid: 1 },
    { txid: 0 },
    { at: -1 },
  ])
    expect([body, (await restore(body)).status]).toEqual([body, 400])
  const started = await restore({ txid: 7 })
  const path = `/api/cp/tenants/acme/operations/${started.body.id}`
  await until('the end', async () => (await call('GET', path)).body.state === 'failed')
  expect((await call('GET', path)).body.error).toEqual({ code: 'corrupt_database', message: 'damaged' })
  expect((await restore({ txid: 7 })).status).toBe(202) // nothing is pending any more
  await call('POST', '/api/cp/tenants', { id: 'other' })
  expect((await call('GET', `/api/cp/tenants/other/operations/${started.body.id}`)).status).toBe(404)
})

test('a fork is made by its operation; one that is impossible leaves no tenant', async () => {
  const member = await start(folder())
  const call = api(member, member.firstAdminToken)
  let outcome: OrderReplies['job.run'] = { state: 'done', report: { cut, filesCount: 1, filesBytes: 2, notes: [] } }
  const node = await playNode(member, 'node-1', {
    job: (job) => (job.type === 'cut' ? { state: 'done', report: cut } : job.type === 'fork' ? outcome : null),
  })
  const source = await call('POST', '/api/cp/tenants', { id: 'acme', plan: 'medium' })
  const forked = await call('POST', '/api/cp/tenants/acme/fork', { id: 'copy' })
  expect(forked).toMatchObject({ status: 202, body: { tenant: { slug: 'copy', plan: 'medium' } } })
  await until('activation', async () => (await call('GET', '/api/cp/tenants/copy')).body.status === 'active')
  const order = node.orders.find((each) => each.type === 'job.run' && each.job.type === 'fork')
  expect(order).toMatchObject({ tenantId: forked.body.tenant.id, job: { source: source.body.id, cut } })
  expect(node.orders.filter((each) => each.type === 'tenant.create').length).toBe(1) // the source's own
  expect((await call('POST', '/api/cp/tenants/acme/fork', { id: 'copy' })).status).toBe(409)
  expect((await call('POST', '/api/cp/tenants/acme/fork', { id: 'Not A Name' })).status).toBe(400)

  outcome = { state: 'failed', code: 'source_file_gone', message: 'gone' }
  const failed = await call('POST', '/api/cp/tenants/acme/fork', { id: 'second' })
  await until('the end', async () => (await call('GET', '/api/cp/tenants/second')).status === 404)
  expect(failed.status).toBe(202)
})

test('the cost of a tenant is that of all nodes that answer, by the price table', async () => {
  const member = await start(folder(), { downAfterMs })
  const call = api(member, member.firstAdminToken)
  const stored = [{ kind: 'history', storageClass: 'STANDARD', objects: 3, bytes: 1e9 }] as const
  const job = (each: TenantJob) =>
    each.type === 'usage' ? ({ state: 'done', report: { stored, atMs: 1_700_000_000_000 } } as const) : null
  await playNode(member, 'node-1', { job })
  await call('POST', '/api/cp/tenants', { id: 'acme' })
  const two = await playNode(member, 'node-2', { job })
  expect((await call('GET', '/api/cp/tenants/acme/cost')).body).toMatchObject({
    stored,
    requests: { since: '2023-11-14 22:13:20.000Z', bytesSent: 14, nodesMissing: [] },
    cost: { currency: 'USD', storagePerMonth: 0.023, requests: 0 },
  })
  two.stop()
  await until('down', async () => (await call('GET', '/api/cp/nodes/node-2')).body.state === 'down')
  expect((await call('GET', '/api/cp/tenants/acme/cost')).body.requests).toMatchObject({
    bytesSent: 7,
    nodesMissing: ['node-2'],
  })
  expect((await call('GET', '/api/cp/tenants/nobody/cost')).status).toBe(404)
})

test('an archived tenant comes back with its first request', async () => {
  const member = await start(folder())
  const call = api(member, member.firstAdminToken)
  const report = { objectsMoved: 2, bytesMoved: 300_000, filesDeleted: 7 }
  const node = await playNode(member, 'node-1', {
    job: (job) => (job.type === 'archive' ? { state: 'done', report } : null),
  })
  const made = await call('POST', '/api/cp/tenants', { id: 'acme' })
  expect((await call('POST', '/api/cp/tenants/acme/resume')).status).toBe(409)
  const started = await call('POST', '/api/cp/tenants/acme/archive')
  expect(started).toMatchObject({ status: 202, body: { kind: 'archive' } })
  const path = `/api/cp/tenants/acme/operations/${started.body.id}`
  await until('the end', async () => (await call('GET', path)).body.state === 'done')
  expect((await call('GET', path)).body.report).toEqual(report)
  expect(node.orders.slice(-2)).toMatchObject([
    { type: 'tenant.update', tenant: { status: 'archived' } },
    { type: 'job.run', job: { type: 'archive', stage: 'archived', storageClass: 'GIR' } },
  ])
  const archived = await call('GET', '/api/cp/tenants/acme')
  expect(archived.body).toMatchObject({ status: 'archived', archive: { stage: 'archived', reopenMs: null } })

  const gateway = openMessaging({ role: 'gateway', secrets, log })
  opened.push(() => gateway.close())
  const routes = openRpcClient({
    messaging: gateway,
    clock,
    log,
    conversation: gatewayConversation,
    connect: member.ipcAddress,
    serverRole: 'control-plane',
  })
  const resolve = () =>
    routes.request({ type: 'route.resolve', key: { kind: 'slug', slug: 'acme' } }, { deadlineMs: 60_000 })
  expect(await resolve()).toMatchObject({ found: 'unavailable', reason: 'reopening' })
  await until('its return', async () => (await resolve()).found === 'route')
  await until(
    'the time it took',
    async () => (await call('GET', '/api/cp/tenants/acme')).body.archive.reopenMs !== null,
  )
  expect((await call('GET', '/api/cp/tenants/acme')).body).toMatchObject({
    status: 'active',
    archive: { stage: 'warm' },
  })
  expect(node.orders.find((order) => order.type === 'tenant.open')).toMatchObject({ tenantId: made.body.id })
})

test('an operation that does not get through is cancelled', async () => {
  const member = await start(folder())
  const call = api(member, member.firstAdminToken)
  const node = await playNode(member, 'node-1', {
    job: (job) =>
      job.type === 'cut' ? { state: 'done', report: cut } : { state: 'failed', code: 'object_store', message: 'away' },
  })
  await call('POST', '/api/cp/tenants', { id: 'acme' })
  expect((await call('DELETE', '/api/cp/tenants/acme/operations')).status).toBe(404)
  const restore = await call('POST', '/api/cp/tenants/acme/restore', { txid: 5 })
  const path = `/api/cp/tenants/acme/operations/${restore.body.id}`
  expect((await call('DELETE', '/api/cp/tenants/acme/operations')).status).toBe(204)
  await until('its end', async () => (await call('GET', path)).body.state === 'failed')
  expect((await call('GET', path)).body.error).toEqual({ code: 'withdrawn', message: 'it was cancelled' })
  expect(node.orders.filter(({ type }) => type === 'job.stop')).toMatchObject([{ jobId: restore.body.id }])
  await call('POST', '/api/cp/tenants/acme/fork', { id: 'copy' })
  expect((await call('DELETE', '/api/cp/tenants/copy/operations')).status).toBe(204)
  expect((await call('GET', '/api/cp/tenants/copy')).status).toBe(404)
})
