// Goal: collections are created, changed, imported and deleted as PocketBase does, and a refused change leaves nothing.

import { afterEach, beforeEach, expect, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../../lib/clock.ts'
import { silentLogger } from '../../../lib/obs/log.ts'
import { systemRng } from '../../../lib/rng.ts'
import { PasswordQueue } from '../auth/password.ts'
import { type Engine, openEngine } from '../engine.ts'
import { RefusedError, ValidationFailed } from '../errors.ts'
import { LocalStorage } from '../files/local-storage.ts'
import { EngineRecord } from '../records/record.ts'
import {
  createCollection,
  deleteCollection,
  dryRunView,
  importCollections,
  truncateCollection,
  updateCollection,
} from './manage.ts'

let dir: string
let engine: Engine

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'pf-collections-'))
  engine = await openEngine({
    dir,
    clock: systemClock,
    rng: systemRng,
    log: silentLogger,
    passwords: new PasswordQueue().lane(),
    files: new LocalStorage(join(dir, 'storage')),
    checkpoint: 'sqlite',
  })
})
afterEach(async () => {
  await engine.close()
  rmSync(dir, { recursive: true, force: true })
})

async function errorsOf(work: Promise<unknown>): Promise<unknown> {
  const error = await work.then(
    () => null,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(ValidationFailed)
  return (error as ValidationFailed).errors
}

const posts = {
  name: 'posts',
  type: 'base',
  fields: [
    { type: 'text', name: 'title' },
    { type: 'number', name: 'score' },
  ],
}

async function addPost(title: string, score: number): Promise<EngineRecord> {
  const record = EngineRecord.blank(engine.collections.require('posts'))
  record.set('title', title)
  record.set('score', score)
  await engine.records.save(record)
  return record
}

test('every mistake is named, and nothing is stored', async () => {
  const before = engine.collections.all().length
  const bad = { name: 'users', type: 'base', listRule: 'nope = 1', fields: [{ type: 'select', name: 'id2' }] }
  expect(await errorsOf(createCollection(engine, bad))).toMatchObject({
    name: { code: 'validation_collection_name_exists' },
    listRule: { code: 'validation_invalid_rule' },
    fields: { 1: { values: { code: 'validation_required' } } },
  })
  const badIndex = { ...posts, indexes: ['create index i on posts (missing)'] }
  expect(await errorsOf(createCollection(engine, badIndex))).toMatchObject({
    indexes: { 0: { code: 'validation_invalid_index_expression' } },
  })
  expect(engine.collections.all()).toHaveLength(before)
  expect(engine.data.get("SELECT 1 FROM sqlite_schema WHERE name = 'posts'")).toBeNull()
})

test('a view has the fields of its sources and follows them', async () => {
  await createCollection(engine, posts)
  await addPost('a', 3)
  const viewQuery = 'select id, title as t, score, count(id) as n from posts group by id'
  const view = await createCollection(engine, { name: 'best', type: 'view', viewQuery })
  expect(view.fields.map(({ name, type }) => [name, type])).toEqual([
    ['id', 'text'],
    ['t', 'text'],
    ['score', 'number'],
    ['n', 'number'],
  ])
  expect(engine.data.get('SELECT t, score, n FROM best')).toEqual({ t: 'a', score: 3, n: 1 })
  const collection = engine.collections.require('posts')
  const fields = collection.fields.map((field) => (field.name === 'title' ? { ...field, max: 9 } : field))
  await updateCollection(engine, collection, { fields })
  expect(engine.collections.require('best').field('t')).toMatchObject({ max: 9 })
  await expect(deleteCollection(engine, collection)).rejects.toThrow(RefusedError)
  expect(engine.collections.find('posts')).toBeDefined()
})

test('a dry run stores nothing and refuses what no view can be', async () => {
  const writes = engine.data.commitSeq
  const run = await dryRunView(engine, 'select 1 as id, 2 as two')
  expect(run.sample.map((record) => record.id)).toEqual(['1'])
  for (const query of ['select * from users', 'select 1 as x', 'select 1 as id; drop table users', 'drop table users'])
    await expect(dryRunView(engine, query)).rejects.toThrow()
  expect(engine.data.commitSeq).toBe(writes)
  expect(engine.data.get("SELECT 1 FROM sqlite_schema WHERE name = 'users'")).not.toBeNull()
})

test('system collections keep their name, rules and fields', async () => {
  const superusers = engine.collections.require('_superusers')
  const change = { name: 'admins', listRule: '', fields: [{ type: 'text', name: 'x' }] }
  expect(await errorsOf(updateCollection(engine, superusers, change))).toMatchObject({
    name: { code: 'validation_collection_system_name_change' },
    listRule: { code: 'validation_collection_system_rule_change' },
  })
  await expect(deleteCollection(engine, superusers)).rejects.toThrow(RefusedError)
})

test('another auth rule ends the tokens given out under the old one', async () => {
  const before = engine.collections.require('users').auth.authToken.secret
  const same = await updateCollection(engine, engine.collections.require('users'), { name: 'users' })
  expect(same.auth.authToken.secret).toBe(before)
  const changed = await updateCollection(engine, same, { authRule: 'verified = true' })
  expect(changed.auth.authToken.secret).not.toBe(before)
})

test('an import is all or nothing; what is missing goes only when asked to', async () => {
  await createCollection(engine, posts)
  const names = () => engine.collections.all().map((each) => each.name)
  const before = names()
  const bad = { name: 'second', fields: [{ type: 'text', name: 'expand' }] }
  expect(await errorsOf(importCollections(engine, [{ name: 'first' }, bad], false))).toMatchObject({
    collections: { code: 'validation_collections_import_failure' },
  })
  expect(names()).toEqual(before)
  await importCollections(engine, [{ name: 'first' }], false)
  expect(names()).toEqual([...before, 'first'])
  await importCollections(engine, [{ name: 'first' }], true)
  expect(names().filter((name) => !name.startsWith('_'))).toEqual(['first'])
  expect(engine.data.get("SELECT 1 FROM sqlite_schema WHERE name = 'posts'")).toBeNull()
})

test('where restores may want files back, a deleted collection leaves their keys', async () => {
  await engine.close()
  const files = new (class extends LocalStorage {
    override readonly keepsDeleted: boolean = true
  })(join(dir, 'storage'))
  const passwords = new PasswordQueue().lane()
  const facts = { clock: systemClock, rng: systemRng, log: silentLogger, passwords, files }
  engine = await openEngine({ dir, ...facts, checkpoint: 'sqlite' })
  const fields = [
    { type: 'file', name: 'one' },
    { type: 'file', name: 'many', maxSelect: 9 },
  ]
  const collection = await createCollection(engine, { name: 'docs', type: 'base', fields })
  const record = EngineRecord.blank(collection)
  record.setRaw('one', 'a.txt')
  record.setRaw('many', ['b.txt', 'c.txt'])
  await engine.records.save(record, { skipValidation: true })
  await deleteCollection(engine, collection)
  const keys = engine.data.all<{ key: string }>('SELECT key FROM `_pfDeletedFiles` ORDER BY key')
  expect(keys.map(({ key }) => key)).toEqual(['a', 'b', 'c'].map((name) => `${collection.id}/${record.id}/${name}.txt`))
})

test('truncating deletes the records alone', async () => {
  const collection = await createCollection(engine, posts)
  for (let i = 0; i < 3; i++) await addPost(`p${i}`, i)
  await truncateCollection(engine, collection)
  expect(engine.data.get('SELECT count(*) AS n FROM posts')).toEqual({ n: 0 })
  expect(engine.collections.find('posts')).toBeDefined()
})

test('what is called as a system field and has another type is replaced by it, under its own id', async () => {
  const users = await createCollection(engine, {
    name: 'members',
    type: 'auth',
    fields: [
      { type: 'text', name: 'email', id: 'mail' },
      { type: 'json', name: 'verified' },
    ],
  })
  const shape = users.fields.map(({ id, name, type }) => [name, type, id])
  expect(shape.slice(0, 3)).toEqual([
    ['id', 'text', 'text3208210256'],
    ['email', 'email', 'mail'],
    ['verified', 'bool', 'json256245529'],
  ])
  const taken = { name: 'other', type: 'auth', fields: [{ id: 'email3885137012', type: 'email', name: 'mail' }] }
  expect((await createCollection(engine, taken)).field('email')?.id).toBe('email38851370122')
})

test('a field under the id of the system field `id` takes its place, which is refused', async () => {
  const work = createCollection(engine, { name: 'a', fields: [{ id: 'text3208210256', type: 'text', name: 'b' }] })
  expect(await errorsOf(work)).toMatchObject({ fields: { code: 'validation_missing_primary_key' } })
})

test('a collection whose id is the name of another one is answered itself', async () => {
  await createCollection(engine, posts)
  expect((await createCollection(engine, { ...posts, id: 'posts', name: 'later' })).name).toBe('later')
})
