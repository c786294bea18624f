// Goal: a token speaks for exactly one record of one collection, for one purpose, until its key changes. Method: every
// kind of token is tried for every purpose, with keys of other records, collections and tenants.

import { expect, test } from 'bun:test'
import { SimClock } from '../../../lib/clock.ts'
import { type AuthOptions, Collection, type CollectionData } from '../collections/collection.ts'
import { fieldDefaults } from '../fields/field.ts'
import { EngineRecord } from '../records/record.ts'
import { ExpiringMap } from './expiring-map.ts'
import { decodeJwt, signJwt } from './jwt.ts'
import {
  findRecordByToken,
  newAuthToken,
  newEmailChangeToken,
  newFileToken,
  newPasswordResetToken,
  newStaticAuthToken,
  newVerificationToken,
  type TokenType,
  unverifiedClaims,
} from './tokens.ts'

const nowMs = 1_700_000_000_500

function collectionOf(id: string, secretPrefix = id, type: 'auth' | 'base' = 'auth'): Collection {
  const token = (name: string, duration: number) => ({ secret: `${secretPrefix}-${name}-${'s'.repeat(30)}`, duration })
  const auth = {
    authToken: token('auth', 1000),
    fileToken: token('file', 120),
    verificationToken: token('verification', 300),
    passwordResetToken: token('reset', 400),
    emailChangeToken: token('change', 500),
  } as unknown as AuthOptions
  const text = fieldDefaults.text
  const fields = ['id', 'tokenKey', 'email'].map((name) => ({ ...text, type: 'text' as const, id: name, name }))
  const data = { id, name: id, type, fields, indexes: [], auth: type === 'auth' ? auth : null, view: null }
  return new Collection(data as unknown as CollectionData)
}

const recordOf = (collection: Collection, id: string, tokenKey = `key-${id}-${'k'.repeat(40)}`) =>
  EngineRecord.fromRow(collection, { id, tokenKey, email: `${id}@example.com` })

const users = collectionOf('users')
const admins = collectionOf('admins')
const alice = recordOf(users, 'alice')
const stored = [
  alice,
  recordOf(users, 'bob'),
  recordOf(admins, 'alice'),
  recordOf(collectionOf('posts', 'posts', 'base'), 'p'),
]
const lookup = (collectionId: string, id: string) =>
  stored.find((record) => record.collection.id === collectionId && record.id === id) ?? null
const find = (token: string, types: TokenType[] = ['auth'], atMs = nowMs) =>
  findRecordByToken(token, types, lookup, atMs)

const makers: Record<TokenType, (record: EngineRecord) => string> = {
  auth: (record) => newAuthToken(record, nowMs),
  file: (record) => newFileToken(record, nowMs),
  verification: (record) => newVerificationToken(record, nowMs),
  passwordReset: (record) => newPasswordResetToken(record, nowMs),
  emailChange: (record) => newEmailChangeToken(record, 'new@example.com', nowMs),
}
const types = Object.keys(makers) as TokenType[]

test('claims and durations', () => {
  const claimsOf = (token: string) => decodeJwt(token)!.claims
  const base = { id: 'alice', collectionId: 'users' }
  const exp = (seconds: number) => 1_700_000_000 + seconds
  const email = 'alice@example.com'
  expect(claimsOf(makers.auth(alice))).toEqual({ ...base, type: 'auth', refreshable: true, exp: exp(1000) })
  expect(claimsOf(newStaticAuthToken(alice, 0, nowMs))).toEqual({
    ...base,
    type: 'auth',
    refreshable: false,
    exp: exp(1000),
  })
  expect(claimsOf(newStaticAuthToken(alice, 7, nowMs))).toMatchObject({ exp: exp(7), refreshable: false })
  expect(claimsOf(makers.file(alice))).toEqual({ ...base, type: 'file', exp: exp(120) })
  expect(claimsOf(makers.verification(alice))).toEqual({ ...base, type: 'verification', email, exp: exp(300) })
  expect(claimsOf(makers.passwordReset(alice))).toEqual({ ...base, type: 'passwordReset', email, exp: exp(400) })
  expect(claimsOf(makers.emailChange(alice))).toEqual({
    ...base,
    type: 'emailChange',
    email,
    newEmail: 'new@example.com',
    exp: exp(500),
  })
})

