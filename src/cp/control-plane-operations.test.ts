// Goal: what takes long (restores, forks, archiving) is decided first and carried out until it is done or called off, and
// what only nodes can tell is asked of them. Method: a real member whose nodes are played by the test over the same IPC that
// real ones use.

import { expect, test } from 'bun:test'
import { api, downAfterMs, playedFleet } from '../../test/support/played-fleet.ts'
import { until } from '../../test/support/wait.ts'
import type { OrderReplies } from '../ipc/messages/cp-node.ts'
import type { Cut, TenantJob } from '../ipc/messages/jobs.ts'
import type { Txid } from '../lib/brand.ts'

const { folder, start, playNode, openRoutes } = playedFleet()

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

test('a sweep that is refused since one is under way is not on record', async () => {
  const member = await start(folder(), { sweep: { graceMs: 0 } })
  const call = api(member, member.firstAdminToken)
  let isDone = false
  const report = { objects: 0, bytes: 0, objectsDeleted: 0 }
  const node = await playNode(member, 'node-1', { job: () => (isDone ? { state: 'done', report } : null) })
  await call('POST', '/api/cp/tenants', { id: 'acme' })
  await call('DELETE', '/api/cp/tenants/acme')
  const run = async () => (await call('POST', '/api/cp/sweep', {})).status
  expect(await run()).toBe(202)
  await until('the job', () => node.orders.some((order) => order.type === 'job.run' && order.job.type === 'sweep'))
  expect(await run()).toBe(503)
  expect((await call('GET', '/api/cluster/audit?action=sweep.run')).body.items).toHaveLength(1)
  isDone = true
  await until('the end', async () => (await run()) === 202)
  expect((await call('GET', '/api/cluster/audit?action=sweep.run')).body.items).toHaveLength(2)
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

  const routes = openRoutes(member)
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
