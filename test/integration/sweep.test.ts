// Goal: a person sees what waits for its deletion, a dry run changes nothing, and a deleted tenant that is wanted back in time
// comes back whole, by its id. Method: a real fleet and its command line; the service's own tests have the times.

import { afterAll, expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Fleet, runCli } from '../support/fleet.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const dir = mkdtempSync(join(tmpdir(), 'pf-sweep-fleet-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

test('deleted, listed, wanted back', async () => {
  const fleet = await Fleet.start({ dir })
  try {
    const superuser = ['--superuser=root@example.com', '--superuser-password=a-long-password']
    const { id } = JSON.parse(await fleet.cli(['tenant', 'create', 'shop', ...superuser, '--json'])) as { id: string }
    const first = fleet.sdk('shop')
    await first.collection('_superusers').authWithPassword('root@example.com', 'a-long-password')
    await first.collections.create({ name: 'notes', type: 'base', fields: [{ name: 'text', type: 'text' }] })
    await first.collection('notes').create({ text: 'kept' })
    await fleet.cli(['tenant', 'durability', 'shop', '--on-store-outage=refuse', '--loss-bound-ms=700'])
    await fleet.cli(['tenant', 'delete', 'shop', '--yes'])

    interface Page {
      readonly items: readonly { readonly tenant: string; readonly slug: string; readonly phase: string }[]
    }
    const listed = JSON.parse(await fleet.cli(['sweep', 'list', '--json'])) as Page
    expect(listed.items).toMatchObject([{ tenant: id, slug: 'shop', phase: 'released', kind: 'deleted tenant' }])
    expect(await fleet.cli(['sweep', 'list'])).toContain('released')
    const before = readdirSync(join(dir, 'objects'), { recursive: true }).length
    expect(JSON.parse(await fleet.cli(['sweep', 'run', '--dry-run', '--json']))).toMatchObject({
      dryRun: true,
      steps: [],
    })
    expect(JSON.parse(await fleet.cli(['sweep', 'run', '--json']))).toMatchObject({ dryRun: false, steps: [] })
    expect(readdirSync(join(dir, 'objects'), { recursive: true }).length).toBe(before)

    await fleet.cli(['tenant', 'adopt', id])
    expect(JSON.parse(await fleet.cli(['tenant', 'durability', 'shop', '--json']))).toMatchObject({
      lossBoundMs: 700,
      onStoreOutage: 'refuse',
    })
    expect((JSON.parse(await fleet.cli(['sweep', 'list', '--json'])) as Page).items).toEqual([])
    const again = fleet.sdk('shop')
    await again.collection('_superusers').authWithPassword('root@example.com', 'a-long-password')
    expect((await again.collection('notes').getFullList()).map(({ text }) => text as string)).toEqual(['kept'])

    const acts = JSON.parse(await fleet.cli(['audit', `--target=${id}`, '--json'])) as {
      action: string
      from: string
    }[]
    const done = acts.map(({ action }) => action)
    expect(done).toEqual(['tenant.adopt', 'tenant.delete', 'tenant.update', 'tenant.create'])
    expect(acts[0]!.from).toContain('127.0.0.1')
  } finally {
    await fleet.stop()
  }
  await expect(runCli('source', ['serve', `--dir=${dir}`, '--deleted-keep-days=7'])).rejects.toThrow(
    'deleted-keep-days',
  )
})
