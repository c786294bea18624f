// Goal: PocketBase's backups of a tenant in a fleet: made, listed, downloaded, uploaded, restored and deleted through the
// API, as objects beside the tenant, and a restore is one more step of its history. Method: a real fleet and the SDK.

import { Database as Sqlite } from 'bun:sqlite'
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import PocketBase, { type ClientResponseError } from 'pocketbase'
import { archiveNames, unpackArchive } from '../../src/node/engine/backups/zip.ts'
import { Fleet } from '../support/fleet.ts'
import { startStandalone } from '../support/standalone.ts'
import { until } from '../support/wait.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const slug = 'shop'
const superuser = { email: 'root@example.com', password: 'a-long-password' }
let dir: string
let fleet: Fleet
let client: PocketBase

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'pf-fleet-backups-'))
  fleet = await Fleet.start({ dir })
  const response = await fetch(`${fleet.url}/api/cp/tenants`, {
    method: 'POST',
    headers: { authorization: `Bearer ${fleet.adminToken}`, 'content-type': 'application/json' },
    body: JSON.stringify({ id: slug, superuser }),
  })
  expect(response.status).toBe(201)
  client = fleet.sdk(slug)
  await client.collection('_superusers').authWithPassword(superuser.email, superuser.password)
  await client.collections.create({
    name: 'notes',
    type: 'base',
    listRule: '',
    viewRule: '',
    fields: [
      { name: 'title', type: 'text' },
      { name: 'files', type: 'file', maxSelect: 9, maxSize: 20_000_000 },
    ],
  })
}, 180_000)

afterAll(async () => {
  await fleet?.stop()
  rmSync(dir, { recursive: true, force: true })
})

const fileOf = (name: string, bytes: number) => new File([Buffer.alloc(bytes, name)], name, { type: 'text/plain' })

async function textAt(record: Record<string, unknown>, at: number): Promise<number | string> {
  const name = (record['files'] as string[])[at]!
  const response = await fetch(client.files.getURL(record as never, name))
  return response.ok ? (await response.text()).slice(0, 8) : response.status
}

/** Names of the objects of the tenant below a folder. */
function objectsIn(folder: string): string[] {
  const [tenant] = readdirSync(join(dir, 'objects/t'))
  return (readdirSync(join(dir, 'objects/t', tenant!, folder), { recursive: true }) as string[]).sort()
}

const tailOf = (name: string) =>
  objectsIn(name)
    .filter((each) => /ltx\/0\/.*\.ltx$/.test(each))
    .at(-1)!

test('a backup brings data and files back, and history goes on', async () => {
  const notes = client.collection('notes')
  const kept = await notes.create({
    title: 'kept',
    files: [fileOf('small.txt', 300), fileOf('large.txt', 9_000_000), fileOf('gone.txt', 20)],
  })
  await notes.update(kept.id, { 'files-': (kept['files'] as string[])[2] })
  await client.backups.create('first.zip')
  const [listed] = await client.backups.getFullList()
  expect(listed).toMatchObject({ key: 'first.zip' })
  expect(objectsIn('backups')).toEqual(['first.zip'])

  const later = await notes.create({ title: 'later', files: [fileOf('later.txt', 10)] })
  await notes.delete(kept.id)
  await client.collections.create({ name: 'younger', type: 'base', fields: [] })
  const before = tailOf('data.db')
  await client.backups.restore('first.zip')
  await until('the restore', async () => (await notes.getFullList()).map((each) => each['title']).join() === 'kept')
  expect((await client.collections.getFullList()).map((each) => each.name)).not.toContain('younger')
  const back = await notes.getOne(kept.id)
  expect([await textAt(back, 0), await textAt(back, 1)]).toEqual(['small.tx', 'large.tx'])
  await expect(notes.getOne(later.id)).rejects.toMatchObject({ status: 404 })
  // What only the newer state named is deleted later, like every file that nobody names any more.
  const { rows } = await client.send('/api/sql', { method: 'POST', body: { query: 'SELECT key FROM _pfDeletedFiles' } })
  const released = (rows as [string][]).map(([key]) => key.split('/').at(-1)!.slice(0, 5)).sort()
  expect(released).toEqual(['gone_', 'later'])
  await notes.update(kept.id, { title: 'changed after the restore' })
  await until('the restored state to be in the store', () => tailOf('data.db') > before)
}, 180_000)

test('what a fleet writes opens as a standalone tenant, and what that writes comes back', async () => {
  await client.backups.create('out.zip')
  const url = client.backups.getDownloadURL(await client.files.getToken(), 'out.zip')
  const zip = join(dir, 'out.zip')
  await Bun.write(zip, await fetch(url))
  const names = await archiveNames(zip)
  expect(names.filter((each) => each.startsWith('storage/')).map((each) => each.split('/').at(-1))).toEqual(
    ((await client.collection('notes').getList(1, 1)).items[0]!['files'] as string[]).slice(0, 2),
  )
  expect(names.filter((each) => !each.startsWith('storage/')).sort()).toEqual(['auxiliary.db', 'data.db'])
  const unpacked = join(dir, 'unpacked')
  await unpackArchive(zip, unpacked)
  const database = new Sqlite(join(unpacked, 'data.db'), { readonly: true })
  expect(database.query("SELECT name FROM sqlite_schema WHERE name LIKE '\\_pf%' ESCAPE '\\'").all()).toEqual([])
  database.close()
  const alone = await startStandalone(unpacked)
  try {
    const other = new PocketBase(alone.url)
    await other.collection('_superusers').authWithPassword(superuser.email, superuser.password)
    const [record] = await other.collection('notes').getFullList()
    await other.collection('notes').update(record!.id, { title: 'from elsewhere', 'files+': fileOf('new.txt', 16) })
    await other.backups.create('elsewhere.zip')
    await client.backups.upload({
      file: new File([await readFile(join(alone.dir, 'backups/elsewhere.zip'))], 'in.zip'),
    })
  } finally {
    await alone.stop()
  }
  await client.backups.restore('in.zip')
  const notes = client.collection('notes')
  await until('the restore', async () => (await notes.getFullList())[0]?.['title'] === 'from elsewhere')
  expect(await textAt((await notes.getFullList())[0]!, 2)).toBe('new.txtn')
}, 180_000)

