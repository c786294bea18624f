// Goal: a planned move copies the tenant first, so that only the last slots are added in the pause; no write is lost or
// refused, and a node never gives away what it may hold alone. Method: two real nodes; drills go to the one that is not
// the owner.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { writeDuring } from '../support/move-pause.ts'
import { NodeFleet } from '../support/node-fleet.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const dir = mkdtempSync(join(tmpdir(), 'pf-move-'))
const superuser = { email: 'root@example.com', password: 'a-long-password' }
let fleet: NodeFleet
beforeAll(async () => {
  fleet = await NodeFleet.start(dir, ['node-a', 'node-b'])
}, 180_000)
afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]()
  rmSync(dir, { recursive: true, force: true })
})

interface TenantBody {
  readonly id: string
  readonly placement: { readonly nodeId: string; readonly epoch: number }
  readonly provenRestore: { readonly nodeId: string } | null
}

test('a move while somebody writes, there and back, and a drill on the other node', async () => {
  const made = (await fleet.admin('POST', '/tenants', { id: 'shop', superuser })) as TenantBody
  const client = fleet.sdk('shop')
  await client.collection('_superusers').authWithPassword(superuser.email, superuser.password)
  await client.collections.create({
    name: 'notes',
    type: 'base',
    listRule: '',
    createRule: '',
    fields: [{ name: 'title', type: 'text' }],
  })
  const written: string[] = []
  let owner = made.placement.nodeId
  for (let round = 0; round < 3; round++) {
    const target = owner === 'node-a' ? 'node-b' : 'node-a'
    const pause = await writeDuring(client, () => fleet.admin('POST', '/tenants/shop/migrate', { node: target }))
    written.push(...pause.written)
    const now = (await fleet.admin('GET', '/tenants/shop')) as TenantBody
    expect(now.placement).toMatchObject({ nodeId: target, epoch: made.placement.epoch + round + 1 })
    owner = target
  }
  const found = await client.collection('notes').getFullList<{ title: string }>()
  expect(found.map(({ title }) => title).sort()).toEqual(written.sort())
  expect(fleet.output).not.toContain('moves without a copy')

  await fleet.cli(['tenant', 'drill', 'shop'])
  const { provenRestore } = (await fleet.admin('GET', '/tenants/shop')) as TenantBody
  expect(provenRestore!.nodeId).not.toBe(owner)
  const scratch = readdirSync(join(dir, provenRestore!.nodeId, 'scratch'), { recursive: true, withFileTypes: true })
  expect(scratch.filter((entry) => !entry.isDirectory())).toEqual([]) // the drill cleaned up behind it
}, 180_000)
