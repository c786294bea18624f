// Goal: a tenant node keeps what it acknowledged, whoever of its processes dies, and never lets two owners write.
// Method: a real supervisor with real worker processes and a directory as object store; the control plane is a fake
// that speaks the real protocol over real sockets.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import PocketBase from 'pocketbase'
import { clusterSecrets } from '../../src/ipc/keys.ts'
import type { NodeId } from '../../src/lib/brand.ts'
import { systemClock as clock } from '../../src/lib/clock.ts'
import { silentLogger as log } from '../../src/lib/obs/log.ts'
import { systemRng as rng } from '../../src/lib/rng.ts'
import type { TenantNodeConfig } from '../../src/node/config.ts'
import { openTenantNode, type TenantNode } from '../../src/node/supervisor.ts'
import { FakeFleetControl } from '../support/fake-fleet-control.ts'
import { nodeConfig, testClusterSecret as secret } from '../support/node-config.ts'
import { openFiles } from '../support/processes.ts'
import { until } from '../support/wait.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const root = mkdtempSync(join(tmpdir(), 'pf-node-'))
const objects = join(root, 'objects')
const superuser = { email: 'root@example.com', password: 'a-long-password' }
let passwordHash = ''
let control: FakeFleetControl
let nodes = 0

beforeAll(async () => {
  passwordHash = (await Bun.password.hash(superuser.password, { algorithm: 'bcrypt', cost: 4 })).replace('$2b$', '$2a$')
  control = new FakeFleetControl(clusterSecrets(secret))
})

afterAll(async () => {
  await control[Symbol.asyncDispose]()
  rmSync(root, { recursive: true, force: true })
})

interface Started extends AsyncDisposable {
  readonly node: TenantNode
  readonly id: string
  readonly dir: string
  workerUrl(): string
}

async function startNode(change: Partial<TenantNodeConfig> = {}): Promise<Started> {
  const id = change.nodeId ?? `node-${++nodes}`
  const objectStore = { kind: 'file', dir: objects } as const
  const config = nodeConfig(
    { id, dir: join(root, id), controlPlane: control.url, objectStore },
    { zone: 'z', ...change },
  )
  const node = await openTenantNode(config, { clock, rng, log })
  await until(
    'the node to announce its workers',
    () => control.heartbeats.get(id as NodeId)?.workers.length === config.workers,
  )
  return {
    node,
    id,
    dir: config.dir,
    workerUrl: () => node.workers[0]!.url,
    [Symbol.asyncDispose]: () => node.close(),
  }
}

const newId = () => Array.from({ length: 15 }, () => 'abcdefghij'[Math.floor(Math.random() * 10)]).join('')

/** Creates a tenant with a public collection; @returns its id and a client of it. */
async function createTenant(started: Started, change: Parameters<FakeFleetControl['place']>[3] = {}) {
  const id = newId()
  const placed = control.place(id, started.id, 1, change)
  const reply = await control.order(started.id, {
    type: 'tenant.create',
    ...placed,
    superuser: { email: superuser.email, passwordHash },
  })
  expect(reply.created).toBe(true)
  const client = clientOf(started, id, 1)
  await client.collection('_superusers').authWithPassword(superuser.email, superuser.password)
  await client.collections.create({
    name: 'notes',
    type: 'base',
    fields: [{ name: 'text', type: 'text' }],
    listRule: '',
    viewRule: '',
    createRule: '',
  })
  return { id, client, placed }
}

function clientOf(started: Started, id: string, epoch: number): PocketBase {
  const client = new PocketBase(started.workerUrl())
  client.autoCancellation(false)
  client.beforeSend = (url, options) => ({ url, options: { ...options, fetch: control.fetchOf(id, epoch) } })
  return client
}

/** Throws when the process has gone. */
const tenantFiles = (pid: number, dir: string) =>
  openFiles(pid)!.filter((path) => path.startsWith(join(dir, 'tenants')))

const objectCount = () => [...new Bun.Glob('**/*').scanSync({ cwd: objects })].length

describe('route header', () => {
  test('a worker answers nobody without one, and nobody with a false or an old one', async () => {
    await using started = await startNode()
    const { id } = await createTenant(started)
    const url = `${started.workerUrl()}/api/health`
    expect((await fetch(url)).status).toBe(401)
    expect((await fetch(url, { headers: { 'x-pocketfleet-route': 'v1.e30.AAAA' } })).status).toBe(403)
    expect((await control.fetchOf(id, 1, -1)(url)).status).toBe(403)
    expect((await control.fetchOf(id, 2)(url)).status).toBe(421)
    expect((await control.fetchOf(newId(), 1)(url)).status).toBe(421)
    expect((await control.fetchOf(id, 1)(url)).status).toBe(200)
  }, 180_000)
})

describe('processes that die', () => {
  test('a killed worker is back with everything it acknowledged; the supervisor takes its workers along', async () => {
    const started = await startNode()
    const { id, client } = await createTenant(started)
    for (let i = 0; i < 20; i++) await client.collection('notes').create({ text: `n${i}` })
    const before = started.node.workerPids[0]!
    process.kill(before, 'SIGKILL')
    await until(
      'the worker to come back',
      () => started.node.workerPids[0] !== before && started.node.workers.length === 1,
    )
    expect((await clientOf(started, id, 1).collection('notes').getFullList()).length).toBe(20)
    await expect(startNode({ nodeId: started.id as NodeId })).rejects.toThrow('is locked by')
    await started.node.close()
    const again = await startNode({ nodeId: started.id as NodeId })
    expect((await clientOf(again, id, 1).collection('notes').getFullList()).length).toBe(20)
    await again.node.close()
  }, 180_000)
})

