// Goal: every store keeps the contract of object-store.ts. Method: one suite over memory, a directory and a real S3
// server (MinIO).

import { afterAll, expect, test } from 'bun:test'
import { mkdtemp, readdir, rm, stat, utimes } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CreateMultipartUploadCommand, S3Client } from '@aws-sdk/client-s3'
import { startMinio } from '../../../test/support/minio.ts'
import { testWithPeers } from '../../../test/support/peers.ts'
import { S3Double } from '../../../test/support/s3-double.ts'
import { fromUtf8, utf8 } from '../bytes.ts'
import { SimClock, systemClock } from '../clock.ts'
import { systemRng } from '../rng.ts'
import { isObjectKey } from './key.ts'
import { MappedObjectStore } from './mapped.ts'
import { MemoryObjectStore } from './memory.ts'
import { MeteredObjectStore } from './metered.ts'
import { ObjectExistsError, ObjectNotFoundError, type ObjectStore, ObjectStoreError } from './object-store.ts'
import { openObjectStore } from './open.ts'
import { probeCreateOnly } from './probe.ts'
import { ThrottledObjectStore } from './throttled.ts'

/** Before and after whatever these tests write. */
const longAgoMs = Date.UTC(2000, 0)
const farAheadMs = Date.UTC(2100, 0)

const folders: string[] = []
async function folder(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'pf-objects-'))
  folders.push(dir)
  return dir
}
afterAll(async () => {
  for (const dir of folders) await rm(dir, { recursive: true, force: true })
})

