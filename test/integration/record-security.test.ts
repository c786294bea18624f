// Goal: no filter, sort, expand, field or body reaches what the rules keep from its sender.
// Method: a real engine behind the API; each attack asks as a guest or as a user, and the answer is compared with what
// the rules allow.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test'
import { connect } from 'node:net'
import { newAuthToken } from '../../src/node/engine/auth/tokens.ts'
import type { EngineRecord } from '../../src/node/engine/records/record.ts'
import { EngineRecord as Records } from '../../src/node/engine/records/record.ts'
import { type Standalone, startStandalone } from '../support/standalone.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

let server: Standalone
let userToken = ''
let rootToken = ''

interface Answer {
  readonly status: number
  readonly body: Record<string, unknown>
  readonly text: string
}

async function ask(method: string, path: string, options: { token?: string; body?: unknown } = {}): Promise<Answer> {
  const headers: Record<string, string> = { 'content-type': 'application/json' }
  if (options.token) headers['authorization'] = options.token
  const body = options.body === undefined ? {} : { body: JSON.stringify(options.body) }
  const response = await fetch(server.url + path, { method, headers, ...body })
  const text = await response.text()
  return { status: response.status, text, body: text.startsWith('{') ? JSON.parse(text) : {} }
}

type Query = Readonly<Partial<Record<'filter' | 'sort' | 'expand' | 'fields', string>>>

const list = (collection: string, query: Query, token = '') =>
  ask('GET', `/api/collections/${collection}/records?${new URLSearchParams(query)}`, { token })

async function save(collection: string, values: Record<string, unknown>): Promise<EngineRecord> {
  const record = Records.blank(server.engine.collections.require(collection))
  for (const [key, value] of Object.entries(values)) record.set(key, value)
  await server.engine.records.save(record)
  return record
}

beforeAll(async () => {
  server = await startStandalone()
  const root = await save('_superusers', { email: 'root@example.com', password: '1234567890' })
  const nowMs = server.engine.clock.now()
  rootToken = newAuthToken(root, nowMs)
  const text = (name: string, more = {}) => ({ name, type: 'text', ...more })
  const create = async (json: unknown) => {
    const answer = await ask('POST', '/api/collections', { token: rootToken, body: json })
    expect(answer.status, answer.text).toBe(200)
    return answer.body['id'] as string
  }
  const vault = await create({ name: 'vault', type: 'base', fields: [text('code')] })
  const own = await create({
    name: 'own',
    type: 'base',
    listRule: 'owner = @request.auth.id',
    viewRule: 'owner = @request.auth.id',
    fields: [text('owner'), text('diary')],
  })
  await create({
    name: 'posts',
    type: 'base',
    listRule: '',
    viewRule: '',
    createRule: '',
    updateRule: '',
    fields: [
      text('title'),
      text('secret', { hidden: true }),
      { name: 'vault', type: 'relation', collectionId: vault, maxSelect: 1 },
      { name: 'own', type: 'relation', collectionId: own, maxSelect: 1 },
    ],
  })
  await create({
    name: 'people',
    type: 'auth',
    listRule: '',
    viewRule: '',
    createRule: '',
    updateRule: 'id = @request.auth.id',
    fields: [],
  })
  const kept = await save('vault', { code: 'opensesame' })
  const diary = await save('own', { owner: 'somebodyelse', diary: 'dear' })
  await save('posts', { id: 'post00000000001', title: 'one', secret: 'hush', vault: kept.id, own: diary.id })
  const user = await save('people', { email: 'a@example.com', password: '1234567890', emailVisibility: false })
  await save('people', { email: 'b@example.com', password: '1234567890', emailVisibility: false })
  userToken = newAuthToken(user, nowMs)
})

afterAll(() => server.stop())

test('the data are there for a superuser', async () => {
  const { body } = await list(
    'posts',
    { filter: "vault.code = 'opensesame' && secret = 'hush'", expand: 'vault' },
    rootToken,
  )
  expect(body['totalItems']).toBe(1)
})

