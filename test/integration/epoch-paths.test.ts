// Goal: on a store that ignores create-only, a fleet starts with a warning, serves, and finds everything again after losing
// all of its machines; each owner writes below its own epoch. Method: a real fleet on an S3 double that ignores conditions.

import { expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Fleet } from '../support/fleet.ts'
import { S3Double } from '../support/s3-double.ts'

setDefaultTimeout(180_000)

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
    const client = fleet.sdk('shop')
    await client.collection('_superusers').authWithPassword(email, password)
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
    await copy.collection('_superusers').authWithPassword(email, password)
    expect((await copy.collection('notes').getFullList()).length).toBe(1)

    // Every machine is lost: a fresh control plane adopts the tenant above all epochs.
    await client.collection('notes').create({ title: 'third' }, { headers: { 'x-ack': 'sync' } })
    await fleet.killTree()
    fleet = await Fleet.start({ dir: join(dir, 'two'), flags })
    await fleet.cli(['tenant', 'adopt', 'shop'])
    const again = fleet.sdk('shop')
    await again.collection('_superusers').authWithPassword(email, password)
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
