// Goal: on a store that ignores create-only, a fleet starts with a warning, serves, and finds everything again after losing
// all of its machines; each owner writes below its own epoch. Method: a real fleet on an S3 double that ignores conditions.

import { expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type PocketBase from 'pocketbase'
import { Fleet } from '../support/fleet.ts'
import { S3Double } from '../support/s3-double.ts'
import { until } from '../support/wait.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const superuser = { email: 'root@example.com', password: 'a-long-password' }

test('a fleet on a store that ignores create-only', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'pf-paths-'))
  await using store = await S3Double.start()
  store.ignoresConditions = true
  const flags = [
    '--workers=1',
    `--s3-endpoint=${store.endpoint}`,
    `--s3-bucket=${store.bucket}`,
    `--s3-access-key=${store.accessKey}`,
    `--s3-secret-key=${store.secretKey}`,
  ]
  let fleet = await Fleet.start({ dir: join(dir, 'one'), flags })
  try {
    expect(fleet.output).toContain('create-only')
    const { email, password } = superuser
    const made = await fleet.cli([
      'tenant',
      'create',
      'shop',
      '--superuser',
      email,
      '--superuser-password',
      password,
      '--json',
    ])
    const { id } = JSON.parse(made) as { id: string }
    // The store is served by this process: where that is busy, an opening may run into a deadline, and is tried again.
    const signIn = (sdk: PocketBase) =>
      until('the tenant to open', () => sdk.collection('_superusers').authWithPassword(email, password))
    const client = fleet.sdk('shop')
    await signIn(client)
    await client.collections.create({ name: 'notes', type: 'base', fields: [{ name: 'title', type: 'text' }] })
    const first = await client.collection('notes').create({ title: 'first' }, { headers: { 'x-ack': 'sync' } })
    const keys = () => [...store.objects.keys()]
    expect(keys().some((key) => key.includes(`${id}/data.db/e1/0000/`))).toBe(true)
    const points = JSON.parse(await fleet.cli(['tenant', 'restore-points', 'shop', '--json'])) as {
      latest: { txid: number; at: string }[]
    }
    await client.collection('notes').create({ title: 'second' })
    await fleet.cli(['tenant', 'restore', 'shop', '--at', points.latest[0]!.at, '--yes'])
    expect((await client.collection('notes').getFullList()).map((each) => each['title'])).toEqual(['first'])
    await fleet.cli(['tenant', 'export', 'shop', '-o', join(dir, 'out.zip')])
    await fleet.cli(['tenant', 'fork', 'shop', 'copy'])
    const copy = fleet.sdk('copy')
    await signIn(copy)
    expect((await copy.collection('notes').getFullList()).length).toBe(1)

    // Every machine is lost: a fresh control plane adopts the tenant above all epochs.
    await client.collection('notes').create({ title: 'third' }, { headers: { 'x-ack': 'sync' } })
    await fleet.killTree()
    fleet = await Fleet.start({ dir: join(dir, 'two'), flags })
    await fleet.cli(['tenant', 'adopt', 'shop'])
    const again = fleet.sdk('shop')
    await signIn(again)
    expect((await again.collection('notes').getFullList({ sort: 'title' })).map((each) => each['title'])).toEqual([
      'first',
      'third',
    ])
    expect((await again.collection('notes').getOne(first.id))['title']).toBe('first')
    await again.collection('notes').create({ title: 'fourth' }, { headers: { 'x-ack': 'sync' } })
    expect(keys().some((key) => key.includes(`${id}/data.db/e2/0000/`))).toBe(true)
  } finally {
    await fleet.killTree()
    rmSync(dir, { recursive: true, force: true })
  }
})
