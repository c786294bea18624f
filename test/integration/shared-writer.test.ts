// Goal: what takes long for one request does not hold up the others of its tenant.
// Method: a standalone tenant; what runs while the write transaction is open, and how often the database is asked, is
// counted.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { join } from 'node:path'
import { newAuthToken } from '../../src/node/engine/auth/tokens.ts'
import type { Engine } from '../../src/node/engine/engine.ts'
import { saveUser, setAuthOptions } from '../support/engine.ts'
import { type OidcProvider, startOidcProvider } from '../support/oidc-provider.ts'
import { type Standalone, startStandalone } from '../support/standalone.ts'
import { newClient, password, refusedStatus } from './sdk/world.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

let server: Standalone
let engine: Engine
let oidc: OidcProvider

beforeAll(async () => {
  ;[server, oidc] = await Promise.all([startStandalone(), startOidcProvider()])
  engine = server.engine
  const provider = {
    ...{
      pkce: null,
      name: 'oidc',
      clientId: oidc.clientId,
      clientSecret: oidc.clientSecret,
      displayName: '',
      extra: null,
    },
    ...{ authURL: `${oidc.url}/authorize`, tokenURL: `${oidc.url}/token`, userInfoURL: `${oidc.url}/userinfo` },
  }
  await setAuthOptions(engine, 'users', {
    manageRule: '@request.auth.name = "manager" && name != "secret"',
    oauth2: {
      enabled: true,
      providers: [provider],
      mappedFields: { id: '', name: 'name', username: '', avatarURL: '' },
    },
  })
  const { data } = engine.collections.require('users')
  await engine.collections.save({ ...data, listRule: '' })
})

afterAll(async () => {
  await Promise.all([server.stop(), oidc.stop()])
})

/** Counts calls of `target[name]`, and how many of them began while a write transaction was open. */
async function counted<T>(target: object, name: string, work: () => Promise<T>) {
  const methods = target as Record<string, (...args: unknown[]) => unknown>
  const original = methods[name]!
  const { transaction } = engine.data
  let depth = 0
  const seen = { all: 0, inside: 0 }
  const wrapped = (body: () => Promise<unknown>) =>
    transaction.call(engine.data, async () => {
      depth++
      try {
        return await body()
      } finally {
        depth--
      }
    })
  Object.assign(engine.data, { transaction: wrapped })
  methods[name] = (...args: unknown[]) => {
    seen.all++
    if (depth > 0) seen.inside++
    return Reflect.apply(original, target, args)
  }
  try {
    await work()
    return seen
  } finally {
    methods[name] = original
    Object.assign(engine.data, { transaction })
  }
}

async function signInByProvider(sub: string, createData: Record<string, unknown> = {}) {
  oidc.user = { sub, email: `${sub}@example.com`, email_verified: true }
  const users = newClient(server.url).collection('users')
  const redirectURL = `${server.url}/back`
  const provider = (await users.listAuthMethods()).oauth2.providers[0]!
  const landed = await oidc.agree(provider.authURL + encodeURIComponent(redirectURL))
  return users.authWithOAuth2Code(
    'oidc',
    landed.searchParams.get('code')!,
    provider.codeVerifier,
    redirectURL,
    createData,
  )
}

test('a sign-up by OAuth2 hashes its password before the transaction', async () => {
  const random = await counted(Bun.password, 'hash', () => signInByProvider('first'))
  expect(random).toEqual({ all: 1, inside: 0 })
  const given = { password, passwordConfirm: password }
  expect(await counted(Bun.password, 'hash', () => signInByProvider('second', given))).toEqual({ all: 1, inside: 0 })
  await newClient(server.url).collection('users').authWithPassword('second@example.com', password)
  // Somebody made the record with a password of theirs: it goes, and that is hashed beforehand as well.
  await newClient(server.url)
    .collection('users')
    .create({ email: 'third@example.com', ...given })
  expect(await counted(Bun.password, 'hash', () => signInByProvider('third'))).toEqual({ all: 1, inside: 0 })
  expect(await counted(Bun.password, 'hash', () => signInByProvider('third'))).toEqual({ all: 0, inside: 0 })
})