test('SQL in every place is only text', async () => {
  const attacks = [
    "' OR 1=1 --",
    "x'; DROP TABLE posts; --",
    'title` = 1 --',
    '\\',
    "a' UNION SELECT code FROM vault --",
    '\u0001',
    '?1',
  ]
  for (const attack of attacks) {
    const quoted = await list('posts', { filter: `title = ${JSON.stringify(attack)}` })
    if (quoted.status === 200) expect(quoted.body['totalItems']).toBe(0)
    for (const query of [{ filter: attack }, { sort: attack }, { sort: `-${attack}` }, { filter: `${attack} = 1` }])
      expect((await list('posts', query)).status).toBe(400)
    for (const query of [{ expand: attack }, { fields: attack }])
      expect((await list('posts', query)).text).not.toContain('opensesame')
    expect((await ask('GET', `/api/collections/posts/records/${encodeURIComponent(attack)}`)).status).toBe(404)
    expect((await ask('GET', `/api/collections/${encodeURIComponent(attack)}/records`)).status).toBe(404)
  }
  expect((await list('posts', {})).body['totalItems']).toBe(1)
})

test('filters and sorts cannot probe hidden fields', async () => {
  for (const name of ['secret', 'secret:lower', 'secret:length', 'posts_via_vault.secret'])
    for (const query of [
      { filter: `${name} ~ 'h'` },
      { sort: name },
      { filter: `"x" != ${name}` },
      { filter: `strftime("%Y", ${name}) = ""` },
    ])
      expect((await list('posts', query, userToken)).status).toBe(400)
  for (const name of ['password', 'tokenKey'])
    for (const query of [{ filter: `${name} != ''` }, { sort: `-${name}` }])
      expect((await list('people', query, userToken)).status).toBe(400)
})

test('relations to what only superusers list cannot be filtered or sorted by', async () => {
  for (const query of [{ filter: "vault.code ~ 'open'" }, { sort: 'vault.code' }, { filter: 'vault.code:length > 0' }])
    expect((await list('posts', query, userToken)).status).toBe(400)
})

test('the list rule of a related collection holds in filters', async () => {
  const { status, body } = await list('posts', { filter: "own.diary = 'dear'" }, userToken)
  expect([status, body['totalItems']]).toEqual([200, 0])
})

test('and in those of realtime clients, whoever else listens with the same one', async () => {
  const { engine } = server
  const owner = await save('people', { email: 'owner@example.com', password: '1234567890' })
  const other = await save('people', { email: 'other@example.com', password: '1234567890' })
  const diary = await save('own', { owner: owner.id, diary: 'mine' })
  const topic = `posts/*?options=${encodeURIComponent(JSON.stringify({ query: { filter: "own.diary = 'mine'" } }))}`
  const listeners = [owner, other, null].map((auth) => {
    const client = engine.realtime.connect('', () => {})!
    client.auth = auth
    client.subscribe(topic)
    return client
  })
  const post = await save('posts', { title: 'two', own: diary.id })
  await engine.realtime.idle()
  const heard = listeners.map((client) => {
    client.close()
    return new Response(client.stream).text()
  })
  expect((await Promise.all(heard)).map((text) => text.includes(post.id))).toEqual([true, false, false])
  await engine.records.delete(post)
})

test('@collection and @request belong to rules', async () => {
  for (const query of [{ filter: "@collection.vault.code ?= 'opensesame'" }, { sort: '@request.auth.id' }])
    expect((await list('posts', query, userToken)).status).toBe(403)
})

test('expand shows no more than the view rules do', async () => {
  const { text } = await list('posts', { expand: 'vault,own,own.posts_via_own.vault', fields: '*,expand.*' }, userToken)
  expect(text).not.toContain('opensesame')
  expect(text).not.toContain('dear')
  expect(text).not.toContain('hush')
})

test('e-mails of others are neither shown nor probed', async () => {
  const shown = await list('people', {}, userToken)
  expect(shown.text).toContain('a@example.com')
  expect(shown.text).not.toContain('b@example.com')
  for (const filter of [
    "email = 'b@example.com'",
    "email ~ 'b@'",
    "'b@example.com' = email",
    "email:lower = 'b@example.com'",
  ])
    expect((await list('people', { filter }, userToken)).body['totalItems']).toBe(0)
})

test('hidden and system fields cannot be set from outside', async () => {
  const made = await ask('POST', '/api/collections/posts/records', {
    body: {
      id: 'post00000000002',
      title: 'two',
      secret: 'mine',
      'secret+': 'x',
      collectionId: 'x',
      collectionName: 'x',
      created: 'x',
    },
  })
  expect(made.status).toBe(200)
  const stored = await list('posts', { filter: "id = 'post00000000002'" }, rootToken)
  expect((stored.body['items'] as Record<string, unknown>[])[0]?.['secret']).toBe('')
  const person = await ask('POST', '/api/collections/people/records', {
    body: {
      email: 'c@example.com',
      password: '1234567890',
      passwordConfirm: '1234567890',
      verified: true,
      tokenKey: 'x'.repeat(50),
    },
  })
  expect(person.status).toBe(400)
  expect(person.text).toContain('verified')
})

