// Goal: pages whose text is kept answer as if they had been read again, and nobody gets a page that is not theirs.

import { Database as Sqlite } from 'bun:sqlite'
import { afterEach, beforeEach, expect, test } from 'bun:test'
import { join } from 'node:path'
import { hostOf, openTestEngine, saveUser, type TestEngine } from '../../../test/support/engine.ts'
import { afterArrivals } from '../../lib/clock.ts'
import { newAuthToken } from '../engine/auth/tokens.ts'
import { createCollection, updateCollection } from '../engine/collections/manage.ts'
import { fieldToJson } from '../engine/fields/field.ts'
import { EngineRecord } from '../engine/records/record.ts'
import { TenantApi } from './app.ts'

let opened: TestEngine
let api: TenantApi
/** Statements that read rows of records. */
let reads: number

beforeEach(async () => {
  opened = await openTestEngine()
  const { engine } = opened
  api = new TenantApi({ host: hostOf(engine) })
  const fields = [
    { name: 'title', type: 'text' },
    { name: 'owner', type: 'text' },
    { name: 'secret', type: 'text', hidden: true },
  ]
  await createCollection(engine, { name: 'notes', type: 'base', listRule: '', fields })
  for (const title of ['one <b>', 'two', 'three']) await saveNote(title)
  reads = 0
  const read = engine.data.read.bind(engine.data)
  engine.data.read = ((...args: Parameters<typeof read>) => {
    if (/`(notes|seen)`\.\*/.test(args[0])) reads++
    return read(...args)
  }) as typeof read
})
afterEach(() => opened[Symbol.asyncDispose]())

async function saveNote(title: string, owner = ''): Promise<EngineRecord> {
  const { collections, records } = opened.engine
  const record = EngineRecord.blank(collections.require('notes'))
  for (const [name, value] of Object.entries({ title, owner, secret: 'hidden' })) record.set(name, value)
  await records.save(record)
  return record
}

interface Page {
  readonly items: readonly Readonly<Record<string, unknown>>[]
  readonly totalItems: number
}

async function list(query = '', token = ''): Promise<Page> {
  const headers: Record<string, string> = token === '' ? {} : { authorization: token }
  const request = new Request(`http://localhost/api/collections/notes/records${query}`, { headers })
  const response = await api.answer(request, null)
  expect(response.status).toBe(200)
  return (await response.json()) as Page
}

const titles = ({ items }: Page) => items.map(({ title }) => title)

const tokenOf = async (collection: string, email: string) =>
  newAuthToken(await saveUser(opened.engine, collection, { email }), opened.engine.clock.now())

test('a page is read once until something is written, whoever writes it', async () => {
  const first = await list()
  expect([titles(first), first.totalItems]).toEqual([['one <b>', 'two', 'three'], 3])
  expect([await list(), reads]).toEqual([first, 1])
  const four = await saveNote('four')
  expect([titles(await list()), reads]).toEqual([['one <b>', 'two', 'three', 'four'], 2])
  four.set('title', 'changed')
  await opened.engine.records.save(four)
  expect([titles(await list()).at(-1), reads]).toEqual(['changed', 3])
  await opened.engine.records.delete(four)
  expect([await list(), reads]).toEqual([first, 4])
  const other = new Sqlite(join(opened.dir, 'data.db'))
  other.run("DELETE FROM notes WHERE title = 'two'")
  other.close()
  await new Promise<void>(afterArrivals) // reads of one round see the same commits
  expect([titles(await list()), reads]).toEqual([['one <b>', 'three'], 5])
})