test('the manage rule is asked once for a whole list', async () => {
  const users = newClient(server.url).collection('users')
  for (const name of ['manager', 'secret', 'a', 'b', 'c', 'd'])
    await users.create({ email: `${name}@managed.example.com`, name, password, passwordConfirm: password })
  const client = newClient(server.url)
  await client.collection('users').authWithPassword('manager@managed.example.com', password)
  const list = () => client.collection('users').getFullList({ filter: 'name != ""', sort: 'name' })
  const shown = (await list()).map(({ name, email }) => [name, email])
  expect(shown).toContainEqual(['a', 'a@managed.example.com'])
  expect(shown).toContainEqual(['secret', undefined])
  // One statement lists, one asks the rule.
  expect((await counted(engine.data, 'read', list)).all).toBeLessThanOrEqual(2)
  // Nor is it asked for each record that is expanded in others.
  const found = await list()
  const { id } = engine.collections.require('users')
  const fields = [{ name: 'user', type: 'relation', collectionId: id, maxSelect: 1 }]
  const root = newClient(server.url)
  root.authStore.save(newAuthToken(await saveUser(engine, '_superusers', { email: 'first@example.com' }), Date.now()))
  await root.collections.create({ name: 'visits', type: 'base', listRule: '', fields })
  await engine.collections.save({ ...engine.collections.require('users').data, viewRule: '' })
  for (const user of found) await root.collection('visits').create({ user: user.id })
  const expand = () => client.collection('visits').getFullList({ expand: 'user', sort: 'user.name' })
  expect((await expand()).map((visit) => visit.expand?.['user']?.email)).toContain('a@managed.example.com')
  // The visits, their users, and the rule.
  expect((await counted(engine.data, 'read', expand)).all).toBeLessThanOrEqual(3)
})

test('a batch hashes its passwords before the transaction', async () => {
  await allowBatches()
  const client = newClient(server.url)
  const given = { password, passwordConfirm: password }
  const batch = client.createBatch()
  for (const name of ['one', 'two', 'three', 'four', 'five'])
    batch.collection('users').create({ email: `${name}@batch.example.com`, ...given })
  batch.collection('users').upsert({ id: 'upserteduser000', email: 'six@batch.example.com', ...given })
  expect(await counted(Bun.password, 'hash', () => batch.send())).toEqual({ all: 6, inside: 0 })
  const hashes = engine.data.read('SELECT DISTINCT password FROM users WHERE email LIKE ?', ['%@batch.example.com'])
  expect(hashes).toHaveLength(6)
  await client.collection('users').authWithPassword('five@batch.example.com', password)
  const unconfirmed = client.createBatch()
  unconfirmed.collection('users').create({ email: 'seven@batch.example.com', password, passwordConfirm: 'other' })
  const none = await counted(Bun.password, 'hash', async () => void (await refusedStatus(unconfirmed.send())))
  expect(none).toEqual({ all: 0, inside: 0 })
})

test('a batch hashes nothing for what rules or limits refuse', async () => {
  await allowBatches()
  const { settings } = engine
  const { data } = engine.collections.require('users')
  const sendAll = (names: readonly string[]) =>
    counted(Bun.password, 'hash', async () => {
      const batch = newClient(server.url).createBatch()
      for (const name of names) {
        const email = `${name}@refused.example.com`
        batch.collection('users').create({ name, email, password, passwordConfirm: password })
      }
      expect(await refusedStatus(batch.send())).toBe(400)
    })
  const names = Array.from({ length: 20 }, (_, i) => `n${i}`)
  try {
    await engine.collections.save({ ...data, createRule: 'name = "welcome"' })
    expect((await sendAll(names)).all).toBe(0)
    await engine.collections.save({ ...data, createRule: '' })
    const rule = { label: 'users:create', audience: '', duration: 600, maxRequests: 2 } as const
    const rateLimits = { ...settings.rateLimits, enabled: true, rules: [rule] }
    await engine.settingsStore.save({ ...settings, rateLimits })
    expect(await sendAll(names)).toEqual({ all: 2, inside: 0 })
    expect((await sendAll(names)).all).toBe(0)
  } finally {
    await engine.settingsStore.save(settings)
    await engine.collections.save(data)
  }
})

