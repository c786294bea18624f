// Goal: damaged files are found and named, never served and never made worse; where others hold the same, they serve.
// Method: a real fleet is killed, bytes of its WAL or of objects are changed or cut, and it starts again.

import { afterAll, expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { Fleet } from '../support/fleet.ts'
import { until } from '../support/wait.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const dir = mkdtempSync(join(tmpdir(), 'pf-damage-'))
const superuser = { email: 'root@example.com', password: 'a-long-password' }
const titles = Array.from({ length: 50 }, (_, n) => `note ${n}`).sort()
let fleet: Fleet

afterAll(async () => {
  await fleet?.killTree()
  rmSync(dir, { recursive: true, force: true })
})

const start = async () => {
  fleet = await Fleet.start({ dir, flags: ['--workers=1'] })
}

const filesOf = (folder: string, name: RegExp) =>
  readdirSync(join(dir, folder), { recursive: true })
    .map(String)
    .filter((path) => name.test(path))
    .sort()
    .map((path) => join(dir, folder, path))

async function stored(): Promise<string[]> {
  const found = await fleet.sdk('one').collection('notes').getFullList<{ title: string }>()
  return found.map(({ title }) => title).sort()
}

test('a WAL full of wrong bytes is replaced by what was shipped', async () => {
  await start()
  await fleet.cli([
    'tenant',
    'create',
    'one',
    '--ack=sync',
    `--superuser=${superuser.email}`,
    `--superuser-password=${superuser.password}`,
  ])
  const client = fleet.sdk('one')
  await client.collection('_superusers').authWithPassword(superuser.email, superuser.password)
  await client.collections.create({
    name: 'notes',
    type: 'base',
    listRule: '',
    fields: [{ name: 'title', type: 'text' }],
  })
  await Promise.all(titles.map((title) => client.collection('notes').create({ title })))
  await fleet.killTree()
  const wals = filesOf('node', /data\.db-wal$/)
  expect(wals.length).toBe(1)
  const bytes = readFileSync(wals[0]!)
  for (let at = 100; at < bytes.length; at += 97) bytes[at]! ^= 0xff
  writeFileSync(wals[0]!, bytes)
  await start()
  expect(await stored()).toEqual(titles)
}, 180_000)

/** Cuts the file in half; gives it back with what it returns. */
function cut(path: string): () => void {
  const whole = readFileSync(path)
  writeFileSync(path, whole.subarray(0, whole.length >> 1))
  return () => writeFileSync(path, whole)
}

const imagesOf = () => filesOf('objects', /data\.db\/ltx\/9\/.*\.ltx$/)

test('an image that was cut is named in the log, and what it was made of serves in its place', async () => {
  expect(await fleet.stop()).toBe(0)
  rmSync(join(dir, 'node'), { recursive: true })
  // Closing left one image in place of the slots: the newest state would be read from it.
  const path = imagesOf().at(-1)!
  cut(path)
  await start()
  expect(await until('the tenant to open', stored)).toEqual(titles)
  await until('the log', () => fleet.output.includes('a merged file is damaged'))
  expect(fleet.output).toContain(basename(path))
})

test('with a slot cut too it is 503, and the slot is named; whole again, everything is there', async () => {
  expect(await fleet.stop()).toBe(0)
  rmSync(join(dir, 'node'), { recursive: true })
  const slot = filesOf('objects', /data\.db\/ltx\/0\/.*\.ltx$/)[0]!
  const mend = [...imagesOf(), slot].map(cut)
  await start()
  const answer = await fetch(`${fleet.tenantUrl('one')}/api/collections/notes/records`)
  expect(answer.status).toBe(503)
  expect(await answer.json()).toEqual({ status: 503, message: expect.any(String), data: {} })
  await until('the log', () => fleet.output.includes(`${basename(slot)} is damaged`))
  for (const each of mend) each()
  expect(await until('the tenant to open', stored)).toEqual(titles)
})
