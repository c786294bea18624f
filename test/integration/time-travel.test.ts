// Goal: a person takes a tenant back, looks before, undoes it and forks it with the command line alone, while its clients
// go on; a worker that is killed in the middle only delays it. Method: a real fleet from source.

import { expect, setDefaultTimeout, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import type PocketBase from 'pocketbase'
import type { Fleet } from '../support/fleet.ts'
import { shopSuperuser as superuser, withShop } from '../support/shop.ts'
import { until } from '../support/wait.ts'

setDefaultTimeout(120_000)

const titles = async (client: PocketBase) =>
  (await client.collection('notes').getFullList({ sort: 'title' })).map((record) => record['title'] as string)
const cliJson = async <T>(fleet: Fleet, ...args: string[]) => JSON.parse(await fleet.cli([...args, '--json'])) as T

/** The time of the last shipped transaction; asking ships what was committed until now. */
const newestPoint = async (fleet: Fleet) =>
  (await cliJson<{ latest: { at: string }[] }>(fleet, 'tenant', 'restore-points', 'shop')).latest[0]!.at

test('back, undo, and a fork, by the command line', () =>
  withShop(async (fleet, client) => {
    const photo = new File(['the bytes of a photo'], 'photo.txt')
    const first = await client.collection('notes').create({ title: 'first', photo })
    const before = await newestPoint(fleet)
    await client.collection('notes').delete(first.id)
    await client.collection('notes').create({ title: 'second' })

    const points = await cliJson<{ ranges: { to: string }[]; latest: { txid: number }[] }>(
      fleet,
      'tenant',
      'restore-points',
      'shop',
    )
    expect(points.latest.length).toBeGreaterThan(1)
    expect(await fleet.cli(['tenant', 'restore-points', 'shop'])).toContain('every transaction')
    const preview = await fleet.cli(['tenant', 'restore', 'shop', '--at', before, '--dry-run'])
    expect(preview).toMatch(/notes\s+1\s+0\s+1\s+same/)
    expect(await titles(client)).toEqual(['second'])

    const afterwards = await newestPoint(fleet)
    await fleet.cli(['tenant', 'restore', 'shop', '--at', before, '--yes'])
    expect(await titles(client)).toEqual(['first'])
    const file = await fetch(client.files.getURL(first, first['photo']))
    expect(await file.text()).toBe('the bytes of a photo')

    await client.collection('notes').create({ title: 'third' })
    await fleet.cli(['tenant', 'restore', 'shop', '--at', afterwards, '--yes'])
    expect(await titles(client)).toEqual(['second'])

    const shop = ['durability', 'shop', '--ack=sync', '--loss-bound-ms=7000', '--on-store-outage=refuse']
    await fleet.cli(['tenant', ...shop])
    const forked = await cliJson<{ id: string; filesCount: number }>(
      fleet,
      'tenant',
      'fork',
      'shop',
      'copy',
      '--at',
      before,
      '--loss-bound-ms=8000',
    )
    // Durability is its source's, but for what was told.
    const durability = { ackMode: 'sync', lossBoundMs: 8_000, onStoreOutage: 'refuse' }
    expect(await cliJson<object>(fleet, 'tenant', 'durability', 'copy')).toMatchObject(durability)
    expect(forked.filesCount).toBe(1)
    const copy = fleet.sdk('copy')
    // What signs in to the one means nothing to the other.
    const strange = await fetch(`${fleet.tenantUrl('copy')}/api/collections/notes/records`, {
      headers: { authorization: client.authStore.token },
    })
    expect(strange.status).toBe(403)
    await copy.collection('_superusers').authWithPassword(superuser.email, superuser.password)
    expect(await titles(copy)).toEqual(['first'])
    expect(await (await fetch(copy.files.getURL(first, first['photo']))).text()).toBe('the bytes of a photo')
    await copy.collection('notes').create({ title: 'own' })
    expect(await titles(client)).toEqual(['second'])

    await expect(fleet.cli(['tenant', 'restore', 'shop', '--at', '2020-01-01T00:00:00Z', '--yes'])).rejects.toThrow(
      /no such moment.*oldest point/,
    )
    await expect(fleet.cli(['tenant', 'restore', 'shop', '--at', before])).rejects.toThrow('--dry-run')
    await expect(fleet.cli(['tenant', 'fork', 'shop', 'copy'])).rejects.toThrow('taken')
  }))

test('a worker killed in the middle of a restore, and writers all along', () =>
  withShop(async (fleet, client) => {
    await client.collection('notes').create({ title: 'kept' })
    const before = await newestPoint(fleet)
    await client.collection('notes').create({ title: 'too late' })
    const answered: string[] = []
    const stop = new AbortController()
    const writing = (async () => {
      for (let i = 0; !stop.signal.aborted; i++) {
        await client
          .collection('notes')
          .create({ title: `writer ${i}` })
          .then(
            ({ id }) => answered.push(id),
            () => {}, // a write whose worker was killed may fail; it was not acknowledged
          )
        await Bun.sleep(5)
      }
    })()
    const restoring = fleet.cli(['tenant', 'restore', 'shop', '--at', before, '--yes'])
    const isVerb = (pid: number, verb: string) =>
      readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(verb)
    const find = (verb: string) =>
      fleet.children().find(({ pid }) => {
        try {
          return isVerb(pid, verb)
        } catch {
          return false // it has just ended
        }
      })
    await until('the restore to run', () => find('job') !== undefined)
    process.kill(find('worker')!.pid, 'SIGKILL')
    await restoring
    stop.abort()
    await writing
    const now = await titles(client)
    expect(now).toContain('kept')
    expect(now).not.toContain('too late')
    // What was acknowledged after the restore is there; earlier writes went back with everything else.
    const last = answered.at(-1)
    if (last !== undefined) expect((await client.collection('notes').getOne(last)).id).toBe(last)
  }))