async function contract(store: ObjectStore, scratchDir: string): Promise<void> {
  // Writes and reads.
  await store.put('a/one', utf8('hello'))
  expect(fromUtf8(await store.get('a/one'))).toBe('hello')
  expect(fromUtf8(await store.get('a/one', { range: { from: 1, to: 3 } }))).toBe('el')
  expect(fromUtf8(await store.get('a/one', { range: { from: 3, to: 99 } }))).toBe('lo')
  expect((await store.get('a/one', { range: { from: 50, to: 60 } })).length).toBe(0)
  await store.put('a/one', utf8('other'))
  expect(fromUtf8(await store.get('a/one'))).toBe('other')
  await store.put('a/none', new Uint8Array(0))
  expect((await store.get('a/none')).length).toBe(0)

  // Absence is an answer of its own.
  expect(await store.head('a/missing')).toBeNull()
  await expect(store.get('a/missing')).rejects.toBeInstanceOf(ObjectNotFoundError)
  await expect(store.getStream('a/missing')).rejects.toBeInstanceOf(ObjectNotFoundError)

  // Create-only: one winner of many, and its bytes stay.
  const racers = await Promise.allSettled(
    Array.from({ length: 10 }, (_, i) => store.put('race', utf8(`writer ${i}`), { createOnly: true })),
  )
  const winners = racers.flatMap((racer, i) => (racer.status === 'fulfilled' ? [i] : []))
  expect(winners.length).toBe(1)
  for (const racer of racers) if (racer.status === 'rejected') expect(racer.reason).toBeInstanceOf(ObjectExistsError)
  expect(fromUtf8(await store.get('race'))).toBe(`writer ${winners[0]}`)
  expect(await probeCreateOnly(store, 'probe', systemRng)).toBe(true)

  // A copy is an object of its own, with the same bytes and metadata.
  const copiedAt = '2026-08-04T12:00:01.000Z'
  await store.put('copy/from', utf8('to be copied'), { metadata: { 'litestream-timestamp': copiedAt } })
  await store.copy('copy/from', 'copy/to here/ä')
  await store.copy('copy/from', 'copy/from', { storageClass: 'REDUCED_REDUNDANCY' })
  await store.put('copy/from', utf8('changed'))
  expect(fromUtf8(await store.get('copy/to here/ä'))).toBe('to be copied')
  expect(Date.parse((await store.head('copy/to here/ä'))?.metadata['litestream-timestamp'] ?? '')).toBe(
    Date.parse(copiedAt),
  )
  await store.delete(['copy/from'])
  expect(fromUtf8(await store.get('copy/to here/ä'))).toBe('to be copied')
  await expect(store.copy('copy/from', 'copy/again')).rejects.toBeInstanceOf(ObjectNotFoundError)
  await store.delete(['copy/to here/ä'])

  // Metadata and facts.
  const timestamp = '2026-08-04T12:00:00.123Z'
  await store.put('meta', utf8('12345'), { createOnly: true, metadata: { 'litestream-timestamp': timestamp } })
  const head = await store.head('meta')
  expect(head?.metadata['litestream-timestamp']).toBe(timestamp)
  expect(head?.sizeBytes).toBe(5)

  // Listings: order, delimiter, after, pages.
  for (const key of ['list/b', 'list/a/1', 'list/a/2', 'list/c', 'listing']) await store.put(key, utf8('x'))
  const flat = await store.list({ prefix: 'list/' })
  expect(flat.objects.map((object) => object.key)).toEqual(['list/a/1', 'list/a/2', 'list/b', 'list/c'])
  expect(flat.next).toBeNull()
  const level = await store.list({ prefix: 'list/', delimiter: '/' })
  expect(level.objects.map((object) => object.key)).toEqual(['list/b', 'list/c'])
  expect(level.prefixes).toEqual(['list/a/'])
  const after = await store.list({ prefix: 'list/', after: 'list/a/2' })
  expect(after.objects.map((object) => object.key)).toEqual(['list/b', 'list/c'])
  expect((await store.list({ prefix: 'nothing/' })).objects).toEqual([])

  // Files, small and in parts.
  for (const [name, sizeBytes] of [
    ['small', 1_000],
    ['large', 17_000_000],
  ] as const) {
    const path = join(scratchDir, name)
    const bytes = systemRng.bytes(sizeBytes)
    await Bun.write(path, bytes)
    await store.putFile(`files/${name}`, path, { createOnly: true })
    const { info, body } = await store.getStream(`files/${name}`)
    expect(info.sizeBytes).toBe(sizeBytes)
    expect(Buffer.compare(Buffer.from(await new Response(body).arrayBuffer()), bytes)).toBe(0)
    await expect(store.putFile(`files/${name}`, path, { createOnly: true })).rejects.toBeInstanceOf(ObjectExistsError)
  }

  // Deleting.
  await store.delete(['a/one', 'a/missing'])
  expect(await store.head('a/one')).toBeNull()
  expect(await store.head('a/none')).not.toBeNull()

  // An aborted caller gets its own reason.
  const reason = new Error('no longer wanted')
  await expect(store.get('meta', { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  await expect(store.put('../escape', utf8('x'))).rejects.toThrow('not an object key')
}

test('a store in memory keeps the contract', async () => {
  await contract(new MemoryObjectStore(), await folder())
})

test('a directory keeps the contract and leaves no temporary files', async () => {
  const dir = await folder()
  const store = await openObjectStore({ kind: 'file', dir })
  await contract(store, await folder())
  const names = await readdir(dir, { recursive: true })
  expect(names.filter((name) => name.includes('tmp'))).toEqual([])
  expect((await stat(join(dir, 'meta'))).mtimeMs).toBeCloseTo(Date.parse('2026-08-04T12:00:00.123Z'), -1)
  await store.delete(['list/a/1', 'list/a/2'])
  expect(await readdir(join(dir, 'list'))).toEqual(['b', 'c'])
})

test('S3 (in-repo server) keeps the contract', async () => {
  await using double = await S3Double.start()
  const store = await openObjectStore({
    kind: 's3',
    endpoint: double.endpoint,
    region: double.region,
    bucket: double.bucket,
    prefix: 'some/prefix',
    credentials: { accessKeyId: double.accessKey, secretAccessKey: double.secretKey },
  })
  await contract(store, await folder())
  await store.close()
})

test('a throttled store keeps the contract, and its rate', async () => {
  await contract(
    new ThrottledObjectStore(new MemoryObjectStore(), { requestsPerSecond: 1e6, bytesPerSecond: 1e9 }, systemClock),
    await folder(),
  )
  const clock = new SimClock()
  const inner = new MemoryObjectStore({ clock })
  const store = new ThrottledObjectStore(inner, { requestsPerSecond: 10, bytesPerSecond: 1_000 }, clock)
  await store.put('k', new Uint8Array(5_000)) // a burst, and four seconds of debt
  let isRead = false
  const reading = store.get('k').then(() => {
    isRead = true
  })
  await clock.advance(3_900)
  expect(isRead).toBe(false)
  await clock.advance(200)
  await clock.advance(10)
  await reading
  const again = store.get('k')
  const many = Array.from({ length: 30 }, () => store.head('none'))
  await clock.advance(10)
  expect(inner.requestCountOf('get')).toBe(1) // what was read has to be waited for as well
  for (let passed = 0; passed < 10_000; passed += 50) await clock.advance(50)
  await Promise.all([...many, again])
  expect(inner.requestCountOf('head')).toBe(30)
  expect(inner.requestCountOf('get')).toBe(2)
})

test('a mapped store keeps the contract, and its keys lie elsewhere', async () => {
  const inner = new MemoryObjectStore()
  const rules = [
    { from: 'a/', to: 'elsewhere/x/' },
    { from: 'copy/', to: 'copy/e2/' },
  ]
  await contract(new MappedObjectStore(inner, { rules }), await folder())
  const store = new MappedObjectStore(inner, { rules })
  await store.put('a/k', utf8('1'))
  await store.put('b/k', utf8('2'))
  expect(inner.keys.filter((key) => key.endsWith('/k'))).toEqual(['b/k', 'elsewhere/x/k'])
  expect((await store.list({ prefix: 'a/' })).objects.map(({ key }) => key)).toContain('a/k')
  const failing = new MappedObjectStore(inner, {
    rules,
    afterPut: () => {
      throw new Error('no lease')
    },
  })
  await expect(failing.put('a/k', utf8('3'))).rejects.toThrow('no lease')
  await expect(failing.put('a/k', utf8('3'), { createOnly: true })).rejects.toThrow('no lease')
  await failing.put('b/k', utf8('3'))
})

test('a metered store keeps the contract and counts', async () => {
  await contract(new MeteredObjectStore(new MemoryObjectStore()), await folder())

  const inner = new MemoryObjectStore()
  const store = new MeteredObjectStore(inner)
  await store.put('k', utf8('12345'), { createOnly: true })
  await expect(store.put('k', utf8('12345'), { createOnly: true })).rejects.toBeInstanceOf(ObjectExistsError)
  await expect(store.get('none')).rejects.toBeInstanceOf(ObjectNotFoundError)
  await store.get('k', { range: { from: 1, to: 3 } })
  await new Response((await store.getStream('k')).body).bytes()
  inner.fault = () => ({ type: 'error', status: 500 })
  await expect(store.list({ prefix: '' })).rejects.toBeInstanceOf(ObjectStoreError)
  expect(store.reading).toEqual({
    calls: { put: 2, copy: 0, get: 3, head: 0, list: 1, delete: 0 },
    failures: { put: 0, copy: 0, get: 0, head: 0, list: 1, delete: 0 },
    bytesSent: 5,
    bytesReceived: 2 + 5,
  })
})

test('a long listing goes on page by page', async () => {
  const store = new MemoryObjectStore()
  for (let i = 0; i < 2_500; i++) await store.put(`many/${String(i).padStart(5, '0')}`, utf8('x'))
  const keys: string[] = []
  for (let next: string | null = null; ; ) {
    const page = await store.list({ prefix: 'many/', next })
    keys.push(...page.objects.map((object) => object.key))
    next = page.next
    if (next === null) break
  }
  expect(keys).toEqual(store.keys)
})

/** A client of the official SDK, which begins uploads and forgets them. */
function sdkOf(
  endpoint: string,
  credentials: { readonly accessKeyId: string; readonly secretAccessKey: string },
): S3Client {
  return new S3Client({ endpoint, region: 'us-east-1', forcePathStyle: true, credentials })
}

test('uploads that were never finished are ended, once they are old', async () => {
  await using double = await S3Double.start()
  double.uploadsPerPage = 2
  const credentials = { accessKeyId: double.accessKey, secretAccessKey: double.secretKey }
  const sdk = sdkOf(double.endpoint, credentials)
  const begin = (Key: string) => sdk.send(new CreateMultipartUploadCommand({ Bucket: double.bucket, Key }))
  for (const key of ['p/t/a/1', 'p/t/a/1', 'p/t/a/2', 'p/t/b/1', 'p/other', 'q/t/a/1']) await begin(key)
  const store = await openObjectStore({
    kind: 's3',
    endpoint: double.endpoint,
    region: 'us-east-1',
    bucket: double.bucket,
    prefix: 'p',
    credentials,
  })
  expect(await store.endUploads({ prefix: 't/', beforeMs: longAgoMs })).toBe(0)
  expect(double.uploadKeys.length).toBe(6)
  expect(await store.endUploads({ prefix: 't/', beforeMs: farAheadMs })).toBe(4)
  expect(double.uploadKeys).toEqual(['p/other', 'q/t/a/1'])
  await store.close()
  sdk.destroy()
})

test('what a killed writer left in a directory is ended, once it is old', async () => {
  const dir = await folder()
  const store = await openObjectStore({ kind: 'file', dir })
  await store.put('t/a/one', utf8('1'))
  await store.put('u/one', utf8('1'))
  // What clients uploaded may be named like anything temporary, and is old at some time.
  const uploads = ['t/a/notes_abcdefghij.tmp', 't/a/two.0123456789abcdef.tmp']
  for (const key of uploads) await store.put(key, utf8(key))
  const left = ['t/a/two.0123456789abcdef\\tmp', 't/b/three\\tmp', 'u/four\\tmp']
  const writtenAtMs = Date.UTC(2026, 0)
  for (const name of left) {
    await Bun.write(join(dir, name), 'cut off')
    await utimes(join(dir, name), writtenAtMs / 1_000, writtenAtMs / 1_000)
  }
  expect(await store.endUploads({ prefix: 't/', beforeMs: writtenAtMs })).toBe(0)
  expect(await store.endUploads({ prefix: 't/', beforeMs: writtenAtMs + 1 })).toBe(2)
  expect((await readdir(dir, { recursive: true })).filter((name) => name.endsWith('\\tmp'))).toEqual(['u/four\\tmp'])
  expect((await store.list({ prefix: 't/' })).objects.map(({ key }) => key)).toEqual([
    't/a/notes_abcdefghij.tmp',
    't/a/one',
    't/a/two.0123456789abcdef.tmp',
  ])
  for (const key of uploads) expect(fromUtf8(await store.get(key))).toBe(key)
  expect(await store.endUploads({ prefix: 'none/', beforeMs: farAheadMs })).toBe(0)
  expect(fromUtf8(await store.get('t/a/one'))).toBe('1')
})

testWithPeers(['minio'], 'storage classes, and unfinished uploads, of a real server', async ({ minio }) => {
  await using server = await startMinio(minio, await folder())
  const credentials = { accessKeyId: server.accessKey, secretAccessKey: server.secretKey }
  const location = { endpoint: server.endpoint, region: 'us-east-1', bucket: server.bucket, prefix: '' }
  const store = await openObjectStore({ kind: 's3', ...location, credentials })
  const timestamp = '2026-08-04T12:00:00.123Z'
  const classOf = async (key: string) => (await store.list({ prefix: key })).objects[0]?.storageClass
  await store.put('plain', utf8('1'), { metadata: { 'litestream-timestamp': timestamp } })
  await store.put('rare', utf8('2'), { storageClass: 'REDUCED_REDUNDANCY', createOnly: true })
  expect([await classOf('plain'), await classOf('rare')]).toEqual(['STANDARD', 'REDUCED_REDUNDANCY'])
  // Onto itself: another class, the same bytes and metadata; and back.
  await store.copy('plain', 'plain', { storageClass: 'REDUCED_REDUNDANCY' })
  expect(await classOf('plain')).toBe('REDUCED_REDUNDANCY')
  expect(fromUtf8(await store.get('plain'))).toBe('1')
  expect((await store.head('plain'))?.metadata['litestream-timestamp']).toBe(timestamp)
  await store.copy('plain', 'plain', { storageClass: 'STANDARD' })
  expect(await classOf('plain')).toBe('STANDARD')
  // In parts, which name their class when they begin.
  const large = join(await folder(), 'large')
  await Bun.write(large, new Uint8Array(9 << 20))
  await store.putFile('large', large, { storageClass: 'REDUCED_REDUNDANCY' })
  expect(await classOf('large')).toBe('REDUCED_REDUNDANCY')
  // A class that the store does not know is an error that does not pass, not another class.
  const refusal = await store.put('odd', utf8('3'), { storageClass: 'NO_SUCH_CLASS' }).catch((error) => error)
  expect(refusal).toBeInstanceOf(ObjectStoreError)
  expect([refusal.retryable, refusal.status]).toEqual([false, 400])

  const sdk = sdkOf(server.endpoint, credentials)
  await sdk.send(new CreateMultipartUploadCommand({ Bucket: server.bucket, Key: 't/a/upload' }))
  // MinIO shows them to those who name the whole key.
  expect(await store.endUploads({ prefix: 't/a/upload', beforeMs: longAgoMs })).toBe(0)
  expect(await store.endUploads({ prefix: 't/a/upload', beforeMs: farAheadMs })).toBe(1)
  expect(await store.endUploads({ prefix: 't/a/upload', beforeMs: farAheadMs })).toBe(0)
  sdk.destroy()
  await store.close()
})

testWithPeers(['minio'], 'S3 (MinIO) keeps the contract', async ({ minio }) => {
  await using server = await startMinio(minio, await folder())
  const config = {
    kind: 's3',
    endpoint: server.endpoint,
    region: 'us-east-1',
    bucket: server.bucket,
    prefix: 'some/prefix',
    credentials: { accessKeyId: server.accessKey, secretAccessKey: server.secretKey },
  } as const
  const store = await openObjectStore(config)
  await contract(store, await folder())
  const bare = await openObjectStore({ ...config, prefix: '' })
  expect((await bare.list({ prefix: '', delimiter: '/' })).prefixes).toEqual(['some/'])

  const denied = await openObjectStore({
    ...config,
    credentials: { accessKeyId: 'wrong', secretAccessKey: 'wrong-wrong' },
  })
  const refusal = await denied.get('meta').catch((error) => error)
  expect(refusal).toBeInstanceOf(ObjectStoreError)
  expect(refusal.status).toBe(403)
  expect(refusal.message).not.toContain('wrong-wrong')

  await server.stop()
  const outage = await store.head('meta').catch((error) => error)
  expect(outage).toBeInstanceOf(ObjectStoreError)
  expect(outage.retryable).toBe(true)
  for (const each of [store, bare, denied]) await each.close()
})

test('a store in memory fails as told', async () => {
  const store = new MemoryObjectStore()
  store.fault = (operation) => (operation === 'put' ? { type: 'lost-reply' } : null)
  await expect(store.put('k', utf8('v'), { createOnly: true })).rejects.toBeInstanceOf(ObjectStoreError)
  store.fault = null
  await expect(store.put('k', utf8('v'), { createOnly: true })).rejects.toBeInstanceOf(ObjectExistsError)
  store.fault = () => ({ type: 'error', status: 503 })
  await expect(store.get('k')).rejects.toMatchObject({ retryable: true, status: 503 })
})

test('the probe tells a store that lets two create-only writes succeed', async () => {
  const store = new MemoryObjectStore()
  const put = store.put.bind(store)
  store.put = (key, body, options) => put(key, body, { ...options, createOnly: false })
  expect(await probeCreateOnly(store, 'probe', systemRng)).toBe(false)
  expect(store.keys).toEqual([])
})

test('keys stay inside', () => {
  for (const bad of ['', '/a', 'a/', 'a//b', '../a', 'a/../b', 'a/.', 'a\\b', 'a\0b', 'x'.repeat(1_025)])
    expect(isObjectKey(bad)).toBe(false)
  for (const good of ['a', 'a/b.c', 't/abc/data.db/0000/x.ltx', '…/é']) expect(isObjectKey(good)).toBe(true)
})
