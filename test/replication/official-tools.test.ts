// Goal: programs we did not write restore what we ship, byte for byte, at every TXID, and we restore what they ship.
// Method: official `litestream` and `ltx` over a directory and over S3 (MinIO).

import { Database as Sqlite } from 'bun:sqlite'
import { afterAll, expect, setDefaultTimeout } from 'bun:test'
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Txid } from '../../src/lib/brand.ts'
import type { ObjectStore } from '../../src/lib/object-store/object-store.ts'
import { openObjectStore } from '../../src/lib/object-store/open.ts'
import { seededRng } from '../../src/lib/rng.ts'
import { getSlot, type HistoryLocation } from '../../src/replicate/ltx-store.ts'
import { restoreDatabase } from '../../src/replicate/restore.ts'
import { startMinio } from '../support/minio.ts'
import { testWithPeers } from '../support/peers.ts'
import { until } from '../support/wait.ts'
import { Owner, prefix, restoredHash } from './histories.ts'
import { type OfficialReplica, officialHash, officialHashAt, run, txidText } from './official.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const folders: string[] = []
function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'pf-official-'))
  folders.push(dir)
  return dir
}
afterAll(() => {
  for (const dir of folders) rmSync(dir, { recursive: true, force: true })
})

/** A history with growth, shrinking, schema changes, a takeover with its seal, and the hash of each TXID. */
async function workload(store: ObjectStore, pageSize: number): Promise<Map<Txid, string>> {
  const hashes = new Map<Txid, string>()
  const rng = seededRng(pageSize)
  await using first = await Owner.create(store, { pageSize, autoVacuum: true })
  hashes.set(first.shipper.txid, first.hash())
  const step = async (owner: Owner, body: () => void) => {
    await owner.db.transaction(body)
    await owner.flush()
    hashes.set(owner.shipper.txid, owner.hash())
  }
  for (let i = 0; i < 3; i++)
    await step(first, () => first.db.run('INSERT INTO t (v) VALUES (?)', [rng.bytes(pageSize * 5)]))
  await step(first, () => first.db.run('DELETE FROM t WHERE id > 1'))
  await first.close()
  await using second = await Owner.open(store, 2)
  hashes.set(second.shipper.txid, second.hash())
  await step(second, () => {
    second.db.exec('CREATE TABLE u (a, b)')
    second.db.exec('CREATE INDEX by_a ON u (a)')
  })
  await step(second, () => second.db.run('INSERT INTO u VALUES (?, ?)', ['text '.repeat(pageSize), 1]))
  await second.close()
  await using third = await Owner.open(store, 3, { dir: second.dir })
  hashes.set(third.shipper.txid, third.hash())
  return hashes
}

async function expectOfficialRestores(replica: OfficialReplica, hashes: ReadonlyMap<Txid, string>): Promise<void> {
  const dir = folder()
  const latest = await officialHash(replica, join(dir, 'latest.db'), ['-integrity-check', 'full'])
  expect(latest).toBe([...hashes.values()].at(-1)!)
  for (const [txid, hash] of hashes)
    expect(await officialHash(replica, join(dir, `${txid}.db`), ['-txid', txidText(txid)])).toBe(hash)
}

async function expectOfficialTimes(
  replica: OfficialReplica,
  at: HistoryLocation,
  hashes: ReadonlyMap<Txid, string>,
): Promise<void> {
  const dir = folder()
  for (const [txid, hash] of hashes) {
    const { header } = (await getSlot(at, txid))!
    expect(await officialHashAt(replica, join(dir, `${txid}.db`), header.timestampMs)).toBe(hash)
  }
}

testWithPeers(
  ['litestream', 'ltx'],
  'official tools read the directory layout at every TXID',
  async ({ litestream, ltx }) => {
    for (const pageSize of [512, 4_096, 65_536]) {
      const dir = folder()
      const store = await openObjectStore({ kind: 'file', dir })
      const hashes = await workload(store, pageSize)
      expect(hashes.size).toBe(9)
      const slots = join(dir, prefix, 'ltx/0')
      const files = readdirSync(slots).map((name) => join(slots, name))
      expect(files.length).toBe(9)
      await run([ltx, 'verify', ...files])
      const replica = { litestream, url: `file://${join(dir, prefix)}`, env: {} }
      await expectOfficialRestores(replica, hashes)
      await expectOfficialTimes(replica, { store, prefix }, hashes)
      for (const [txid, hash] of hashes) expect(await restoredHash({ store, prefix }, txid)).toBe(hash)
    }
  },
)

