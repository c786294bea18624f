// Goal: a token opens what it was made for and nothing else, over HTTP as in the units. Method: a real server; tokens
// that are forged, relabelled, expired, of another kind, collection, record or tenant are sent wherever a token counts.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test'
import { signJwt } from '../../src/node/engine/auth/jwt.ts'
import {
  newAuthToken,
  newEmailChangeToken,
  newFileToken,
  newPasswordResetToken,
  newVerificationToken,
  unverifiedClaims,
} from '../../src/node/engine/auth/tokens.ts'
import { createBackup } from '../../src/node/engine/backups/backups.ts'
import { createCollection } from '../../src/node/engine/collections/manage.ts'
import type { EngineRecord } from '../../src/node/engine/records/record.ts'
import { saveUser } from '../support/engine.ts'
import { type Standalone, startStandalone } from '../support/standalone.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

let server: Standalone
let other: Standalone
let root: EngineRecord
let user: EngineRecord
let otherRoot: EngineRecord
const nowMs = () => server.engine.clock.now()

beforeAll(async () => {
  server = await startStandalone()
  other = await startStandalone()
  root = await saveUser(server.engine, '_superusers', { email: 'root@example.com' })
  user = await saveUser(server.engine, 'users', { email: 'user@example.com' })
  // The same ids in another tenant: only the secrets differ.
  otherRoot = await saveUser(other.engine, '_superusers', { id: root.id, email: 'root@example.com' })
  await createCollection(server.engine, { name: 'admins', type: 'auth' })
  await saveUser(server.engine, 'admins', { id: `x${user.id.slice(1)}`, email: 'user@example.com' })
  await createBackup(server.engine, 'kept.zip')
})
afterAll(async () => {
  await server.stop()
  await other.stop()
})

async function ask(path: string, options: { token?: string; body?: unknown; method?: string } = {}) {
  const response = await fetch(server.url + path, {
    method: options.method ?? (options.body === undefined ? 'GET' : 'POST'),
    headers: {
      'content-type': 'application/json',
      ...(options.token !== undefined && { authorization: options.token }),
    },
    ...(options.body !== undefined && { body: JSON.stringify(options.body) }),
  })
  return { status: response.status, text: await response.text() }
}

/** What only a superuser's auth token may do, and what only their file token may. */
const settingsWith = async (token: string) => (await ask('/api/settings', { token })).status
const backupWith = async (token: string) =>
  (await ask(`/api/backups/kept.zip?token=${encodeURIComponent(token)}`)).status

test('the right tokens work, or nothing below proves anything', async () => {
  expect(await settingsWith(newAuthToken(root, nowMs()))).toBe(200)
  expect(await settingsWith(`Bearer ${newAuthToken(root, nowMs())}`)).toBe(200)
  expect(await backupWith(newFileToken(root, nowMs()))).toBe(200)
})

test('a token of another kind opens nothing', async () => {
  const kinds = [
    newFileToken(root, nowMs()),
    newVerificationToken(root, nowMs()),
    newPasswordResetToken(root, nowMs()),
    newEmailChangeToken(root, 'new@example.com', nowMs()),
  ]
  for (const token of kinds) expect(await settingsWith(token)).toBe(401)
  for (const token of [newAuthToken(root, nowMs()), ...kinds.slice(1)]) expect(await backupWith(token)).toBe(403)
  const confirm = (action: string, token: string) =>
    ask(`/api/collections/users/${action}`, {
      body: { token, password: 'a-long-password', passwordConfirm: 'a-long-password' },
    })
  const ofUser = [newAuthToken(user, nowMs()), newFileToken(user, nowMs())]
  for (const action of ['confirm-verification', 'confirm-password-reset', 'confirm-email-change'])
    for (const token of ofUser) expect((await confirm(action, token)).status).toBe(400)
  expect((await confirm('confirm-password-reset', newVerificationToken(user, nowMs()))).status).toBe(400)
  expect((await confirm('confirm-verification', newPasswordResetToken(user, nowMs()))).status).toBe(400)
})

test('algorithm none, another algorithm, and no signature at all', async () => {
  const [, claims] = newAuthToken(root, nowMs()).split('.')
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  for (const alg of ['none', 'None', 'NONE', '', 'HS384', 'HS512', 'RS256', 'ES256', null])
    for (const signature of ['', 'AA', newAuthToken(root, nowMs()).split('.')[2]!])
      expect(await settingsWith(`${encode({ alg, typ: 'JWT' })}.${claims}.${signature}`)).toBe(401)
  const header = encode({
    alg: 'HS256',
    typ: 'JWT',
    jwk: { kty: 'oct', k: '' },
    kid: '../../dev/null',
    jku: 'http://x',
  })
  expect(await settingsWith(`${header}.${claims}.`)).toBe(401)
})

test('a token signed with a key that is none of ours', async () => {
  const claims = unverifiedClaims(newAuthToken(root, nowMs()))
  const { secret } = root.collection.auth.authToken
  for (const key of ['', ' ', 'secret', secret, root.text('tokenKey'), secret + root.text('tokenKey'), root.id])
    if (key !== '') expect(await settingsWith(signJwt(claims, key))).toBe(401)
})

test('a token of another tenant with the same ids', async () => {
  expect(otherRoot.id).toBe(root.id)
  expect(otherRoot.collection.id).toBe(root.collection.id)
  expect(await settingsWith(newAuthToken(otherRoot, nowMs()))).toBe(401)
  expect(await backupWith(newFileToken(otherRoot, nowMs()))).toBe(403)
})

test('a user who claims to be of the superusers, or of another collection', async () => {
  const claims = unverifiedClaims(newAuthToken(user, nowMs()))
  const key = user.text('tokenKey') + user.collection.auth.authToken.secret
  const admins = server.engine.collections.require('admins')
  for (const change of [
    { collectionId: root.collection.id },
    { collectionId: root.collection.id, id: root.id },
    { collectionId: root.collection.name },
    { collectionId: admins.id },
  ])
    expect(await settingsWith(signJwt({ ...claims, ...change }, key))).toBe(401)
  expect(await settingsWith(signJwt(claims, key))).toBe(403) // itself, it is only no superuser
  // Signed in as somebody of one collection, asked of another.
  const answer = await ask('/api/collections/admins/auth-refresh', { token: newAuthToken(user, nowMs()), body: {} })
  expect(answer.status).toBe(403)
})

test('an expired token, and one of a time to come', async () => {
  const second = Math.floor(nowMs() / 1_000)
  const claims = unverifiedClaims(newAuthToken(root, nowMs()))
  const key = root.text('tokenKey') + root.collection.auth.authToken.secret
  expect(await settingsWith(signJwt({ ...claims, exp: second + 60 }, key))).toBe(200)
  for (const exp of [second, second - 1, 0, -1, null, 'never', [second + 60], Number.POSITIVE_INFINITY])
    expect(await settingsWith(signJwt({ ...claims, exp }, key))).toBe(401)
  expect(await settingsWith(signJwt({ ...claims, exp: second + 60, nbf: second + 30 }, key))).toBe(401)
})

test('a new password or token key ends every token at once', async () => {
  const victim = await saveUser(server.engine, '_superusers', { email: 'second@example.com' })
  const token = newAuthToken(victim, nowMs())
  const file = newFileToken(victim, nowMs())
  expect([await settingsWith(token), await backupWith(file)]).toEqual([200, 200])
  victim.set('password', 'another-long-password')
  await server.engine.records.save(victim)
  expect([await settingsWith(token), await backupWith(file)]).toEqual([401, 403])
})
