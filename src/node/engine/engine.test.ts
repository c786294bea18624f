// Goal: a fresh tenant and PocketBase's own fixture open; records are saved, changed and deleted with all they imply.

import { afterEach, beforeEach, expect, test } from 'bun:test'
import { cpSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { testWithPeers } from '../../../test/support/peers.ts'
import { systemClock } from '../../lib/clock.ts'
import { silentLogger } from '../../lib/obs/log.ts'
import { systemRng } from '../../lib/rng.ts'
import { PasswordQueue } from './auth/password.ts'
import { makeField } from './collections/default-fields.ts'
import { type Engine, openEngine } from './engine.ts'
import { ValidationFailed } from './errors.ts'
import { LocalStorage } from './files/local-storage.ts'
import { UploadedFile } from './files/uploaded-file.ts'
import { EngineRecord } from './records/record.ts'
import { blankCollection } from './schema/fresh.ts'

let dir: string
let engine: Engine

const open = (path: string) =>
  openEngine({
    dir: path,
    clock: systemClock,
    rng: systemRng,
    log: silentLogger,
    passwords: new PasswordQueue().lane(),
    files: new LocalStorage(join(path, 'storage')),
    checkpoint: 'sqlite',
  })

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'pf-engine-'))
  engine = await open(dir)
})
afterEach(async () => {
  await engine.close()
  rmSync(dir, { recursive: true, force: true })
})