testWithPeers(
  ['litestream', 'minio'],
  'official litestream restores from S3 at every TXID',
  async ({ litestream, minio }) => {
    await using server = await startMinio(minio, folder())
    const store = await openObjectStore({
      kind: 's3',
      endpoint: server.endpoint,
      region: 'us-east-1',
      bucket: server.bucket,
      prefix: 'fleet',
      credentials: { accessKeyId: server.accessKey, secretAccessKey: server.secretKey },
    })
    const hashes = await workload(store, 4_096)
    const url = `s3://${server.bucket}/fleet/${prefix}?endpoint=${server.endpoint}&forcePathStyle=true&region=us-east-1`
    const env = { LITESTREAM_ACCESS_KEY_ID: server.accessKey, LITESTREAM_SECRET_ACCESS_KEY: server.secretKey }
    await expectOfficialRestores({ litestream, url, env }, hashes)
    const head = await store.head(`${prefix}/0000/0000000000000001-0000000000000001.ltx`)
    expect(head?.metadata['litestream-timestamp']).toMatch(/^\d{4}-\d\d-\d\dT.*Z$/)
    await store.close()
  },
)

testWithPeers(
  ['litestream'],
  'we restore and take over what official litestream replicates',
  async ({ litestream }) => {
    const dir = folder()
    const source = join(dir, 'source.db')
    const db = new Sqlite(source, { create: true })
    db.run('PRAGMA journal_mode = WAL')
    db.run('CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)')
    db.run("INSERT INTO t (v) VALUES ('a')")
    const replica = join(dir, 'objects', prefix)
    mkdirSync(join(dir, 'objects'))
    const child = Bun.spawn([litestream, 'replicate', source, `file://${replica}`], {
      stdin: 'ignore',
      stdout: 'ignore',
      stderr: 'ignore',
    })
    try {
      const store = await openObjectStore({ kind: 'file', dir: join(dir, 'objects') })
      const slots = () => readdirSync(join(replica, 'ltx/0')).filter((name) => name.endsWith('.ltx')).length
      await until('the first file', () => slots() > 0)
      db.run("INSERT INTO t (v) VALUES ('b')")
      await until('the second file', () => slots() > 1)
      child.kill('SIGTERM')
      await child.exited
      await using owner = await Owner.open(store, 1)
      expect(owner.values()).toEqual(['a', 'b'])
      await owner.insert('ours')
      await owner.flush()
      const official = { litestream, url: `file://${replica}`, env: {} }
      expect(await officialHash(official, join(dir, 'restored.db'))).toBe(owner.hash())
    } finally {
      child.kill('SIGKILL')
      await child.exited
      db.close()
    }
  },
)

testWithPeers(
  ['litestream'],
  'round trip: the official replicator goes on behind our seal, and we behind it',
  async ({ litestream }) => {
    const dir = folder()
    const store = await openObjectStore({ kind: 'file', dir: join(dir, 'objects') })
    const at = { store, prefix }
    const replica = join(dir, 'objects', prefix)
    await using first = await Owner.create(store)
    await first.insert('ours')
    await first.close()
    await using sealer = await Owner.open(store, 2)
    await sealer.close()
    const tail = sealer.shipper.txid
    const copy = join(dir, 'mine.db')
    await restoreDatabase(at, copy, { target: null })
    const db = new Sqlite(copy)
    db.run('PRAGMA journal_mode = WAL')
    const child = Bun.spawn([litestream, 'replicate', copy, `file://${replica}`], {
      stdin: 'ignore',
      stdout: 'ignore',
      stderr: 'ignore',
    })
    try {
      db.run("INSERT INTO t (v) VALUES ('theirs')")
      await until('its slot', async () => (await getSlot(at, (tail + 1) as Txid)) !== null)
      child.kill('SIGTERM')
      await child.exited
    } finally {
      child.kill('SIGKILL')
      await child.exited
      db.close()
    }
    await using again = await Owner.open(store, 3)
    expect(again.values()).toEqual(['ours', 'theirs'])
    await again.insert('ours again')
    await again.flush()
    const official = { litestream, url: `file://${replica}`, env: {} }
    expect(await officialHash(official, join(dir, 'latest.db'), ['-integrity-check', 'full'])).toBe(again.hash())
    const behindSeal = await officialHash(official, join(dir, 'seal.db'), ['-txid', txidText(tail)])
    expect(behindSeal).toBe(await restoredHash(at, tail))
  },
)
