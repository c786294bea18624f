// Goal: a failing object store costs a fleet nothing but time: loaded tenants answer, cold ones say when to come back,
// and nothing is lost when it returns. Method: a whole fleet over an S3 double that fails on command.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type PocketBase from 'pocketbase'
import { Fleet } from '../support/fleet.ts'
import { S3Double, type S3Fault } from '../support/s3-double.ts'
import { until } from '../support/wait.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const superuser = { email: 'root@example.com', password: 'a-long-password' }
let dir: string
let store: S3Double
let fleet: Fleet
let warm: PocketBase

const start = () =>
  Fleet.start({
    dir,
    flags: [
      '--workers=1',
      `--s3-endpoint=${store.endpoint}`,
      `--s3-bucket=${store.bucket}`,
      `--s3-region=${store.region}`,
    ],
    env: { S3_ACCESS_KEY: store.accessKey, S3_SECRET_KEY: store.secretKey },
  })

const create = (slug: string) =>
  fleet.cli(['tenant', 'create', slug, '--superuser', superuser.email, '--superuser-password', superuser.password])

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'pf-outage-'))
  store = await S3Double.start()
  fleet = await start()
  await create('warm')
  await create('cold')
  warm = fleet.sdk('warm')
  await warm.collection('_superusers').authWithPassword(superuser.email, superuser.password)
  await warm.collections.create({ name: 'notes', type: 'base', listRule: '', fields: [{ name: 'v', type: 'text' }] })
}, 180_000)

afterAll(async () => {
  await fleet.killTree()
  await store[Symbol.asyncDispose]()
  rmSync(dir, { recursive: true, force: true })
})

const faults: readonly (readonly [name: string, fault: S3Fault])[] = [
  ['answers 500', { type: 'status', status: 500, code: 'InternalError' }],
  ['answers 403', { type: 'status', status: 403, code: 'AccessDenied' }],
  ['breaks every connection', { type: 'broken' }],
]

for (const [name, fault] of faults)
  test(`a store that ${name}: reads and async writes go on, sync writes are 503, nothing is lost`, async () => {
    store.fault = () => fault
    const made = await warm.collection('notes').create({ v: name })
    expect((await warm.collection('notes').getOne(made.id))['v']).toBe(name)
    const sync = await fetch(`${fleet.tenantUrl('warm')}/api/collections/notes/records`, {
      method: 'POST',
      headers: { authorization: warm.authStore.token, 'content-type': 'application/json', 'x-ack': 'sync' },
      body: JSON.stringify({ v: `sync ${name}` }),
    })
    expect(sync.status).toBe(503)
    expect(sync.headers.get('retry-after')).not.toBeNull()
    store.fault = null
    await until('a sync write to be acknowledged again', async () => {
      const again = await fetch(`${fleet.tenantUrl('warm')}/api/collections/notes/records`, {
        method: 'POST',
        headers: { authorization: warm.authStore.token, 'content-type': 'application/json', 'x-ack': 'sync' },
        body: JSON.stringify({ v: 'after' }),
      })
      return again.status === 200
    })
  }, 180_000)

test('cold tenants say when to come back, and have everything once the store is back', async () => {
  await fleet.killTree()
  rmSync(join(dir, 'node'), { recursive: true, force: true })
  fleet = await start()
  store.fault = (operation, key) => (key.includes('/t/') || operation === 'list' ? faults[0]![1] : null)
  const away = await fetch(`${fleet.tenantUrl('warm')}/api/collections/notes/records`)
  expect(away.status).toBe(503)
  expect(away.headers.get('retry-after')).not.toBeNull()
  expect(Object.keys((await away.json()) as object).sort()).toEqual(['data', 'message', 'status'])
  store.fault = null
  const values = await until('the tenant to open', async () => {
    const back = await fetch(`${fleet.tenantUrl('warm')}/api/collections/notes/records?perPage=100`)
    if (back.status !== 200) return null
    return ((await back.json()) as { items: { v: string }[] }).items.map((item) => item.v)
  })
  for (const [name] of faults) expect(values).toContain(name)
}, 180_000)
