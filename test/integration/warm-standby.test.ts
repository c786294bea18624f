// Goal: a tenant with a warm standby is taken over by the node that keeps it, with next to nothing read from the store and
// nothing lost; afterwards another node keeps it warm. Method: a real fleet of three nodes; the owner dies with its disk
// while the copy lacks the last writes; what the successor read is its own metric.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { NodeFleet } from '../support/node-fleet.ts'
import { until } from '../support/wait.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const dir = mkdtempSync(join(tmpdir(), 'pf-warm-fleet-'))
const superuser = { email: 'root@example.com', password: 'a-long-password' }
/** Of random text, so that it stays as large in the store, characters. */
const noteLength = 100_000
const notes = 40
let fleet: NodeFleet

interface TenantBody {
  readonly warmStandby: boolean
  readonly placement: { readonly nodeId: string; readonly warm: string | null }
}

beforeAll(async () => {
  fleet = await NodeFleet.start(dir, ['node-a', 'node-b', 'node-c'])
})
afterAll(async () => {
  await fleet[Symbol.asyncDispose]()
  rmSync(dir, { recursive: true, force: true })
})

const tenantNow = async () => (await fleet.admin('GET', '/tenants/shop')) as TenantBody
const randomText = (length: number) =>
  Buffer.from(crypto.getRandomValues(new Uint8Array(Math.ceil(length / 2)))).toString('hex')

test('the node that keeps a tenant warm takes it over without a restore', async () => {
  await fleet.admin('POST', '/tenants', { id: 'shop', ackMode: 'sync', superuser })
  const client = fleet.sdk('shop')
  await client.collection('_superusers').authWithPassword(superuser.email, superuser.password)
  await client.collections.create({
    name: 'notes',
    type: 'base',
    listRule: '',
    fields: [
      { name: 'title', type: 'text' },
      { name: 'body', type: 'text', max: noteLength },
    ],
  })
  expect((await tenantNow()).placement.warm).toBeNull()
  await fleet.cli(['tenant', 'durability', 'shop', '--warm-standby', 'on'])
  const titles: string[] = []
  for (let n = 0; n < notes; n++) {
    titles.push(`n${n}`)
    await client.collection('notes').create({ title: `n${n}`, body: randomText(noteLength) })
  }
  const { warmStandby, placement } = await tenantNow()
  expect(warmStandby).toBe(true)
  const successor = placement.warm!
  expect(successor).not.toBe(placement.nodeId)
  await until(
    'a copy that is up to date',
    async () =>
      (await fleet.metric(successor, 'node_warm_copies')) === 1 &&
      (await fleet.metric(successor, 'node_warm_bytes')) > notes * noteLength &&
      (await fleet.metric(successor, 'node_warm_lag_seconds')) === 0,
  )
  const before = await fleet.metric(successor, 'object_store_bytes_total')

  titles.push('last')
  await client.collection('notes').create({ title: 'last', body: 'acknowledged a moment before the end' })
  await fleet.destroyNode(placement.nodeId)
  const found = await until('the successor', () => client.collection('notes').getFullList({ fields: 'title' }))
  expect(found.map(({ title }) => title).sort()).toEqual(titles.sort())

  const after = await tenantNow()
  expect(after.placement.nodeId).toBe(successor)
  const opened = await until(
    'its metrics',
    async () => (await fleet.metric(successor, 'node_tenant_load_seconds_count')) === 1,
  )
  expect(opened).toBe(true)
  expect(await fleet.metric(successor, 'restore_seconds_count')).toBe(0)
  expect((await fleet.metric(successor, 'object_store_bytes_total')) - before).toBeLessThan(notes * noteLength * 0.1)

  const next = await until('another copy', async () => {
    const { warm, nodeId } = (await tenantNow()).placement
    return warm !== null && warm !== nodeId && (await fleet.metric(warm, 'node_warm_bytes')) > 0 && warm
  })
  await fleet.cli(['tenant', 'durability', 'shop', '--warm-standby', 'off'])
  expect(await tenantNow()).toMatchObject({ warmStandby: false, placement: { warm: null } })
  expect(next).not.toBe(placement.nodeId)
})
