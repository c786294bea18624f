// Goal: a real control plane gives a quorum tenant a standby, replaces one that dies, moves the tenant with nothing lost
// when its owner dies, and opens it without its standby only when somebody accepts the loss; one that takes the place of a lost
// one asks the same standby. Method: real nodes as processes, requests straight to their workers.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test'
import { existsSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ControlPlane } from '../../src/cp/config.ts'
import { openControlPlane } from '../../src/cp/control-plane.ts'
import { defaultPrices } from '../../src/cp/services/prices.ts'
import { clusterSecrets } from '../../src/ipc/keys.ts'
import { routeHeaderKeys, routeHeaderName, signRouteHeader } from '../../src/ipc/messages/route-header.ts'
import type { Epoch, TenantId } from '../../src/lib/brand.ts'
import { systemClock as clock } from '../../src/lib/clock.ts'
import type { ObjectStore } from '../../src/lib/object-store/object-store.ts'
import { openObjectStore } from '../../src/lib/object-store/open.ts'
import { silentLogger as log } from '../../src/lib/obs/log.ts'
import { Metrics } from '../../src/lib/obs/metrics.ts'
import { systemRng as rng } from '../../src/lib/rng.ts'
import { nodeConfig, testClusterSecret as secret } from '../support/node-config.ts'
import { spawnNode } from '../support/nodes.ts'
import { killTree } from '../support/processes.ts'
import { until } from '../support/wait.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const root = mkdtempSync(join(tmpdir(), 'pf-quorum-fleet-'))
const objects = join(root, 'objects')
const superuser = { email: 'root@example.com', password: 'a-long-password' }
const running = new Map<string, Bun.Subprocess>()
let objectStore: ObjectStore
let controlPlane: ControlPlane

interface TenantBody {
  readonly id: TenantId
  readonly ackMode: string
  readonly placement: { readonly nodeId: string; readonly epoch: number; readonly standbys: readonly string[] }
}

beforeAll(async () => {
  objectStore = await openObjectStore({ kind: 'file', dir: objects }, { clock, rng })
  controlPlane = await openMember(0)
  for (const id of ['a', 'b', 'c']) startNode(id)
  await until('three healthy nodes', async () => {
    const { items } = await cp<{ items: { state: string; workers: unknown[] }[] }>('GET', '/api/cp/nodes')
    return items.filter(({ state, workers }) => state === 'healthy' && workers.length === 1).length === 3
  })
}, 180_000)

/** On an empty directory it knows nothing. */
function openMember(port: number): Promise<ControlPlane> {
  return openControlPlane(
    {
      nodeId: 'cp-1',
      dir: join(root, 'cp'),
      httpListen: { host: '127.0.0.1', port },
      ipcBind: 'tcp://127.0.0.1:0',
      ipcPubBind: 'tcp://127.0.0.1:0',
      advertiseHost: null,
      raftPeers: [],
      secrets: clusterSecrets(secret),
      baseDomain: 'fleet.test',
      publicUrl: { scheme: 'http', port: 8090 },
      objectPrefix: '',
      storeLocation: { kind: 'file', dir: objects },
      prices: defaultPrices,
      isCreateOnlyAtomic: true,
      archive: { infrequentAfterDays: 0, archiveAfterDays: 0, infrequentClass: null, archiveClass: null },
      createAdmin: 'root@fleet.test',
      // A node that a busy machine holds up for a second is as good a standby as any.
      timings: { heartbeatMs: 100, degradedAfterMs: 2_000, downAfterMs: 3_500, reconcileMs: 200, orderMs: 10_000 },
    },
    { clock, rng, log, metrics: new Metrics(), objectStore },
  )
}

afterAll(async () => {
  for (const child of running.values()) killTree(child.pid)
  await controlPlane[Symbol.asyncDispose]()
  await objectStore.close()
  rmSync(root, { recursive: true, force: true })
})

function startNode(id: string): void {
  const objectStore = { kind: 'file', dir: objects } as const
  const config = nodeConfig({ id, dir: join(root, id), controlPlane: controlPlane.httpUrl, objectStore })
  running.set(id, spawnNode(config))
}

function kill(id: string): void {
  killTree(running.get(id)!.pid)
  running.delete(id)
}