test('a batch cannot speak for somebody else', async () => {
  await ask('PATCH', '/api/settings', {
    token: rootToken,
    body: { batch: { enabled: true, maxRequests: 10, timeout: 3 } },
  })
  const requests = [
    {
      method: 'POST',
      url: '/api/collections/vault/records',
      headers: { Authorization: rootToken },
      body: { code: 'planted' },
    },
  ]
  const answer = await ask('POST', '/api/batch', { body: { requests } })
  expect(answer.status).toBe(400)
  expect(server.engine.records.findFirst(server.engine.collections.require('vault'), 'code', 'planted')).toBeNull()
})

test('back-relations reveal nothing in filters, sorts and expands', async () => {
  // `own` is listed by its owner alone, `vault` by superusers: neither may be reached through who points to it.
  for (const query of [
    { filter: "posts_via_own.vault.code ~ 'open'" },
    { filter: "posts_via_own.secret ?~ 'h'" },
    { sort: 'posts_via_own.secret' },
    { sort: '-posts_via_own.vault.code' },
    { filter: "posts_via_own.own.posts_via_own.secret != ''" },
  ]) {
    const { status, body } = await list('own', query, userToken)
    expect([query, status === 400 || body['totalItems'] === 0]).toEqual([query, true])
  }
  for (const expand of ['posts_via_own', 'posts_via_own.vault', 'posts_via_vault', 'own.posts_via_own'])
    for (const collection of ['own', 'posts', 'vault']) {
      const { text } = await list(collection, { expand, fields: '*,expand.*,expand.*.*' }, userToken)
      for (const kept of ['opensesame', 'dear', 'hush']) expect(text).not.toContain(kept)
    }
})

test('the order of a list tells nothing about what is hidden', async () => {
  const secrets = ['b', 'a', 'c']
  for (const [i, secret] of secrets.entries())
    await save('posts', { id: `sorted00000000${i}`, title: 'sorted', secret, created: '2026-01-01' })
  const sorts = [
    'secret',
    '-secret',
    'secret:lower',
    '@random,secret',
    'title,secret',
    'own.diary',
    '-vault.code',
    'posts.secret',
  ]
  for (const sort of sorts) {
    const { status } = await list('posts', { sort, filter: "title = 'sorted'" }, userToken)
    expect([sort, status]).toEqual([sort, sort === 'own.diary' ? 200 : 400])
  }
  // What may be sorted by, but is not shown to this user, counts as empty: no order comes of it.
  const answer = await list('posts', { sort: 'own.diary,id', filter: "title = 'sorted'" }, userToken)
  expect((answer.body['items'] as { id: string }[]).map(({ id }) => id)).toEqual(
    [0, 1, 2].map((i) => `sorted00000000${i}`),
  )
})

test('@collection in a rule is bound to its rule, not to what a client adds', async () => {
  await ask('PATCH', '/api/collections/posts', {
    token: rootToken,
    body: { listRule: '@collection.own.owner ?= @request.auth.id || @request.auth.id = ""' },
  })
  expect((await list('posts', {}, userToken)).body['totalItems']).toBe(0)
  for (const query of [
    { filter: "id != '' || @collection.own.id != ''" },
    { filter: '1 = 1 || id != ""' },
    { filter: 'id != "") || (1 = 1' },
    { filter: '(id != "")) || ((1 = 1)' },
    { filter: 'id = id // ' },
  ]) {
    const { status, body } = await list('posts', query, userToken)
    expect([query, status !== 200 || body['totalItems'] === 0]).toEqual([query, true])
  }
  await ask('PATCH', '/api/collections/posts', { token: rootToken, body: { listRule: '' } })
})

