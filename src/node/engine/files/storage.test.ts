// Goal: both homes of files keep what they are given, never overwrite it, and stay inside their folder.
// Method: one suite over the storage tree and over an object store; the cache is watched by counting the store's reads.

import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { MemoryObjectStore } from '../../../lib/object-store/memory.ts'
import { Database } from '../db/database.ts'
import { sweepDeletedFiles } from './deleted-files.ts'
import { FileCache } from './file-cache.ts'
import { LocalStorage } from './local-storage.ts'
import { ObjectStorage } from './object-storage.ts'
import { FileKeyError, type FileStorage, type StoredFile } from './storage.ts'
import { UploadedFile } from './uploaded-file.ts'

let dir: string
let store: MemoryObjectStore
let cache: FileCache

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'pf-files-'))
  store = new MemoryObjectStore()
  cache = await FileCache.open({ dir: join(dir, 'cache'), bytesMax: 100_000 })
})
afterEach(() => rm(dir, { recursive: true, force: true }))

const upload = (content: UploadedFile['content'], sizeBytes: number, contentType = 'text/plain; charset=utf-8') =>
  new UploadedFile({ originalName: 'A file.txt', name: 'a_file.txt', sizeBytes, contentType, content })
const text = (value: string) => upload({ bytes: new TextEncoder().encode(value) }, value.length)
const read = async (file: StoredFile | null, range?: { from: number; to: number }) =>
  file === null ? null : new Response(await file.body(range)).text()

const homes: readonly (readonly [string, () => FileStorage])[] = [
  ['storage tree', () => new LocalStorage(join(dir, 'storage'))],
  ['object store', () => new ObjectStorage({ store, prefix: 't/x/files/', cache, keepsDeleted: true })],
]

for (const [name, open] of homes)
  describe(name, () => {
    test('what its beginning does not tell of a type, the name does', async () => {
      const files = open()
      const type = 'application/vnd.openxmlformats-officedocument.wordprocessingml.document'
      await files.put('c/r/a.docx', upload({ bytes: new TextEncoder().encode('PK\x03\x04') }, 4, type))
      for (let round = 0; round < 2; round++) expect((await files.open('c/r/a.docx'))?.contentType).toBe(type)
    })

    test('what is put can be read, whole and in part, also from a spilled upload', async () => {
      const files = open()
      await files.put('c/r/a.txt', text('hello world'))
      expect(await read(await files.open('c/r/a.txt'))).toBe('hello world')
      expect(await read(await files.open('c/r/a.txt'), { from: 6, to: 9 })).toBe('wor')
      const path = join(dir, 'spilled')
      await writeFile(path, 'x'.repeat(300_000))
      await files.put('c/r/big.txt', upload({ path }, 300_000))
      expect((await files.open('c/r/big.txt'))?.sizeBytes).toBe(300_000)
      expect(await files.open('c/r/none.txt')).toBeNull()
    })

    test('a name is never used twice', async () => {
      const files = open()
      await files.put('c/r/a.txt', text('first'))
      await expect(files.put('c/r/a.txt', text('another'))).rejects.toThrow()
      await files.put('c/r/b.txt', text('b'))
      expect(await read(await files.open('c/r/a.txt'))).toBe('first')
    })

    test('a deleted file takes its thumbs along; a prefix takes everything below it and nothing beside it', async () => {
      const files = open()
      await files.put('c/r/a.png', text('a'))
      await files.put('c/r/thumbs_a.png/1x1_a.png', text('t'))
      await files.put('c/r2/b.png', text('b'))
      await files.delete('c/r/a.png')
      await files.delete('c/r/a.png')
      expect(await files.open('c/r/thumbs_a.png/1x1_a.png')).toBeNull()
      await files.put('c/r/c.png', text('c'))
      await files.deletePrefix('c/r/')
      expect(await files.open('c/r/c.png')).toBeNull()
      expect(await read(await files.open('c/r2/b.png'))).toBe('b')
    })

    test('no key leaves its folder', async () => {
      const files = open()
      for (const key of ['../x', 'c/../../x', 'c//x', '/etc/passwd', 'c/r/..', 'c/r/a\\..\\b', 'c/r/a\0b', '', '.'])
        await expect(files.open(key)).rejects.toBeInstanceOf(FileKeyError)
    })
  })

test('PocketBase finds the type of our files beside them, and we find it beside theirs', async () => {
  const files = new LocalStorage(join(dir, 'storage'))
  await files.put('c/r/a.txt', text('hello'))
  const attributes = JSON.parse(await readFile(join(dir, 'storage/c/r/a.txt.attrs'), 'utf8'))
  expect(attributes['user.content_type']).toBe('text/plain; charset=utf-8')
  expect(attributes['user.metadata']).toEqual({ 'original-filename': 'A file.txt' })
  await writeFile(join(dir, 'storage/c/r/a.txt.attrs'), '{"user.content_type":"text/x-own"}')
  expect((await files.open('c/r/a.txt'))?.contentType).toBe('text/x-own')
  await writeFile(join(dir, 'storage/c/r/a.txt.attrs'), '{"user.content_type":"a/b\\r\\nx: y"}')
  expect((await files.open('c/r/a.txt'))?.contentType).toBe('text/plain; charset=utf-8')
})