async function cp<T>(method: string, path: string, body?: unknown): Promise<T> {
  const response = await fetch(controlPlane.httpUrl + path, {
    method,
    headers: { authorization: `Bearer ${controlPlane.firstAdminToken}`, 'content-type': 'application/json' },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`)
  return (await response.json()) as T
}

const tenantNow = (slug: string) => cp<TenantBody>('GET', `/api/cp/tenants/${slug}`)

/** A request as a gateway makes it, to whoever owns the tenant now. */
async function ask(slug: string, path: string, init: RequestInit = {}): Promise<Response> {
  const { id, placement } = await tenantNow(slug)
  const { workers } = await cp<{ workers: { url: string }[] }>('GET', `/api/cp/nodes/${placement.nodeId}`)
  const headers = new Headers(init.headers)
  headers.set('content-type', 'application/json')
  headers.set(
    routeHeaderName,
    signRouteHeader(routeHeaderKeys(clusterSecrets(secret)), {
      tenantId: id,
      epoch: placement.epoch as Epoch,
      clientAddress: '192.0.2.1',
      scheme: 'http',
      host: `${slug}.fleet.test`,
      expiresAtMs: Date.now() + 60_000,
    }),
  )
  return fetch(`${workers[0]!.url}${path}`, { ...init, headers, signal: AbortSignal.timeout(15_000) })
}

const write = async (slug: string, text: string) =>
  (await ask(slug, '/api/collections/notes/records', { method: 'POST', body: JSON.stringify({ text }) })).status

/** The collection that the tests write to. */
async function makeNotes(slug: string): Promise<void> {
  const signedIn = await ask(slug, '/api/collections/_superusers/auth-with-password', {
    method: 'POST',
    body: JSON.stringify({ identity: superuser.email, password: superuser.password }),
  })
  const { token } = (await signedIn.json()) as { token: string }
  const collection = {
    name: 'notes',
    type: 'base',
    fields: [{ name: 'text', type: 'text' }],
    listRule: '',
    createRule: '',
  }
  const headers = { authorization: token }
  const created = await ask(slug, '/api/collections', { method: 'POST', headers, body: JSON.stringify(collection) })
  expect(created.status).toBe(200)
}

async function texts(slug: string): Promise<string[]> {
  const response = await ask(slug, '/api/collections/notes/records?perPage=500&skipTotal=1')
  if (response.status !== 200) throw new Error(`${response.status}: ${await response.text()}`)
  return ((await response.json()) as { items: { text: string }[] }).items.map(({ text }) => text).sort()
}

test('what was restored stays restored: no standby brings the newer state back', async () => {
  await cp<TenantBody>('POST', '/api/cp/tenants', { id: 'trip', ackMode: 'quorum', superuser })
  await makeNotes('trip')
  expect(await write('trip', 'one')).toBe(200)
  const { latest } = await cp<{ latest: { at: string }[] }>('GET', '/api/cp/tenants/trip/restore-points')
  for (const text of ['two', 'three']) expect(await write('trip', text)).toBe(200)
  const { id } = await cp<{ id: string }>('POST', '/api/cp/tenants/trip/restore', { at: latest[0]!.at })
  const ended = await until('the restore', async () => {
    const operation = await cp<{ state: string }>('GET', `/api/cp/tenants/trip/operations/${id}`)
    return operation.state !== 'running' && operation
  })
  expect(ended).toMatchObject({ state: 'done' })
  expect(await until('the tenant', () => texts('trip'))).toEqual(['one'])
  expect(await until('a write', async () => (await write('trip', 'four')) === 200)).toBe(true)
  const { nodeId } = (await tenantNow('trip')).placement
  kill(nodeId)
  rmSync(join(root, nodeId), { recursive: true, force: true })
  expect(await until('the successor', () => texts('trip'))).toEqual(['four', 'one'])
  startNode(nodeId)
  await until('three healthy nodes', async () => {
    const { items } = await cp<{ items: { state: string }[] }>('GET', '/api/cp/nodes')
    return items.filter(({ state }) => state === 'healthy').length === 3
  })
}, 180_000)

test('a quorum tenant has a standby, another when that one dies, and an owner again when its owner dies', async () => {
  const made = await cp<TenantBody>('POST', '/api/cp/tenants', { id: 'shop', ackMode: 'quorum', superuser })
  expect(made.ackMode).toBe('quorum')
  expect(made.placement.standbys).toHaveLength(1)
  const first = made.placement
  await makeNotes('shop')
  expect(await write('shop', 'one')).toBe(200)

  kill(first.standbys[0]!)
  expect(await write('shop', 'two')).toBe(200) // the store answers in its place
  const second = await until('another standby', async () => {
    const { placement } = await tenantNow('shop')
    return placement.standbys[0] !== first.standbys[0] && placement.standbys.length === 1 && placement
  })
  expect(second).toMatchObject({ nodeId: first.nodeId })
  expect(second.epoch).toBeGreaterThan(first.epoch)
  expect(await until('a write under the new epoch', async () => (await write('shop', 'three')) === 200)).toBe(true)

  startNode(first.standbys[0]!)
  kill(second.nodeId)
  rmSync(join(root, second.nodeId), { recursive: true, force: true })
  const found = await until('the successor', () => texts('shop'))
  expect(found).toEqual(['one', 'three', 'two'])
  expect((await tenantNow('shop')).placement.nodeId).not.toBe(second.nodeId)
  startNode(second.nodeId)
}, 180_000)

test('owner and standby gone together: down until an admin accepts the loss', async () => {
  const before = await until('a standby and three nodes', async () => {
    const { placement } = await tenantNow('shop')
    const { items } = await cp<{ items: { state: string }[] }>('GET', '/api/cp/nodes')
    return items.every(({ state }) => state === 'healthy') && placement.standbys.length === 1 && placement
  })
  await until('a write', async () => (await write('shop', 'four')) === 200)
  kill(before.nodeId)
  kill(before.standbys[0]!)
  await until('the tenant to be placed on the node that is left', async () => {
    const { placement } = await tenantNow('shop')
    return placement.nodeId !== before.nodeId && placement.nodeId !== before.standbys[0]
  })
  const refused = await ask('shop', '/api/collections/notes/records')
  expect(refused.status).toBe(503)
  await expect(cp('POST', '/api/cp/tenants/shop/force-takeover', { acceptLoss: false })).rejects.toThrow('400')
  await cp('POST', '/api/cp/tenants/shop/force-takeover', { acceptLoss: true })
  const found = await until('the tenant to answer', () => texts('shop'))
  // What the store had by then is there; the last write may be lost with the two nodes.
  expect(found.filter((text) => text !== 'four')).toEqual(['one', 'three', 'two'])
}, 180_000)

test('control plane, owner and store gone together: whoever adopts the tenant asks its standby', async () => {
  await until('three healthy nodes', async () => {
    for (const id of ['a', 'b', 'c']) if (!running.has(id)) startNode(id)
    const { items } = await cp<{ items: { state: string }[] }>('GET', '/api/cp/nodes')
    return items.filter(({ state }) => state === 'healthy').length === 3
  })
  const made = await cp<TenantBody>('POST', '/api/cp/tenants', { id: 'lost', ackMode: 'quorum', superuser })
  await makeNotes('lost')
  const { placement } = await until('a write with a standby', async () => {
    const now = await tenantNow('lost')
    return (await write('lost', 'first')) === 200 && now.placement.standbys.length === 1 && now
  })
  const acked = ['first']
  // A file in the place of the directory: every request to the store fails, and the standby alone confirms.
  renameSync(objects, `${objects}.away`)
  writeFileSync(objects, '')
  try {
    for (const text of ['second', 'third']) {
      expect(await write('lost', text)).toBe(200)
      acked.push(text)
    }
    kill(placement.nodeId)
    rmSync(join(root, placement.nodeId), { recursive: true, force: true })
    const { port } = new URL(controlPlane.httpUrl)
    await controlPlane[Symbol.asyncDispose]()
    rmSync(join(root, 'cp'), { recursive: true, force: true })
    rmSync(objects)
    renameSync(`${objects}.away`, objects)
    controlPlane = await openMember(Number(port))
  } finally {
    if (existsSync(`${objects}.away`)) {
      rmSync(objects)
      renameSync(`${objects}.away`, objects)
    }
  }
  await until('the nodes that are left', async () => {
    const { items } = await cp<{ items: { state: string }[] }>('GET', '/api/cp/nodes')
    return items.filter(({ state }) => state === 'healthy').length === 2
  })
  const adopted = await cp<TenantBody>('POST', '/api/cp/tenants/adopt', { reference: made.id })
  expect(adopted).toMatchObject({ id: made.id, ackMode: 'quorum' })
  expect(adopted.placement.epoch).toBeGreaterThan(placement.epoch)
  expect(new Set(await until('the tenant', () => texts('lost')))).toEqual(new Set(acked))
  expect(await until('a standby of its own', async () => (await tenantNow('lost')).placement.standbys.length)).toBe(1)
}, 180_000)
