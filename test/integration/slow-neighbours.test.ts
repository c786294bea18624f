// Goal: whatever a tenant asks or does, the process answers others meanwhile, and its own answer is the one it would have
// got alone. Method: a table too large for reads in place, queries that never end, long deletes, and requests beside them.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test'
import { systemClock } from '../../src/lib/clock.ts'
import { TenantApi } from '../../src/node/api/app.ts'
import { newAuthToken } from '../../src/node/engine/auth/tokens.ts'
import type { Engine } from '../../src/node/engine/engine.ts'
import { EngineRecord } from '../../src/node/engine/records/record.ts'
import { hostOf, openTestEngine, saveUser, type TestEngine } from '../support/engine.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const rows = 30_000
/** Two tests wait for it; what is not endless must be over by then, on a busy machine too. */
const deadlineMs = 5_000

let tenant: TestEngine
let neighbour: TestEngine
let token: string

beforeAll(async () => {
  tenant = await openTestEngine({ readDeadlineMs: deadlineMs })
  neighbour = await openTestEngine()
  const { engine } = tenant
  const superuser = await saveUser(engine, '_superusers', { email: 'root@example.com' })
  token = newAuthToken(superuser, systemClock.now())
  const open = { listRule: '', viewRule: '', createRule: '', updateRule: '' }
  await create('authors', { ...open, fields: [{ name: 'name', type: 'text' }] })
  const authors = engine.collections.require('authors')
  await create('posts', {
    ...open,
    fields: [
      { name: 'title', type: 'text' },
      { name: 'author', type: 'relation', collectionId: authors.id, maxSelect: 1 },
    ],
  })
  await engine.transaction(() => {
    for (const id of ['a', 'b'])
      engine.data.run('INSERT INTO authors (id, name) VALUES (?, ?)', [id.repeat(15), `author ${id}`])
    for (let i = 0; i < rows; i++)
      engine.data.run('INSERT INTO posts (id, title, author) VALUES (?, ?, ?)', [
        String(i).padStart(15, '0'),
        `post ${i}`,
        i % 10_000 === 7 ? 'a'.repeat(15) : i % 10_000 === 8 ? 'b'.repeat(15) : '',
      ])
  })
  // Has first rows at once, and more of them than a machine can count in its life.
  await create('wild', {
    listRule: '',
    viewRule: '',
    type: 'view',
    viewQuery: 'SELECT (a.id || b.id || c.id || d.id) AS id FROM posts a, posts b, posts c, posts d',
  })
}, 180_000)
afterAll(async () => {
  await tenant[Symbol.asyncDispose]()
  await neighbour[Symbol.asyncDispose]()
})

const apiOf = ({ engine }: { readonly engine: Engine }) => new TenantApi({ host: hostOf(engine) })

interface Item {
  readonly id: string
  readonly expand: { readonly posts_via_author: readonly { readonly id: string }[] }
}
interface Answer {
  readonly id: string
  readonly items: readonly Item[]
  readonly totalItems: number
  readonly message: string
}

async function ask(of: TestEngine, method: string, path: string, body?: unknown, auth = '') {
  const response = await apiOf(of).answer(
    new Request(`http://localhost${path}`, {
      method,
      headers: { ...(auth !== '' && { authorization: auth }), 'content-type': 'application/json' },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    }),
    null,
  )
  return { status: response.status, json: (await response.json()) as Answer }
}

async function create(name: string, json: Readonly<Record<string, unknown>>) {
  const { status, json: made } = await ask(tenant, 'POST', '/api/collections', { name, type: 'base', ...json }, token)
  if (status !== 200) throw new Error(JSON.stringify(made))
}

const list = (collection: string, query: Readonly<Record<string, string>>) =>
  ask(tenant, 'GET', `/api/collections/${collection}/records?${new URLSearchParams(query)}`)

test('a scan sees what was written just before it', async () => {
  for (let i = 0; i < 20; i++) {
    const title = `fresh ${i}`
    const made = await ask(tenant, 'POST', '/api/collections/posts/records', { title })
    const found = await list('posts', { filter: `title = "${title}"` })
    expect(found.json.items.map((each) => each.id)).toEqual([made.json.id])
    expect(found.json.totalItems).toBe(1)
  }
})