test('a rule that looks at what an earlier part of a batch writes is asked when its part runs', async () => {
  await allowBatches()
  const { data } = engine.collections.require('users')
  const createRule = 'name = "first" || @collection.users.name ?= "first"'
  await engine.collections.save({ ...data, createRule })
  try {
    const batch = newClient(server.url).createBatch()
    for (const name of ['first', 'later'])
      batch
        .collection('users')
        .create({ name, email: `${name}@order.example.com`, password, passwordConfirm: password })
    expect(await counted(Bun.password, 'hash', () => batch.send())).toEqual({ all: 2, inside: 1 })
  } finally {
    await engine.collections.save(data)
  }
})

async function allowBatches(): Promise<void> {
  const { settings } = engine
  await engine.settingsStore.save({ ...settings, batch: { ...settings.batch, enabled: true } })
}

describe('a batch with files', () => {
  beforeAll(async () => {
    await allowBatches()
    const root = newClient(server.url)
    root.authStore.save(newAuthToken(await saveUser(engine, '_superusers', { email: 'root@example.com' }), Date.now()))
    const open = { listRule: '', viewRule: '', createRule: '', updateRule: '' }
    const fields = [
      { name: 'title', type: 'text', required: true },
      { name: 'files', type: 'file', maxSelect: 3, maxSize: 100 },
    ]
    await root.collections.create({ ...open, name: 'notes', type: 'base', fields })
    await root.collections.create({ ...open, name: 'closed', type: 'base', createRule: null, fields })
  })
  const text = (content: string) => new File([content], 'note.txt', { type: 'text/plain' })
  const stored = () => [...new Bun.Glob('**/note_*.txt').scanSync({ cwd: join(server.dir, 'storage') })].sort()

  test('stores them before the transaction', async () => {
    const client = newClient(server.url)
    const old = await client.collection('notes').create({ title: 'old' })
    const batch = client.createBatch()
    batch.collection('notes').create({ title: 'a', files: [text('1'), text('2')] })
    batch.collection('notes').update(old.id, { files: [text('3')] })
    batch.collection('notes').upsert({ id: 'upsertedrecord0', title: 'b', files: [text('4')] })
    let results: { status: number; body: { files: string[]; id: string } }[] = []
    const puts = await counted(engine.files, 'put', async () => void (results = await batch.send()))
    expect(puts).toEqual({ all: 4, inside: 0 })
    expect(results.map(({ status }) => status)).toEqual([200, 200, 200])
    const names = results.flatMap(({ body }) => body.files.map((name) => `${body.id}/${name}`))
    expect(stored().map((path) => path.split('/').slice(1).join('/'))).toEqual(names.sort())
  })

  test('leaves none of them behind when a part fails, and none for who may not', async () => {
    const before = stored()
    const client = newClient(server.url)
    for (const bad of [{ title: '' }, { title: 'large', files: [text('x'.repeat(101))] }]) {
      const batch = client.createBatch()
      batch.collection('notes').create({ title: 'a', files: [text('1')] })
      batch.collection('notes').create(bad)
      batch.collection('notes').create({ title: 'c', files: [text('2')] })
      expect(await refusedStatus(batch.send())).toBe(400)
      expect(stored()).toEqual(before)
    }
    const batch = client.createBatch()
    batch.collection('closed').create({ title: 'a', files: [text('1')] })
    const puts = await counted(engine.files, 'put', async () => expect(await refusedStatus(batch.send())).toBe(400))
    expect(puts.all).toBe(0)
    const escaping = client.createBatch()
    escaping.collection('notes').create({ id: '../../escaped', title: 'a', files: [text('1')] })
    expect(await refusedStatus(escaping.send())).toBe(400)
    expect(stored()).toEqual(before)
  })
})
