// Goal: what takes long for one request does not hold up the others of its tenant.
// Method: a standalone tenant; what runs while the write transaction is open, and how often the database is asked, is
// counted.

import { afterAll, beforeAll, expect, test } from 'bun:test'
import type { Engine } from '../../src/node/engine/engine.ts'
import { setAuthOptions } from '../support/engine.ts'
import { type OidcProvider, startOidcProvider } from '../support/oidc-provider.ts'
import { type Standalone, startStandalone } from '../support/standalone.ts'
import { newClient, password } from './sdk/world.ts'

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
})
