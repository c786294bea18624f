// Goal: an existing app moves into a fleet from its directory or from a backup, an import that is killed leaves the tenant
// as it was and goes on when it is started again, and no archive does harm. Method: a real fleet and the command line.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test'
import { createWriteStream, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import PocketBase from 'pocketbase'
import { ZipFile } from 'yazl'
import { saveUser } from '../support/engine.ts'
import { Fleet, programCommand } from '../support/fleet.ts'
import { type Standalone, startStandalone } from '../support/standalone.ts'
import { until } from '../support/wait.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const superuser = { email: 'root@example.com', password: 'a-long-password' }
const records = 30
let dir: string
let fleet: Fleet
let app: Standalone

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'pf-import-'))
  app = await startStandalone()
  await saveUser(app.engine, '_superusers', superuser)
  const client = new PocketBase(app.url)
  client.autoCancellation(false)
  await client.collection('_superusers').authWithPassword(superuser.email, superuser.password)
  const fields = [{ name: 'files', type: 'file', maxSelect: 9, maxSize: 50_000_000 }]
  await client.collections.create({ name: 'notes', type: 'base', listRule: '', viewRule: '', fields })
  for (let n = 0; n < records; n++) {
    const bytes = n === 0 ? 20_000_000 : 1_000
    await client.collection('notes').create({ files: [new File([Buffer.alloc(bytes, String(n))], `ä ${n}.txt`)] })
  }
  await client.backups.create('app.zip')
  fleet = await Fleet.start({ dir: join(dir, 'fleet') })
}, 180_000)

afterAll(async () => {
  await fleet?.stop()
  await app?.stop()
  rmSync(dir, { recursive: true, force: true })
})

async function newTenant(slug: string): Promise<PocketBase> {
  const response = await fetch(`${fleet.url}/api/cp/tenants`, {
    method: 'POST',
    headers: { authorization: `Bearer ${fleet.adminToken}`, 'content-type': 'application/json' },
    body: JSON.stringify({ id: slug, superuser: { email: 'before@example.com', password: 'before-the-import' } }),
  })
  expect(response.status).toBe(201)
  return fleet.sdk(slug)
}

const importInto = async (slug: string, source: string) =>
  JSON.parse(await fleet.cli(['tenant', 'import', source, '--tenant', slug, '--yes', '--json'])) as {
    files: number
    filesKept: number
  }

async function checkImported(client: PocketBase): Promise<void> {
  await client.collection('_superusers').authWithPassword(superuser.email, superuser.password)
  const notes = await client.collection('notes').getFullList({ sort: '@rowid' })
  expect(notes).toHaveLength(records)
  for (const [n, note] of notes.entries()) {
    if (n > 3) break
    const response = await fetch(client.files.getURL(note, note['files'][0]))
    expect(await response.bytes()).toEqual(Buffer.alloc(n === 0 ? 20_000_000 : 1_000, String(n)))
  }
}

test('an import that is killed changes nothing, and goes on where it stopped', async () => {
  const client = await newTenant('killed')
  const [tenant] = readdirSync(join(dir, 'fleet/objects/t'))
  const files = join(dir, 'fleet/objects/t', tenant!, 'files')
  const sent = () => (existsSync(files) ? readdirSync(files, { recursive: true }).length : 0)
  const child = Bun.spawn([...programCommand('source'), 'tenant', 'import', app.dir, '--tenant', 'killed', '--yes'], {
    stdout: 'ignore',
    stderr: 'ignore',
    env: { ...process.env, POCKETFLEET_URL: fleet.url, POCKETFLEET_TOKEN: fleet.adminToken! },
  })
  await until('some files to be there', () => sent() > 8)
  child.kill('SIGKILL')
  await child.exited
  await client.collection('_superusers').authWithPassword('before@example.com', 'before-the-import')
  expect((await client.collections.getFullList()).map(({ name }) => name)).not.toContain('notes')
  const result = await importInto('killed', app.dir)
  expect(result).toMatchObject({ files: records })
  expect(result.filesKept).toBeGreaterThan(0)
  await checkImported(client)
}, 180_000)

