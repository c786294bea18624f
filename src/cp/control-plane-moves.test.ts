// Goal: tenants leave nodes that are drained or down, and nothing that only a node or its standbys hold is forgotten on the
// way. Method: a real member whose nodes are played by the test over the same IPC that real ones use.

import { expect, test } from 'bun:test'
import { api, downAfterMs, playedFleet } from '../../test/support/played-fleet.ts'
import { until } from '../../test/support/wait.ts'
import type { Cut, TenantJob } from '../ipc/messages/jobs.ts'
import type { Txid } from '../lib/brand.ts'
import { systemClock as clock } from '../lib/clock.ts'
import { createLogger } from '../lib/obs/log.ts'

const { folder, start, playNode } = playedFleet()

const cut: Cut = { atMs: 1_700_000_000_000, data: 9 as Txid, hooks: 1 as Txid, auxiliary: 2 as Txid }

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
