// Goal: an archive is the same bytes each time and from any byte on; it holds what PocketBase would hold and nothing of
// ours. Method: a real engine on a store in memory, preparation in place.

import { Database as Sqlite } from 'bun:sqlite'
import { afterAll, expect, test } from 'bun:test'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { addCollection, addRecord, TenantBench } from '../../../test/support/tenant.ts'
import type { Cut } from '../../ipc/messages/jobs.ts'
import { MemoryObjectStore } from '../../lib/object-store/memory.ts'
import { archiveResponse } from '../api/platform-export.ts'
import { unpackArchive } from '../engine/backups/zip.ts'
import { ExportDesk } from './export-desk.ts'
import type { RunJob } from './job-process.ts'
import { runJob } from './job-runner.ts'

const dir = mkdtempSync(join(tmpdir(), 'pf-exports-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

let folders = 0
function deskOf(bench: TenantBench): ExportDesk {
  const { store, objectPrefix, clock, rng, log } = bench.deps
  const run: RunJob = async ({ tenantId, job, scratchDir }, report, signal) => {
    mkdirSync(scratchDir, { recursive: true })
    return runJob(tenantId, job, { store, objectPrefix, clock, rng, scratchDir, signal, report })
  }
  return new ExportDesk({
    store,
    objectPrefix,
    clock,
    log,
    dir: join(dir, String(++folders)),
    run,
    replicasOf: () => [],
  })
}

async function archiveOf(desk: ExportDesk, tenantId: Parameters<ExportDesk['look']>[0], cut: Cut) {
  for (;;) {
    const answer = await desk.look(tenantId, cut)
    if (answer.type === 'ready') return answer.archive
    await Bun.sleep(1)
  }
}

const read = (stream: ReadableStream<Uint8Array>) => new Response(stream).bytes()

test('the same bytes from two workers and from any byte on; what is in it', async () => {
  const store = new MemoryObjectStore()
  await using bench = await TenantBench.start(store)
  const tenant = await bench.create()
  await addCollection(tenant, 'notes', true)
  const gone = await addRecord(tenant, 'notes', 'gone', ['deleted'])
  const kept = await addRecord(tenant, 'notes', 'kept', ['x'.repeat(20_000), 'y'])
  await tenant.engine.records.delete(gone)
  await tenant.flush()
  const { id } = tenant.spec
  const cut = await bench.job(id, { type: 'cut', wish: { type: 'latest' } })

  const [one, two] = [deskOf(bench), deskOf(bench)]
  const [first, second] = [await archiveOf(one, id, cut), await archiveOf(two, id, cut)]
  const whole = await read(first.stream(0))
  expect(whole.length).toBe(first.sizeBytes)
  expect(second.etag).toBe(first.etag)
  expect(Buffer.compare(whole, await read(second.stream(0)))).toBe(0)
  for (const from of [1, 30, 5_000, Math.floor(whole.length / 2), whole.length - 1])
    expect(Buffer.compare(whole.subarray(from), await read(second.stream(from)))).toBe(0)

  const path = join(dir, 'whole.zip')
  writeFileSync(path, whole)
  const unpacked = join(dir, 'unpacked')
  await unpackArchive(path, unpacked)
  const data = new Sqlite(join(unpacked, 'data.db'))
  expect(data.query("SELECT name FROM sqlite_schema WHERE name LIKE '\\_pf%' ESCAPE '\\'").all()).toEqual([])
  expect(data.query('SELECT title FROM notes').values()).toEqual([['kept']])
  expect(data.query('PRAGMA integrity_check').values()).toEqual([['ok']])
  data.close()
  const { id: collection } = tenant.engine.collections.require('notes').data
  const names = kept.get('photos') as string[]
  const texts = names.map((name) => readFileSync(join(unpacked, 'storage', collection, kept.id, name), 'utf8'))
  expect(texts.sort()).toEqual(['x'.repeat(20_000), 'y'])

  // HTTP: ranges only for the content that broke off.
  const ask = (headers: Record<string, string>) => archiveResponse(first, new Headers(headers))
  expect(ask({}).status).toBe(200)
  expect(ask({ range: 'bytes=5-', 'if-range': '"other"' }).status).toBe(200)
  const part = ask({ range: 'bytes=5-', 'if-range': first.etag })
  expect([part.status, part.headers.get('content-range')]).toEqual([206, `bytes 5-${whole.length - 1}/${whole.length}`])
  expect(Buffer.compare(await part.bytes(), whole.subarray(5))).toBe(0)
  expect(ask({ range: `bytes=${whole.length}-` }).status).toBe(416)

  // A reader that goes away leaves nothing open, and a file that is gone breaks the stream, never the archive's end.
  const reader = first.stream(0).getReader()
  await reader.read()
  await reader.cancel()
  await store.delete(store.keys.filter((key) => key.includes('/files/')))
  await expect(read(first.stream(0))).rejects.toThrow()
  await one.close()
  await two.close()
})

test('what cannot be exported says so, and may be asked for again', async () => {
  const store = new MemoryObjectStore()
  await using bench = await TenantBench.start(store)
  const tenant = await bench.create()
  await addCollection(tenant, 'notes', true)
  await addRecord(tenant, 'notes', 'first', ['one'])
  await tenant.flush()
  const cut = await bench.job(tenant.spec.id, { type: 'cut', wish: { type: 'latest' } })
  const desk = deskOf(bench)
  await expect(archiveOf(desk, tenant.spec.id, { ...cut, data: 99 as never })).rejects.toMatchObject({
    code: 'ltx_gap',
  })
  store.fault = (operation) => (operation === 'get' ? { type: 'error', status: 500 } : null)
  await expect(archiveOf(desk, tenant.spec.id, cut)).rejects.toMatchObject({ code: 'object_store' })
  store.fault = null
  expect((await archiveOf(desk, tenant.spec.id, cut)).sizeBytes).toBeGreaterThan(10_000)
  await store.delete(store.keys.filter((key) => key.includes('/files/')))
  await expect(archiveOf(deskOf(bench), tenant.spec.id, cut)).rejects.toMatchObject({ code: 'source_file_gone' })
  await desk.close()
})

test('many exports at once: each is prepared once, a few stay on disk, and those that are read are not dropped', async () => {
  await using bench = await TenantBench.start()
  const tenant = await bench.create()
  await addCollection(tenant, 'notes')
  const { id } = tenant.spec
  const cuts: Cut[] = []
  for (let i = 0; i < 6; i++) {
    await addRecord(tenant, 'notes', `note ${i}`)
    await tenant.flush()
    cuts.push(await bench.job(id, { type: 'cut', wish: { type: 'latest' } }))
  }
  const desk = deskOf(bench)
  const [first, again] = await Promise.all([archiveOf(desk, id, cuts[0]!), archiveOf(desk, id, cuts[0]!)])
  expect(again.etag).toBe(first.etag)
  const reader = first.stream(0).getReader()
  await reader.read()
  for (const cut of cuts.slice(1)) await archiveOf(desk, id, cut)
  const other = (await archiveOf(desk, id, cuts[5]!)).stream(0).getReader()
  await other.read()
  await expect(desk.look(id, cuts[1]!)).rejects.toMatchObject({ code: 'overloaded' }) // two are read already
  await other.cancel()
  await archiveOf(desk, id, cuts[1]!)
  const folder = join(dir, String(folders))
  expect(readdirSync(folder).length).toBe(4)
  let bytes = 0
  for (let part = await reader.read(); !part.done; part = await reader.read()) bytes += part.value.length
  expect(bytes).toBeGreaterThan(10_000)
  await desk.close()
})
