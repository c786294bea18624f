// Goal: a member over real HTTP, real ZeroMQ and real RocksDB makes, changes, deletes and adopts tenants, refuses what it
// must, and knows everything again after a restart.
// Method: nodes are played by the test over the same IPC that real ones use; the object store is in memory.

import { expect, test } from 'bun:test'
import { api, downAfterMs, playedFleet } from '../../test/support/played-fleet.ts'
import { until } from '../../test/support/wait.ts'
import type { TenantSpec } from '../ipc/messages/tenant.ts'
import type { NodeId, TenantId, Txid } from '../lib/brand.ts'
import { utf8 } from '../lib/bytes.ts'
import { MemoryObjectStore } from '../lib/object-store/memory.ts'
import { encodeLtxHeader } from '../replicate/ltx/header.ts'

const { folder, start, playNode, openRoutes } = playedFleet()

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

  const routes = openRoutes(member)
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
  expect(list.body.items[0]!.slug).toBe('bare')
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
  expect(list.body.items.map(({ email }) => email)).toEqual(['root@fleet.test', 'two@fleet.test'])
  expect(JSON.stringify(list.body)).not.toContain('token')
  const two = api(member, made.body.token)
  expect((await two('DELETE', `/api/cluster/admins/${made.body.id}`)).status).toBe(400)
  expect((await two('DELETE', `/api/cluster/admins/${list.body.items[0]!.id}`)).status).toBe(204)
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

test('a change that the owner did not hear is told again, until it has', async () => {
  const member = await start(folder())
  const call = api(member, member.firstAdminToken)
  const node = await playNode(member, 'node-1', { failUpdates: 3 })
  await call('POST', '/api/cp/tenants', { id: 'acme' })
  expect((await call('PATCH', '/api/cp/tenants/acme', { ackMode: 'sync' })).status).toBe(200)
  const told = () => node.orders.filter((order) => order.type === 'tenant.update')
  await until('the owner to be told', () => told().length >= 4)
  for (const order of told()) expect(order).toMatchObject({ tenant: { slug: 'acme', ackMode: 'sync' } })
})

test('orphans of all nodes are listed, downloaded piece by piece, and removed where they are', async () => {
  const member = await start(folder(), { downAfterMs })
  const call = api(member, member.firstAdminToken)
  await playNode(member, 'node-1')
  const two = await playNode(member, 'node-2')
  const both = await call('GET', '/api/cp/orphans')
  expect(both.body).toMatchObject({ totalItems: 2, nodesMissing: [] })
  const { name } = both.body.items[0]!
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