test('a token serves its own purpose and no other', () => {
  for (const made of types)
    for (const wanted of types)
      expect([made, wanted, find(makers[made](alice), [wanted]) === alice]).toEqual([made, wanted, made === wanted])
})

test('relabelling a token does not change its kind', () => {
  for (const made of types) {
    const [header, , signature] = makers[made](alice).split('.')
    for (const type of types.filter((each) => each !== made)) {
      const claims = { ...unverifiedClaims(makers[made](alice)), type }
      const forged = `${header}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.${signature}`
      expect(find(forged, types)).toBeNull()
      // Even signed again with the key of the kind it was made for.
      const key = alice.text('tokenKey') + users.auth[`${made}Token` as 'authToken'].secret
      expect(find(signJwt(claims, key), types)).toBeNull()
    }
  }
})

test('no other record, collection or tenant can sign for it', () => {
  const claims = unverifiedClaims(makers.auth(alice))
  const keys = [
    '',
    alice.text('tokenKey'),
    users.auth.authToken.secret,
    users.auth.authToken.secret + alice.text('tokenKey'),
    stored[1]!.text('tokenKey') + users.auth.authToken.secret,
    alice.text('tokenKey') + admins.auth.authToken.secret,
    alice.text('tokenKey') + collectionOf('users', 'other-tenant').auth.authToken.secret,
  ]
  for (const key of keys) expect(find(signJwt(claims, key))).toBeNull()
  expect(
    find(signJwt({ ...claims, collectionId: 'admins' }, alice.text('tokenKey') + users.auth.authToken.secret)),
  ).toBeNull()
})

test('ends at its second, and with its key', () => {
  const token = makers.auth(alice)
  expect(find(token, ['auth'], 1_700_000_999_999)).toBe(alice)
  expect(find(token, ['auth'], 1_700_001_000_000)).toBeNull()
  const rotated = recordOf(users, 'alice', 'another')
  expect(findRecordByToken(token, ['auth'], () => rotated, nowMs)).toBeNull()
})

test('malformed claims and records without a key find nobody', () => {
  const key = alice.text('tokenKey') + users.auth.authToken.secret
  const good = unverifiedClaims(makers.auth(alice))
  for (const change of [
    { id: '' },
    { id: 5 },
    { id: ['alice'] },
    { collectionId: null },
    { type: 'Auth' },
    { type: 'toString' },
    { exp: 'x' },
  ])
    expect(find(signJwt({ ...good, ...change }, key))).toBeNull()
  expect(find(signJwt({ ...good, collectionId: 'posts', id: 'p' }, key))).toBeNull()
  const keyless = recordOf(users, 'alice', '')
  expect(findRecordByToken(signJwt(good, users.auth.authToken.secret), ['auth'], () => keyless, nowMs)).toBeNull()
  expect(() => newAuthToken(keyless, nowMs)).toThrow()
  for (const text of ['', 'x', '..', 'Bearer x']) expect(find(text)).toBeNull()
})

test('the memory of recent things ends by time and by size', async () => {
  const clock = new SimClock()
  const recent = new ExpiringMap<string>(clock, { ttlMs: 1000, sizeMax: 3 })
  recent.set('a', '1')
  await clock.advance(999)
  expect(recent.get('a')).toBe('1')
  await clock.advance(1)
  expect(recent.has('a')).toBe(false)
  for (const key of ['a', 'b', 'c', 'd']) recent.set(key, key)
  expect([recent.size, recent.has('a'), recent.has('d')]).toEqual([3, false, true])
  recent.delete('d')
  expect(recent.size).toBe(2)
})