test('concurrent first reads of an object fetch it once; the cache stays within its bytes', async () => {
  let reads = 0
  const load = (size: number) => async () => {
    reads++
    return new Uint8Array(size)
  }
  await Promise.all([
    cache.load('a', 'owner', load(60_000)),
    cache.load('a', 'owner', load(60_000)),
    cache.load('a', 'owner', load(60_000)),
  ])
  expect(reads).toBe(1)
  await cache.load('b', 'owner', load(30_000))
  expect(cache.find('a')).not.toBeNull()
  await cache.load('c', 'owner', load(30_000))
  expect(cache.find('b')).toBeNull() // the one used longest ago
  expect(cache.sizeBytes).toBe(90_000)
  for (let i = 0; i < 100; i++) await cache.load(`tiny ${i}`, 'owner', load(1))
  expect((await readdir(join(dir, 'cache'))).length).toBe(24) // each takes a block of the disk
})

test('a copy that was dropped and made anew is another file: removing the old one cannot hit it', async () => {
  const load = () => cache.load('a', 'owner', async () => new Uint8Array(10))
  const first = await load()
  const dropped = cache.drop('a')
  const second = await load()
  await dropped
  expect(second).not.toBe(first)
  expect((await readFile(second)).length).toBe(10)
})

test('a copy that goes before it is read costs nothing: the object is still there', async () => {
  const files = new ObjectStorage({ store, prefix: 't/x/files/', cache, keepsDeleted: true })
  await files.put('c/r/a.txt', text('still there'))
  const load = cache.load.bind(cache)
  cache.load = async (...args) => {
    const path = await load(...args)
    await rm(path)
    return path
  }
  for (let round = 0; round < 2; round++) {
    const file = await files.open('c/r/a.txt')
    expect([file?.sizeBytes, file?.contentType, await read(file, { from: 0, to: 5 })]).toEqual([
      11,
      'text/plain; charset=utf-8',
      'still',
    ])
  }
})

test('small files that were read once are in memory until they are dropped', async () => {
  const large = await FileCache.open({ dir: join(dir, 'large'), bytesMax: 64 * 1024 * 1024 })
  const files = new ObjectStorage({ store, prefix: 't/x/files/', cache: large, keepsDeleted: true })
  await files.put('c/r/a.txt', text('0123456789'))
  await files.put('c/r/b.bin', upload({ bytes: new Uint8Array(2_000_000) }, 2_000_000))
  for (const key of ['c/r/a.txt', 'c/r/b.bin']) await files.open(key)
  await rm(join(dir, 'large'), { recursive: true })
  const again = await files.open('c/r/a.txt')
  expect([await read(again), await read(again, { from: 2, to: 4 })]).toEqual(['0123456789', '23'])
  expect(large.findHot('t/x/files/c/r/b.bin')).toBeNull()
  for (let i = 0; i < 40; i++)
    large.keepHot('t/x/files/c/r/b.bin', { bytes: new Uint8Array(1_000_000), contentType: '', modifiedAtMs: i })
  expect(large.findHot('t/x/files/c/r/b.bin')?.modifiedAtMs).toBe(39)
  expect(await read(await files.open('c/r/a.txt'))).toBe('0123456789') // replacing one counts once
  await files.delete('c/r/a.txt')
  expect(await files.open('c/r/a.txt')).toBeNull()
})

test('deleted files stay objects until retention has passed', async () => {
  const files = new ObjectStorage({ store, prefix: 't/x/files/', cache, keepsDeleted: true })
  await using data = {
    db: Database.open({ path: join(dir, 'data.db'), checkpoint: 'owner' }),
    async [Symbol.asyncDispose]() {
      await this.db.close()
    },
  }
  expect(await sweepDeletedFiles(data.db, files, 100)).toEqual({ deleted: 0, isDone: true })
  await files.put('c/r/old.txt', text('old'))
  await files.put('c/r/new.txt', text('new'))
  await data.db.transaction(() => {
    data.db.exec('CREATE TABLE `_pfDeletedFiles` (key TEXT PRIMARY KEY NOT NULL, deletedAtMs INTEGER NOT NULL)')
    data.db.run('INSERT INTO `_pfDeletedFiles` VALUES (?, ?), (?, ?)', ['c/r/old.txt', 100, 'c/r/new.txt', 101])
  })
  expect(await sweepDeletedFiles(data.db, files, 100)).toEqual({ deleted: 1, isDone: true })
  expect(await files.open('c/r/old.txt')).toBeNull()
  expect(await read(await files.open('c/r/new.txt'))).toBe('new')
  expect(data.db.all<{ key: string }>('SELECT key FROM `_pfDeletedFiles`')).toEqual([{ key: 'c/r/new.txt' }])
})
