// Goal: a `pb_data` moves between PocketBase and us, both ways, as a directory and as a backup.
// Method: the same app is made over HTTP on one server; the other one opens what the first wrote, and everything that a
// client can see must be equal: collections, records, settings, files, sign-ins and tokens that are out already.

import { Database } from 'bun:sqlite'
import { afterEach, expect, setDefaultTimeout } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { saveUser } from '../support/engine.ts'
import { peer, testWithPeers } from '../support/peers.ts'
import { type PeerServer, startPocketBase } from '../support/pocketbase.ts'
import { serveStandalone } from '../support/standalone.ts'
import { until } from '../support/wait.ts'
import { makeApp, type Seen, see, signInAgain } from './pb-data/app.ts'
import { newClient, signedIn, superuser } from './sdk/world.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

type Kind = 'ours' | 'theirs'

const folders: string[] = []
const running: PeerServer[] = []

afterEach(async () => {
  for (const server of running.splice(0)) await server.stop()
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
})

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'pf-directions-'))
  folders.push(folder)
  return join(folder, 'pb_data')
}

/** @param isNew makes the superuser first. */
async function start(kind: Kind, dir: string, isNew = false): Promise<PeerServer> {
  const server = await (kind === 'theirs'
    ? startPocketBase(peer('pocketbase')!, { dir, ...(isNew && { superuser }) })
    : startOurs(dir, isNew))
  running.push(server)
  return server
}

async function startOurs(dir: string, isNew: boolean): Promise<PeerServer> {
  const server = await serveStandalone(dir)
  if (isNew) await saveUser(server.engine, '_superusers', { ...superuser, verified: true })
  return server
}

async function stop(server: PeerServer): Promise<void> {
  running.splice(running.indexOf(server), 1)
  await server.stop()
}

/** What the files themselves say: sound, every migration noted and none run since, the same tables and indexes. */
function inspect(dir: string) {
  const database = new Database(join(dir, 'data.db'), { readonly: true })
  try {
    const column = (sql: string) => database.query(sql).values().flat().map(String)
    const statements = column(
      "SELECT type || ' ' || name || ' ' || sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_stat%'",
    )
    return {
      integrity: column('PRAGMA integrity_check'),
      foreignKeys: column('PRAGMA foreign_key_check'),
      migrations: column('SELECT file FROM _migrations ORDER BY file'),
      params: column('SELECT id FROM _params ORDER BY id'),
      // SQLite itself quotes a column anew when it is renamed, which is how PocketBase adds one.
      schema: statements
        .map((sql) =>
          sql
            .replace(/\s+/g, ' ')
            .replace(/ ?([(),]) ?/g, '$1')
            .replaceAll('`', '"'),
        )
        .sort(),
    }
  } finally {
    database.close()
  }
}

const name = { ours: 'us', theirs: 'PocketBase' } as const

for (const [from, to] of [
  ['ours', 'theirs'],
  ['theirs', 'ours'],
] as const) {
  testWithPeers(
    ['pocketbase'],
    `a directory written by ${name[from]} opens in ${name[to]}, and goes back`,
    async () => {
      const dir = newFolder()
      const first = await start(from, dir, true)
      const app = await makeApp(first.url)
      const before = await see(first.url, app)
      await stop(first)
      const written = inspect(dir)
      expect(written).toMatchObject({ integrity: ['ok'], foreignKeys: [] })

      const second = await start(to, dir)
      expect(await see(second.url, app)).toEqual(before)
      await signInAgain(second.url, app)
      // It lives on: the schema changes, records and files come and go.
      const root = await signedIn(second.url)
      const { fields } = await root.collections.getOne('everything')
      await root.collections.update('everything', {
        fields: [
          ...fields.filter((field) => field.name !== 'url').map((field) => renamed(field, 'plain', 'renamed')),
          { name: 'added', type: 'text' },
        ],
      })
      const file = new File(['later'], 'later.txt')
      const made = await root.collection('everything').create({ title: 'made later', added: 'x', files: [file] })
      await root.collection('everything').delete(app.recordIds[0]!)
      const changed = await see(second.url, { ...app, files: [...app.files.slice(2), fileOf(made)] })
      await stop(second)
      expect(inspect(dir)).toMatchObject({ integrity: ['ok'], foreignKeys: [], migrations: written.migrations })

      const third = await start(from, dir)
      expect(await see(third.url, { ...app, files: [...app.files.slice(2), fileOf(made)] })).toEqual(changed)
      await signInAgain(third.url, app)
    },
  )

  testWithPeers(['pocketbase'], `a backup made by ${name[from]} restores in ${name[to]}`, async () => {
    const source = await start(from, newFolder(), true)
    const app = await makeApp(source.url)
    const root = await signedIn(source.url)
    await root.backups.create('travel.zip')
    const before = await see(source.url, app)
    const zip = await (await fetch(root.backups.getDownloadURL(await root.files.getToken(), 'travel.zip'))).blob()

    const targetDir = newFolder()
    const target = await start(to, targetDir, true)
    const other = await signedIn(target.url)
    await other.backups.upload({ file: new File([zip], 'travel.zip', { type: 'application/zip' }) })
    await other.backups.restore('travel.zip')
    const isThere = async () => (await newClient(target.url).collection('everything').getList(1, 1)).totalItems > 0
    await until('the restored app', isThere)
    expect(await see(target.url, app)).toEqual(before)
    await signInAgain(target.url, app)
    await stop(target)
    expect(inspect(targetDir)).toMatchObject({ integrity: ['ok'], foreignKeys: [] })
  })
}

testWithPeers(['pocketbase'], 'the same requests leave the same tables, indexes and migrations', async () => {
  const [ours, theirs] = [newFolder(), newFolder()]
  const seen: Seen[] = []
  for (const [kind, dir] of [
    ['ours', ours],
    ['theirs', theirs],
  ] as const) {
    const server = await start(kind, dir, true)
    const app = await makeApp(server.url)
    seen.push(await see(server.url, app))
    await stop(server)
  }
  expect(inspect(ours)).toEqual(inspect(theirs))
  const shapes = seen.map(({ collections }) => collections.map(withoutChance))
  expect(shapes[0]).toEqual(shapes[1]!)
})

const renamed = (field: { name: string }, from: string, to: string) =>
  field.name === from ? { ...field, name: to } : field

const fileOf = (record: { id: string; [key: string]: unknown }) =>
  `everything/${record.id}/${(record['files'] as string[])[0]}`

/** Secrets are random, and so are the ids of a view's copied fields; times differ. */
function withoutChance(collection: unknown): unknown {
  return JSON.parse(
    JSON.stringify(collection, (key, value: unknown) => {
      if (key === 'created' || key === 'updated' || key === 'secret') return undefined
      return key === 'id' && typeof value === 'string' ? value.replace(/^_clone_\w+$/, '_clone_') : value
    }),
  )
}