describe('disks that are lost', () => {
  test('a wiped node has everything that was shipped; sync writes are', async () => {
    const started = await startNode()
    const { id, client } = await createTenant(started, { ackMode: 'sync' })
    for (let i = 0; i < 10; i++) await client.collection('notes').create({ text: `n${i}` })
    const pid = started.node.workerPids[0]!
    started.node.abort()
    await until('the worker to end', () => !existsSync(`/proc/${pid}`))
    await started.node.close()
    rmSync(started.dir, { recursive: true })
    const again = await startNode({ nodeId: started.id as NodeId })
    const found = await clientOf(again, id, 1).collection('notes').getFullList()
    expect(found.map((record) => record['text']).sort()).toEqual(Array.from({ length: 10 }, (_, i) => `n${i}`).sort())
    await again.node.close()
  }, 180_000)
})

describe('two owners', () => {
  test('the earlier one is fenced by the later one and acknowledges nothing more', async () => {
    await using first = await startNode()
    await using second = await startNode()
    const { id, client } = await createTenant(first, { ackMode: 'sync' })
    await client.collection('notes').create({ text: 'before' })
    control.place(id, second.id, 2, { ackMode: 'sync' })
    const successor = clientOf(second, id, 2)
    await successor.collection('notes').create({ text: 'after' })
    // The old owner has not heard of it: only the object store stops it.
    await expect(client.collection('notes').create({ text: 'lost' })).rejects.toMatchObject({ status: 503 })
    await until('the fencing to be reported', () =>
      control.fenced.some(({ tenantId, seenEpoch }) => tenantId === id && seenEpoch === 2),
    )
    await until(
      'the old owner to send callers away',
      async () => (await control.fetchOf(id, 1)(`${first.workerUrl()}/api/health`)).status === 421,
    )
    const texts = (await successor.collection('notes').getFullList()).map((record) => record['text'])
    expect(texts.sort()).toEqual(['after', 'before'])
    expect(readdirSync(join(first.dir, 'orphans')).some((name) => name.startsWith(id))).toBe(true)
  }, 180_000)
})

describe('rest', () => {
  test('an idle tenant holds no file and causes no request, and wakes up', async () => {
    await using started = await startNode({ idleMs: 300 })
    const { id, client } = await createTenant(started)
    await client.collection('notes').create({ text: 'x' })
    const pid = started.node.workerPids[0]!
    await until('files to be open', async () => {
      await client.collection('notes').getList(1, 1)
      return tenantFiles(pid, started.dir).length > 0
    })
    await until('every file to be closed', () => tenantFiles(pid, started.dir).length === 0)
    await until('the tail to be shipped', () => existsSync(join(started.dir, 'tenants', id, 'clean')))
    const objectsAtRest = objectCount()
    await Bun.sleep(700)
    expect(objectCount()).toBe(objectsAtRest)
    expect((await client.collection('notes').getFullList()).length).toBe(1)
  }, 180_000)

  test('more tenants than places: the one at rest makes room, and comes back', async () => {
    await using started = await startNode({ tenantsMax: 2 })
    const made = []
    for (let i = 0; i < 4; i++) made.push(await createTenant(started))
    for (const { client } of made) {
      await client.collection('notes').create({ text: 'x' })
      const open = readdirSync(join(started.dir, 'tenants')).filter(
        (id) => !existsSync(join(started.dir, 'tenants', id, 'clean')),
      )
      expect(open.length).toBeLessThanOrEqual(2)
    }
    for (const { client } of made) expect((await client.collection('notes').getFullList()).length).toBe(1)
  }, 180_000)
})

describe('orders', () => {
  test('creating is repeatable; a released tenant is closed and stays closed', async () => {
    await using started = await startNode()
    const { id, client, placed } = await createTenant(started)
    await client.collection('notes').create({ text: 'x' })
    const again = { email: superuser.email, passwordHash }
    await control.order(started.id, { type: 'tenant.create', ...placed, superuser: again })
    expect((await client.collection('notes').getFullList()).length).toBe(1)
    await control.order(started.id, {
      type: 'tenant.release',
      tenantId: placed.tenant.id,
      epoch: placed.placement.epoch,
    })
    expect(tenantFiles(started.node.workerPids[0]!, started.dir)).toEqual([])
    expect((await control.fetchOf(id, 1)(`${started.workerUrl()}/api/health`)).status).toBe(421)
    control.place(id, started.id, 2)
    expect((await clientOf(started, id, 2).collection('notes').getFullList()).length).toBe(1)
  }, 180_000)

  test('a node that the control plane forgot registers again', async () => {
    await using started = await startNode()
    control.registered.delete(started.id as NodeId)
    control.isKnown = false
    await until('the node to register again', () => control.registered.has(started.id as NodeId))
    expect((await fetch(`${started.node.httpUrl}/health/ready`)).status).toBe(200)
    expect(await (await fetch(`${started.node.httpUrl}/metrics`)).text()).toContain('pocketfleet_node_tenants_open')
  }, 180_000)
})