test('a backup is imported from its ZIP, twice with the same result', async () => {
  const client = await newTenant('zipped')
  const zip = join(app.dir, 'backups/app.zip')
  expect(await importInto('zipped', zip)).toMatchObject({ files: records, filesKept: 0 })
  await checkImported(client)
  expect(await importInto('zipped', zip)).toMatchObject({ files: records, filesKept: records })
  await checkImported(client)
}, 180_000)

test('superusers of a tenant of a fleet, on a grant', async () => {
  const client = await newTenant('administered')
  const superusers = (...args: string[]) => fleet.cli(['superuser', ...args, '--tenant', 'administered'])
  await superusers('create', 'new@example.com', 'a-new-password')
  await superusers('update', 'new@example.com', 'another-password')
  await client.collection('_superusers').authWithPassword('new@example.com', 'another-password')
  await superusers('delete', 'before@example.com')
  expect((await client.collection('_superusers').getFullList()).map((each) => each['email'])).toEqual([
    'new@example.com',
  ])
  await expect(superusers('delete', 'before@example.com')).rejects.toThrow(/There is no superuser/)
  await expect(superusers('delete', 'new@example.com')).rejects.toThrow(/only existing superuser/)
  await expect(superusers('create', 'new@example.com', 'a-new-password')).rejects.toThrow(/email/)
  await expect(superusers('otp', 'new@example.com')).rejects.toThrow(/OTP auth is not enabled/)
  await superusers('ips', '10.1.2.3')
  await expect(client.settings.getAll()).rejects.toMatchObject({ status: 403 })
  await superusers('ips')
  expect((await client.settings.getAll())['superuserIPs']).toEqual([])
  for (const authorization of ['', 'Grant x', client.authStore.token])
    expect(
      (
        await fetch(`${fleet.tenantUrl('administered')}/api/platform/superusers`, {
          method: 'POST',
          headers: { authorization, 'content-type': 'application/json' },
          body: JSON.stringify({ verb: 'create', email: 'evil@example.com', password: 'evil-password' }),
        })
      ).status,
    ).toBe(401)
}, 180_000)

async function archive(name: string, fill: (zip: ZipFile) => void, patch = (bytes: Buffer) => bytes): Promise<string> {
  const path = join(dir, name)
  const zip = new ZipFile()
  fill(zip)
  zip.end()
  await pipeline(zip.outputStream as unknown as Readable, createWriteStream(path))
  await writeFile(path, patch(await readFile(path)))
  return path
}

test('archives that are no backup or leave their folder are refused in words, and change nothing', async () => {
  const client = await newTenant('hostile')
  const database = join(app.dir, 'data.db')
  const slip = 'storage/cccc/rrrr/nnnnnnnn'
  const sources = [
    [await archive('none.zip', (zip) => zip.addBuffer(Buffer.from('x'), 'readme.txt')), /holds no data\.db/],
    [join(app.dir, 'data.db'), /no ZIP archive/],
    [await archive('bad.zip', (zip) => zip.addBuffer(Buffer.alloc(9_000, 7), 'data.db')), /cannot be imported/],
    [
      await archive(
        'slip.zip',
        (zip) => {
          zip.addFile(database, 'data.db')
          zip.addBuffer(Buffer.from('x'), slip)
        },
        (bytes) => Buffer.from(bytes.toString('latin1').replaceAll(slip, 'storage/../../manifest.jso'), 'latin1'),
      ),
      /damaged|invalid relative path/,
    ],
    [join(dir, 'missing.zip'), /there is no/],
  ] as const
  for (const [source, words] of sources) {
    await expect(importInto('hostile', source)).rejects.toThrow(words)
    await client.collection('_superusers').authWithPassword('before@example.com', 'before-the-import')
  }
}, 180_000)