test('mass assignment: by JSON, form, payload part, modifier, batch and update', async () => {
  const id = 'mass00000000001'
  const hostile = {
    secret: 'mine',
    'secret+': 'mine',
    '+secret': 'mine',
    'secret:autogenerate': '',
    collectionId: 'vault',
    collectionName: 'vault',
    rowid: 7,
    _rowid_: 7,
    expand: { vault: { code: 'planted' } },
    __proto__: { secret: 'mine' },
  }
  const stored = () =>
    server.engine.data.get<{ secret: string; rowid: number }>('SELECT rowid, secret FROM posts WHERE id = ?', [id])
  const form = (values: Record<string, unknown>) => {
    const data = new FormData()
    for (const [key, value] of Object.entries(values)) data.append(key, String(value))
    data.append('@jsonPayload', JSON.stringify(hostile))
    return data
  }
  const send = (method: string, path: string, body: FormData) => fetch(server.url + path, { method, body })
  const records = '/api/collections/posts/records'
  expect((await ask('POST', records, { body: { id, title: 'mass', ...hostile } })).status).toBe(200)
  await ask('PATCH', `${records}/${id}`, { body: hostile })
  await send('PATCH', `${records}/${id}`, form(hostile))
  await ask('POST', '/api/batch', {
    body: { requests: [{ method: 'PATCH', url: `${records}/${id}`, body: hostile }] },
  })
  expect(stored()?.secret).toBe('')
  expect(stored()?.rowid).not.toBe(7)
  expect((await list('vault', {}, rootToken)).text).not.toContain('planted')
})

test('mass assignment of what makes an account: verified, token key, password hash, another’s id', async () => {
  const person = { email: 'mass@example.com', password: '1234567890', passwordConfirm: '1234567890' }
  const made = await ask('POST', '/api/collections/people/records', {
    body: { ...person, tokenKey: 'k'.repeat(50), 'tokenKey:autogenerate': 'k', passwordHash: 'x', lastLoginAt: 'x' },
  })
  expect(made.status).toBe(200)
  const record = server.engine.records.findById(server.engine.collections.require('people'), made.body['id'] as string)!
  expect(record.text('tokenKey')).not.toContain('kkk')
  const token = newAuthToken(record, server.engine.clock.now())
  const path = `/api/collections/people/records/${record.id}`
  for (const body of [
    { verified: true },
    { email: 'other@example.com' },
    { password: 'another12345', passwordConfirm: 'another12345' },
    { password: 'another12345', passwordConfirm: 'another12345', oldPassword: 'wrong' },
  ])
    expect((await ask('PATCH', path, { token, body })).status).toBe(400)
  expect((await ask('PATCH', path, { token, body: { id: 'a'.repeat(15) } })).status).toBe(400)
  await ask('PATCH', path, { token, body: { tokenKey: 'k'.repeat(50), collectionId: 'pbc_3142635823' } })
  const after = server.engine.records.findById(record.collection, record.id)!
  expect([after.text('tokenKey'), after.text('email'), after.bool('verified')]).toEqual([
    record.text('tokenKey'),
    person.email,
    false,
  ])
  // Nobody becomes a superuser by writing where superusers are.
  for (const collection of ['_superusers', '_externalAuths', '_otps', '_mfas', '_authOrigins'])
    for (const as of ['', token])
      expect((await ask('POST', `/api/collections/${collection}/records`, { token: as, body: person })).status).toBe(
        403,
      )
})

test('paths lead to no other file, record or collection', async () => {
  const parts = [
    '..',
    '.',
    '%2e%2e',
    '..%2f',
    '..%2f..%2fdata.db',
    '%2fetc%2fpasswd',
    '..%5c..%5cdata.db',
    '%00',
    'data.db%00.png',
  ]
  for (const part of parts)
    for (const path of [
      `/api/files/posts/post00000000001/${part}`,
      `/api/files/posts/${part}/data.db`,
      `/api/files/${part}/post00000000001/x.png`,
      `/api/files/${part}/${part}/data.db`,
      `/api/collections/posts/records/${part}`,
      `/api/collections/${part}/records`,
      `/api/backups/${part}`,
      `/_/${part}`,
    ]) {
      // As it stands: fetch would take `..` out before it is sent.
      const response = await rawGet(path)
      // `/_/.` is `/_/`, a page of our own.
      const expected = path === '/_/.' ? /^HTTP\/1\.1 200 / : /^HTTP\/1\.1 (?:30[78]|40[0134]) /
      expect([path, expected.test(response)]).toEqual([path, true])
      expect(response).not.toContain('SQLite format 3')
      expect(response).not.toContain('root:x:')
    }
})

/** One request with the path untouched. */
function rawGet(path: string): Promise<string> {
  const { hostname, port } = new URL(server.url)
  return new Promise((resolve, reject) => {
    let text = ''
    const socket = connect(Number(port), hostname, () =>
      socket.write(`GET ${path} HTTP/1.1\r\nHost: ${hostname}\r\nConnection: close\r\n\r\n`),
    )
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
    })
    socket.on('error', reject)
    socket.on('close', () => resolve(text))
  })
}
