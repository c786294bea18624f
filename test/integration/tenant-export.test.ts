// Goal: a tenant leaves the fleet as a directory that PocketBase itself serves, of now and of a moment before, and comes
// back as another tenant with the same content. Method: a real fleet, its command line, and PocketBase where it is installed.

import { expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import PocketBase from 'pocketbase'
import { unpackArchive } from '../../src/node/engine/backups/zip.ts'
import type { Fleet } from '../support/fleet.ts'
import { testWithPeers } from '../support/peers.ts'
import { startPocketBase } from '../support/pocketbase.ts'
import { shopSuperuser as superuser, withShop } from '../support/shop.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

/** @param body gets a shop with two notes, one made later, and exports of both moments. */
function exported(
  body: (parts: { fleet: Fleet; dir: string; zips: { before: string; now: string } }) => Promise<void>,
) {
  return withShop(async (fleet, client) => {
    const { email, password } = superuser
    await fleet.cli(['tenant', 'create', 'copy', '--superuser', email, '--superuser-password', password])
    await client.collection('notes').create({ title: 'then', photo: new File(['bytes of a photo'], 'photo.txt') })
    const points = JSON.parse(await fleet.cli(['tenant', 'restore-points', 'shop', '--json'])) as {
      latest: { at: string }[]
    }
    await client.collection('notes').create({ title: 'now' })
    const dir = mkdtempSync(join(tmpdir(), 'pf-export-'))
    try {
      const zips = { before: join(dir, 'before.zip'), now: join(dir, 'now.zip') }
      await fleet.cli(['tenant', 'export', 'shop', '--at', points.latest[0]!.at, '-o', zips.before])
      await fleet.cli(['tenant', 'export', 'shop', '-o', zips.now])
      await body({ fleet, dir, zips })
    } finally {
      rmSync(dir, { recursive: true, force: true })
    }
  })
}

/** Signs in where it says, and checks records and the file's bytes. */
async function expectContent(url: string, titles: readonly string[]): Promise<void> {
  const client = new PocketBase(url)
  await client.collection('_superusers').authWithPassword(superuser.email, superuser.password)
  const records = await client.collection('notes').getFullList({ sort: '-title' })
  expect(records.map((record) => record['title'])).toEqual([...titles])
  const withPhoto = records.find((record) => record['title'] === 'then')!
  expect(await (await fetch(client.files.getURL(withPhoto, withPhoto['photo']))).text()).toBe('bytes of a photo')
}

test('out and in again as another tenant', () =>
  exported(async ({ fleet, zips }) => {
    await fleet.cli(['tenant', 'import', zips.before, '--tenant', 'copy', '--yes'])
    await expectContent(fleet.tenantUrl('copy'), ['then'])
    await fleet.cli(['tenant', 'import', zips.now, '--tenant', 'copy', '--yes'])
    await expectContent(fleet.tenantUrl('copy'), ['then', 'now'])
    await expect(fleet.cli(['tenant', 'export', 'shop', '-o', zips.now])).rejects.toThrow('--force')
    const cost = JSON.parse(await fleet.cli(['tenant', 'cost', 'shop', '--json'])) as {
      stored: { kind: string; bytes: number }[]
      requests: { calls: Record<string, number> }
    }
    expect(cost.stored.find(({ kind }) => kind === 'files')?.bytes).toBe('bytes of a photo'.length)
    expect(cost.requests.calls['put']).toBeGreaterThan(4)
    expect(cost.requests.calls['get']).toBeGreaterThan(0) // of the jobs, in processes of their own
    expect(await fleet.cli(['tenant', 'cost', 'shop'])).toContain('a month for what is stored now')
    const grant = await fetch(`${fleet.tenantUrl('shop')}/api/platform/export?at=1&data=1&auxiliary=1`)
    expect(grant.status).toBe(401)
  }))

testWithPeers(
  ['pocketbase'],
  'PocketBase serves an export of now and of before',
  ({ pocketbase }) =>
    exported(async ({ dir, zips }) => {
      for (const [zip, titles] of [
        [zips.before, ['then']],
        [zips.now, ['then', 'now']],
      ] as const) {
        const target = join(dir, `pb-${titles.length}`)
        await unpackArchive(zip, target)
        const server = await startPocketBase(pocketbase, { dir: target })
        try {
          await expectContent(server.url, titles)
        } finally {
          await server.stop()
        }
      }
    }),
  180_000,
)