test('pages, sorts, filters, picks and totals are texts of their own', async () => {
  const queries = [
    '',
    '?skipTotal=1',
    '?perPage=1',
    '?perPage=1&page=2',
    '?sort=title',
    "?filter=title='two'",
    "?filter=title='three'",
    '?fields=title',
    '?fields=id',
  ]
  const firsts: string[] = []
  for (const query of queries) firsts.push(JSON.stringify(await list(query)))
  expect(new Set(firsts).size).toBe(queries.length)
  for (const [i, query] of queries.entries()) expect(JSON.stringify(await list(query))).toBe(firsts[i]!)
  expect(reads).toBe(queries.length)
})

test('a rule gives each caller its own page, and the same one to those who may see the same', async () => {
  const { engine } = opened
  const user = await saveUser(engine, 'users', { email: 'a@example.com' })
  await saveNote('mine', user.id)
  const token = newAuthToken(user, engine.clock.now())
  const other = await tokenOf('users', 'b@example.com')
  const superuser = await tokenOf('_superusers', 'c@example.com')
  await updateCollection(engine, engine.collections.require('notes'), { listRule: 'owner = @request.auth.id' })
  reads = 0
  for (let i = 0; i < 2; i++) {
    expect(titles(await list('', token))).toEqual(['mine'])
    expect(titles(await list('', other))).toEqual([])
    expect((await list('', token)).items[0]).not.toHaveProperty('secret')
    expect((await list('', superuser)).items.at(-1)).toMatchObject({ title: 'mine', secret: 'hidden' })
  }
  // One for the owner; empty pages are not kept, nor what superusers see.
  expect(reads).toBe(1 + 2 + 2)
})

test('a handler that came later is asked, and what it shows is not kept', async () => {
  const { chains } = opened.engine
  const first = await list()
  const unbindEnrich = chains.onRecordEnrich.bind({
    id: 'test',
    async handle(event) {
      event.record.extra = { more: 1 }
      await event.next()
    },
  })
  expect((await list()).items[0]).toMatchObject({ more: 1 })
  unbindEnrich()
  expect(await list()).toEqual(first)
  const unbindList = chains.onRecordsListRequest.bind({
    id: 'test',
    async handle(event) {
      event.records[0]!.set('title', 'replaced')
      await event.next()
    },
  })
  expect(titles(await list())[0]).toBe('replaced')
  unbindList()
  expect(await list()).toEqual(first)
})

test('random orders and what views make are read each time', async () => {
  const { engine } = opened
  for (let i = 0; i < 3; i++) await list('?sort=@random')
  expect(reads).toBe(3)
  const viewQuery = "SELECT id, title, strftime('%s', 'now') AS at FROM notes"
  await createCollection(engine, { name: 'seen', type: 'view', listRule: '', viewQuery })
  reads = 0
  for (let i = 0; i < 2; i++) {
    const response = await api.answer(new Request('http://localhost/api/collections/seen/records'), null)
    expect(((await response.json()) as Page).items[0]).toMatchObject({ collectionName: 'seen', title: 'one <b>' })
  }
  expect(reads).toBe(2)
})

test('what a collection shows while a change of it is under way is not kept when that is undone', async () => {
  const { engine } = opened
  const notes = engine.collections.require('notes')
  const fields = notes.fields.map((field) => ({ ...fieldToJson(field), hidden: false }))
  const undone = engine.transaction(async () => {
    await updateCollection(engine, notes, { fields })
    await engine.data.outside(() => list())
    throw new Error('undone')
  })
  await expect(undone).rejects.toThrow('undone')
  expect((await list()).items[0]).not.toHaveProperty('secret')
})

test('what is written while a page is being read keeps it from being kept', async () => {
  const { data } = opened.engine
  const read = data.read.bind(data)
  let isHeld = true
  data.read = (async (...args: Parameters<typeof read>) => {
    const rows = await read(...args)
    if (isHeld && args[0].includes('`notes`.*')) {
      isHeld = false
      await saveNote('meanwhile')
      await list() // notes the newer content
    }
    return rows
  }) as typeof read
  expect(titles(await list())).not.toContain('meanwhile')
  expect(titles(await list())).toContain('meanwhile')
})