async function refusal(work: Promise<unknown>): Promise<ValidationFailed> {
  const error = await work.then(
    () => null,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(ValidationFailed)
  return error as ValidationFailed
}

test('a new tenant has the system collections, also after a restart', async () => {
  const names = engine.collections.all().map((each) => each.name)
  expect(names).toEqual(['_mfas', '_otps', '_externalAuths', '_authOrigins', '_superusers', 'users'])
  expect(engine.collections.require('_superusers').id).toBe('pbc_3142635823')
  await engine.close()
  engine = await open(dir)
  expect(engine.collections.all().map((each) => each.name)).toEqual(names)
})

test('records of an auth collection: hash, token key, unique e-mail', async () => {
  const users = engine.collections.require('users')
  const make = (email: string) => {
    const record = EngineRecord.blank(users)
    record.set('email', email)
    record.set('password', 'a-password')
    return record
  }
  const ada = make('ada@example.com')
  await engine.records.save(ada)
  expect(ada.id).toMatch(/^[a-z0-9]{15}$/)
  const stored = engine.records.findById(users, ada.id)!
  expect(stored.text('tokenKey')).toHaveLength(50)
  expect(JSON.stringify(stored)).not.toContain('$2')
  const taken = await refusal(engine.records.save(make('ada@example.com')))
  expect(taken.errors).toEqual({ email: { code: 'validation_not_unique', message: 'Value must be unique' } })
  const short = EngineRecord.blank(users)
  short.set('password', 'short')
  const { errors } = await refusal(engine.records.save(short))
  expect(Object.keys(errors).sort()).toEqual(['email', 'password'])
  const before = stored.text('tokenKey')
  stored.set('email', 'ada@other.example.com')
  await engine.records.save(stored)
  expect(engine.records.findById(users, ada.id)!.text('tokenKey')).not.toBe(before)
})

test('cascades, required references and files follow their record', async () => {
  await engine.collections.save({
    ...blankCollection('base', 'posts', systemRng),
    fields: [makeField('text', 'title'), makeField('file', 'image', { maxSelect: 1 })],
  })
  const posts = engine.collections.require('posts')
  await engine.collections.save({
    ...blankCollection('base', 'comments', systemRng),
    fields: [
      makeField('relation', 'post', { collectionId: posts.id, maxSelect: 1, cascadeDelete: true, required: true }),
    ],
  })
  const comments = engine.collections.require('comments')
  const post = EngineRecord.blank(posts)
  const bytes = new TextEncoder().encode('hello')
  post.set(
    'image',
    new UploadedFile({
      originalName: 'a.txt',
      name: 'a_0123456789.txt',
      sizeBytes: 5,
      contentType: 'text/plain',
      content: { bytes },
    }),
  )
  await engine.records.save(post)
  expect(post.get('image')).toBe('a_0123456789.txt')
  expect(existsSync(join(dir, 'storage', posts.id, post.id, 'a_0123456789.txt'))).toBe(true)
  const comment = EngineRecord.blank(comments)
  comment.set('post', 'missing')
  expect((await refusal(engine.records.save(comment))).errors['post']).toMatchObject({
    code: 'validation_missing_rel_records',
  })
  comment.set('post', post.id)
  await engine.records.save(comment)
  await engine.records.delete(engine.records.findById(posts, post.id)!)
  expect(engine.records.findById(comments, comment.id)).toBeNull()
  expect(existsSync(join(dir, 'storage', posts.id, post.id))).toBe(false)
})

test('what fails inside a transaction leaves no row and no file', async () => {
  await engine.collections.save({
    ...blankCollection('base', 'posts', systemRng),
    fields: [makeField('file', 'image', { maxSelect: 1 })],
  })
  const posts = engine.collections.require('posts')
  const post = EngineRecord.blank(posts)
  post.set(
    'image',
    new UploadedFile({
      originalName: 'a.txt',
      name: 'a_0123456789.txt',
      sizeBytes: 1,
      contentType: 'text/plain',
      content: { bytes: new Uint8Array(1) },
    }),
  )
  const failing = engine.transaction(async () => {
    await engine.records.save(post)
    throw new Error('later')
  })
  await expect(failing).rejects.toThrow('later')
  expect(engine.data.all('SELECT * FROM posts')).toEqual([])
  const folder = join(dir, 'storage', posts.id)
  expect(existsSync(folder) ? readdirSync(folder) : []).toEqual([])
  expect(post.isNew).toBe(true)
})

test('an upload that takes long holds up no other writer', async () => {
  await engine.collections.save({
    ...blankCollection('base', 'posts', systemRng),
    fields: [makeField('file', 'image', { maxSelect: 1 })],
  })
  const posts = engine.collections.require('posts')
  const put = engine.files.put.bind(engine.files)
  const { promise: mayStore, resolve: store } = Promise.withResolvers<void>()
  const { promise: isStoring, resolve: storing } = Promise.withResolvers<void>()
  engine.files.put = async (key, file) => {
    storing()
    await mayStore
    return put(key, file)
  }
  const slow = EngineRecord.blank(posts)
  const content = { bytes: new Uint8Array(1) }
  slow.set(
    'image',
    new UploadedFile({ originalName: 'a', name: 'a_0123456789', sizeBytes: 1, contentType: 'text/plain', content }),
  )
  const saving = engine.records.save(slow)
  await isStoring
  await engine.records.save(EngineRecord.blank(posts)) // would wait for ever behind a transaction held open
  expect(engine.data.all('SELECT id FROM posts')).toHaveLength(1)
  store()
  await saving
  expect(engine.data.all('SELECT id FROM posts')).toHaveLength(2)
})

test('schema changes keep the data', async () => {
  const first = await engine.collections.save({
    ...blankCollection('base', 'things', systemRng),
    fields: [makeField('select', 'tags', { values: ['a', 'b'], maxSelect: 1 }), makeField('text', 'name')],
  })
  const record = EngineRecord.blank(first)
  record.set('tags', 'a')
  record.set('name', 'x')
  await engine.records.save(record)
  const fields = first.fields.map((field) =>
    field.type === 'select' ? { ...field, maxSelect: 2, name: 'labels' } : field,
  )
  const second = await engine.collections.save({ ...first.data, name: 'items', fields })
  const stored = engine.records.findById(second, record.id)!
  expect(stored.get('labels')).toEqual(['a'])
  expect(stored.get('name')).toBe('x')
})

testWithPeers(['conformance'], 'a pb_data of PocketBase opens', async ({ conformance }) => {
  const copy = join(dir, 'fixture')
  cpSync(join(dirname(conformance), 'fixture'), copy, { recursive: true })
  const fixture = await open(copy)
  try {
    expect(fixture.collections.all().length).toBeGreaterThan(10)
    for (const collection of fixture.collections.all()) {
      const rows = fixture.data.all<Record<string, never>>(`SELECT * FROM \`${collection.name}\``)
      for (const row of rows)
        expect(EngineRecord.fromRow(collection, row).export()['collectionName']).toBe(collection.name)
    }
  } finally {
    await fixture.close()
  }
})
