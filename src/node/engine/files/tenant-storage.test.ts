// Goal: a tenant's own bucket holds its files and backups from the moment its settings name it, as PocketBase lays them
// out, and no address of a private network is reached for it where that is forbidden.
// Method: the S3 double behind a real engine; the same on MinIO, where it is installed.

import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openTestEngine, type TestEngine } from '../../../../test/support/engine.ts'
import { startMinio } from '../../../../test/support/minio.ts'
import { testWithPeers } from '../../../../test/support/peers.ts'
import { S3Double } from '../../../../test/support/s3-double.ts'
import { MemoryObjectStore } from '../../../lib/object-store/memory.ts'
import { createBackup, runAutoBackup } from '../backups/backups.ts'
import { RefusedError } from '../errors.ts'
import { S3TestError, testS3 } from '../settings/s3-test.ts'
import type { S3Settings } from '../settings/settings.ts'
import { FileCache } from './file-cache.ts'
import { ObjectStorage } from './object-storage.ts'
import { FileKeyError } from './storage.ts'
import { UploadedFile } from './uploaded-file.ts'

const upload = (text: string, originalName = 'ä b.txt') =>
  new UploadedFile({
    originalName,
    name: 'a.txt',
    sizeBytes: text.length,
    contentType: 'text/plain; charset=utf-8',
    content: { bytes: new TextEncoder().encode(text) },
  })

const textOf = async (opened: TestEngine, key: string) => {
  const file = await opened.engine.files.open(key)
  return file === null ? null : await new Response(await file.body()).text()
}

const save = ({ engine }: TestEngine, s3: Partial<S3Settings>, backups: Partial<S3Settings> = {}) =>
  engine.settingsStore.save({
    ...engine.settings,
    s3: { ...engine.settings.s3, ...s3 },
    backups: { ...engine.settings.backups, s3: { ...engine.settings.backups.s3, ...backups } },
  })

const settingsOf = (server: { endpoint: string; bucket: string; accessKey: string; secretKey: string }) => ({
  enabled: true,
  endpoint: server.endpoint,
  bucket: server.bucket,
  region: 'us-east-1',
  accessKey: server.accessKey,
  secret: server.secretKey,
  forcePathStyle: true,
})

/** The whole life of a bucket in the settings. */
async function useBucket(server: Parameters<typeof settingsOf>[0], opened: TestEngine): Promise<void> {
  const { engine } = opened
  await engine.files.put('c/r/before.txt', upload('on this disk'))
  await testS3(settingsOf(server), engine)
  await save(opened, settingsOf(server), settingsOf(server))
  expect(engine.files.keepsDeleted).toBe(false)
  expect(await textOf(opened, 'c/r/before.txt')).toBeNull() // files do not move, as in PocketBase

  await engine.files.put('c/r/a.txt', upload('in the bucket'))
  expect(await textOf(opened, 'c/r/a.txt')).toBe('in the bucket')
  const file = (await engine.files.open('c/r/a.txt'))!
  expect([file.contentType, file.sizeBytes]).toEqual(['text/plain; charset=utf-8', 13])
  expect(await new Response(await file.body({ from: 3, to: 6 })).text()).toBe('the')
  await engine.files.put('c/r/thumbs_a.txt/10x10_a.txt', upload('thumb'))
  await engine.files.put('c/r2/a.txt', upload('another'))
  await engine.files.delete('c/r/a.txt')
  expect(await textOf(opened, 'c/r/thumbs_a.txt/10x10_a.txt')).toBeNull()
  await engine.files.deletePrefix('c/r2/')
  expect(await textOf(opened, 'c/r2/a.txt')).toBeNull()
  expect(await readdir(join(opened.dir, 'storage/c/r'))).toEqual(['before.txt', 'before.txt.attrs'])

  await createBackup(engine, 'mine.zip')
  await runAutoBackup(engine)
  const keys = (await engine.backups.list()).map((each) => each.key).sort()
  expect(keys[0]).toMatch(/^@auto_pb_backup_acme_\d{14}\.zip$/)
  expect(keys[1]).toBe('mine.zip')
  expect(await engine.backups.fetch('mine.zip', join(opened.dir, 'fetched.zip'))).toBe(join(opened.dir, 'fetched.zip'))
  expect(await engine.backups.fetch('none.zip', join(opened.dir, 'none.zip'))).toBeNull()
  expect([await engine.backups.delete('mine.zip'), await engine.backups.delete('mine.zip')]).toEqual([true, false])
  await expect(engine.backups.open('../up.zip')).rejects.toBeInstanceOf(FileKeyError)

  await save(opened, { enabled: false }, { enabled: false })
  expect(await textOf(opened, 'c/r/before.txt')).toBe('on this disk')
  expect(await engine.backups.list()).toEqual([])
}