test('a broken or foreign archive changes nothing', async () => {
  const upload = (name: string, bytes: Uint8Array) => client.backups.upload({ file: new File([bytes], name) })
  await mkdir(join(dir, 'empty'), { recursive: true })
  const zip = await readFile(join(dir, 'out.zip'))
  await upload('cut.zip', zip.subarray(0, zip.length / 2))
  await client.collection('notes').create({ title: 'still here' })
  await client.backups.restore('cut.zip')
  await until('the refusal in the log', () => fleet.output.includes('backup not restored'))
  expect((await client.collection('notes').getFullList()).map((each) => each['title'])).toContain('still here')
  await expect(upload('cut.zip', zip)).rejects.toMatchObject({
    response: { data: { file: { code: 'validation_backup_name_exists' } } },
  })
  await expect(upload('text.zip', Buffer.from('no archive'))).rejects.toMatchObject({
    response: { data: { file: { code: 'validation_invalid_mime_type' } } },
  })
})

test('names lead nowhere else', async () => {
  const statusOf = (work: Promise<unknown>) =>
    work.then(
      () => 204,
      (error: ClientResponseError) => error.status,
    )
  const zip = await readFile(join(dir, 'out.zip'))
  for (const name of ['../up.zip', 'a/b.zip', '..', 'a\\b.zip', 'A.zip', `${'x'.repeat(160)}.zip`, 'a.zip\0'])
    expect(await statusOf(client.backups.create(name))).toBe(400)
  const before = objectsIn('.')
  for (const name of [
    '../data.db',
    '..%2fdata.db',
    '..%2f..%2fx',
    '%2e%2e%2fmanifest.json',
    '.',
    'a%5cb',
    'x%00.zip',
  ]) {
    const path = `/api/backups/${name}`
    for (const [method, suffix] of [
      ['DELETE', ''],
      ['POST', '/restore'],
      ['GET', `?token=${await client.files.getToken()}`],
    ] as const) {
      const response = await fetch(`${fleet.tenantUrl(slug)}${path}${suffix}`, {
        method,
        headers: method === 'GET' ? {} : { authorization: client.authStore.token },
      })
      expect([400, 404]).toContain(response.status)
    }
  }
  await client.backups.upload({ file: new File([zip], '../../../up.zip') }).catch(() => {})
  const after = objectsIn('.').filter((each) => !before.includes(each))
  expect(after.filter((each) => !/^(backups\/[^/]+|auxiliary\.db\/.*|data\.db\/.*)$/.test(each))).toEqual([])
})

test('scheduled backups are kept by number, and a backup is deleted once', async () => {
  await client.settings.update({ backups: { cron: '0 0 1 1 *', cronMaxKeep: 1 } })
  const autos = async () =>
    (await client.backups.getFullList()).map((each) => each.key).filter((key) => key.startsWith('@auto_pb_backup_'))
  await client.crons.run('__pbAutoBackup__')
  const [first] = await until('the first', async () => ((await autos()).length === 1 ? autos() : false))
  await until('another second', () => !first!.includes(new Date().toISOString().replace(/\D/g, '').slice(0, 14)))
  await client.crons.run('__pbAutoBackup__')
  await until('the second in its place', async () => {
    const keys = await autos()
    return keys.length === 1 && keys[0] !== first
  })
  await client.backups.delete('first.zip')
  await expect(client.backups.delete('first.zip')).rejects.toMatchObject({ status: 400 })
  expect(objectsIn('backups')).not.toContain('first.zip')
}, 180_000)

test('a job that came due while the tenant was closed runs without anybody asking for the tenant', async () => {
  for (const name of objectsIn('backups')) await client.backups.delete(name)
  await client.settings.update({ backups: { cron: '0 0 1 1 *', cronMaxKeep: 2 } })
  expect(await fleet.stop()).toBe(0)
  // As if the machine had been off at New Year: the list of closed tenants and of what is due says so.
  const lists = (readdirSync(join(dir, 'node'), { recursive: true }) as string[])
    .filter((name) => /crons-\d+\.json$/.test(name))
    .map((name) => join(dir, 'node', name))
    .filter((path) => Object.keys((JSON.parse(readFileSync(path, 'utf8')) as { due: object }).due).length > 0)
  expect(lists).toHaveLength(1)
  const list = JSON.parse(readFileSync(lists[0]!, 'utf8')) as { version: number; due: Record<string, number> }
  const [tenant, dueAtMs] = Object.entries(list.due)[0]!
  expect(new Date(dueAtMs).toISOString()).toMatch(/-01-01T00:00:00/)
  list.due = { [tenant]: new Date(dueAtMs).setUTCFullYear(new Date().getUTCFullYear()) }
  writeFileSync(lists[0]!, JSON.stringify(list))
  fleet = await Fleet.start({ dir })
  await until('a backup that nobody asked for', () => objectsIn('backups').length === 1)
}, 180_000)