test('back relations without an index are found in one scan, for each record its own', async () => {
  const { json } = await list('authors', { expand: 'posts_via_author', sort: 'id' })
  const ids = json.items.map((author) => author.expand.posts_via_author.map((post) => Number(post.id)))
  expect(ids).toEqual([
    [7, 10_007, 20_007],
    [8, 10_008, 20_008],
  ])
})

test('a rule that scans decides as it would in place', async () => {
  const { engine } = tenant
  const posts = engine.collections.require('posts')
  const rule = (title: string) => `@collection.posts.title ?= "${title}"`
  await engine.collections.save({ ...posts.data, createRule: rule('post 29999') })
  expect((await ask(tenant, 'POST', '/api/collections/posts/records', { title: 'x' })).status).toBe(200)
  await engine.collections.save({ ...posts.data, createRule: rule('no such post') })
  expect((await ask(tenant, 'POST', '/api/collections/posts/records', { title: 'x' })).status).toBe(400)
  await engine.collections.save(posts.data)
})

test('inside a transaction reads see its own writes, however large the table', async () => {
  const { engine } = tenant
  await engine.transaction(async () => {
    const record = EngineRecord.blank(engine.collections.require('posts'))
    record.set('title', 'not committed')
    await engine.records.save(record)
    const found = await engine.data.read('SELECT id FROM posts WHERE title = ?', ['not committed'])
    expect(found).toHaveLength(1)
  })
})

test('queries that never end are ended at the deadline; a neighbour does not notice', async () => {
  const wild = [
    list('wild', { filter: 'id = "none"', skipTotal: '1' }), // the total would end at the limit of memory
    ask(tenant, 'GET', '/api/collections/wild/records/x'),
    ask(tenant, 'POST', '/api/sql', { query: 'SELECT count(*) FROM posts a, posts b, posts c' }, token),
    ask(
      tenant,
      'POST',
      '/api/collections/meta/dry-run-view',
      { query: 'SELECT a.id FROM posts a, posts b, posts c, posts d WHERE a.title = 5' },
      token,
    ),
  ]
  let ended = 0
  for (const each of wild) void each.then(() => ended++)
  let meanwhile = 0
  // A query in place would hold the neighbour for ever.
  while (ended === 0) {
    expect((await ask(neighbour, 'GET', '/api/health')).status).toBe(200)
    meanwhile++
    await new Promise<void>((resolve) => void systemClock.setTimer(1, resolve))
  }
  expect(meanwhile).toBeGreaterThan(10)
  const answers = await Promise.all(wild)
  expect(answers.map((each) => each.status)).toEqual([400, 400, 400, 400])
  for (const { json } of answers) expect(json.message).toMatch(/too long|ran longer/)
  const after = await list('posts', { filter: 'title = "post 123"' })
  expect(after.json.totalItems).toBe(1)
}, 180_000)

test('a delete that takes thousands along lets neighbours in between', async () => {
  const { engine } = tenant
  const authors = engine.collections.require('authors')
  await create('parts', {
    fields: [{ name: 'owner', type: 'relation', collectionId: authors.id, maxSelect: 1, cascadeDelete: true }],
    indexes: ['CREATE INDEX parts_owner ON parts (owner)'],
  })
  const count = 5_000
  const owner = 'c'.repeat(15)
  await engine.transaction(() => {
    engine.data.run('INSERT INTO authors (id, name) VALUES (?, ?)', [owner, 'author c'])
    for (let i = 0; i < count; i++)
      engine.data.run('INSERT INTO parts (id, owner) VALUES (?, ?)', [String(i).padStart(15, '0'), owner])
  })
  let isDone = false
  const deleting = engine.records.delete(engine.records.findById(authors, owner)!).then(() => {
    isDone = true
  })
  let meanwhile = 0
  while (!isDone) {
    expect((await ask(neighbour, 'GET', '/api/health')).status).toBe(200)
    meanwhile++
    await new Promise<void>((resolve) => void systemClock.setTimer(0, resolve))
  }
  await deleting
  expect(meanwhile).toBeGreaterThan(5)
  expect(engine.data.get('SELECT count(*) AS n FROM parts')).toEqual({ n: 0 })
}, 180_000)