describe("a tenant's own bucket", () => {
  let double: S3Double
  let opened: TestEngine
  beforeEach(async () => {
    double = await S3Double.start()
    opened = await openTestEngine()
  })
  afterEach(async () => {
    await opened[Symbol.asyncDispose]()
    await double[Symbol.asyncDispose]()
  })

  test('holds files and backups while the settings name it', async () => {
    await useBucket(double, opened)
  })

  test('has keys and metadata as PocketBase writes them', async () => {
    await save(opened, settingsOf(double))
    await opened.engine.files.put('c/r/a.txt', upload('x'))
    expect([...double.objects.keys()]).toEqual(['c/r/a.txt'])
    expect(double.objects.get('c/r/a.txt')!.metadata).toMatchObject({
      'x-amz-meta-original-filename': '%C3%A4%20b.txt',
    })
  })

  test('that refuses us is the client’s error at a write and not found at a read', async () => {
    await save(opened, { ...settingsOf(double), secret: 'wrong' })
    await expect(opened.engine.files.put('c/r/a.txt', upload('x'))).rejects.toBeInstanceOf(RefusedError)
    expect(await textOf(opened, 'c/r/a.txt')).toBeNull()
    await expect(testS3(opened.engine.settings.s3, opened.engine)).rejects.toThrow(/^failed to upload a test file/)
    await expect(testS3({ ...opened.engine.settings.s3, enabled: false }, opened.engine)).rejects.toThrow(/not enabled/)
  })

  test('that no client can be made of fails like one that cannot be reached, and the next settings work', async () => {
    for (const endpoint of ['http://[::bad', 'https://a b', 'http://'])
      for (let again = 0; again < 2; again++) {
        await save(opened, { ...settingsOf(double), endpoint })
        await expect(opened.engine.files.put('c/r/a.txt', upload('x'))).rejects.toBeInstanceOf(RefusedError)
        expect(await textOf(opened, 'c/r/a.txt')).toBeNull()
      }
    await save(opened, settingsOf(double))
    await opened.engine.files.put('c/r/a.txt', upload('works'))
    expect(await textOf(opened, 'c/r/a.txt')).toBe('works')
  })

  test('is not reached at a private address where that is forbidden', async () => {
    await using shared = await openTestEngine({ mayReachPrivate: false })
    const port = new URL(double.endpoint).port
    const hosts = ['127.0.0.1', 'localhost', '[::1]', '0x7f.1', '169.254.169.254', '[::ffff:127.0.0.1]']
    for (const host of hosts) {
      const s3 = { ...settingsOf(double), endpoint: `http://${host}:${port}` }
      await expect(testS3(s3, shared.engine)).rejects.toBeInstanceOf(S3TestError)
      await testS3(s3, shared.engine).catch((error) => expect(error.message).toMatch(/not public/))
    }
    // A bucket's name is put before the host: it must not become another host.
    const bucket = { ...settingsOf(double), bucket: '127.0.0.1', forcePathStyle: false, endpoint: 'http://x.localhost' }
    await expect(testS3(bucket, shared.engine)).rejects.toBeInstanceOf(S3TestError)
    expect(double.counts.size).toBe(0)
  })

  test('covers a fleet’s store, which keeps what it has', async () => {
    const cache = await FileCache.open({ dir: join(opened.dir, 'cache'), bytesMax: 1e6 })
    const store = new MemoryObjectStore()
    const files = new ObjectStorage({ store, prefix: 't/1/files/', cache, keepsDeleted: true })
    await using fleet = await openTestEngine({ files })
    await fleet.engine.files.put('c/r/a.txt', upload('in the fleet'))
    expect(fleet.engine.files.keepsDeleted).toBe(true)
    await save(fleet, settingsOf(double))
    await fleet.engine.files.put('c/r/a.txt', upload('in the bucket'))
    expect([fleet.engine.files.keepsDeleted, await textOf(fleet, 'c/r/a.txt')]).toEqual([false, 'in the bucket'])
    await save(fleet, { enabled: false })
    expect(await textOf(fleet, 'c/r/a.txt')).toBe('in the fleet')
  })
})

testWithPeers(['minio'], "a tenant's own bucket on MinIO", async ({ minio }) => {
  const dir = await mkdtemp(join(tmpdir(), 'pf-minio-'))
  try {
    await using server = await startMinio(minio, dir)
    await using opened = await openTestEngine()
    await useBucket(server, opened)
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
})
