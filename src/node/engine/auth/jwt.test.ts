// Goal: only tokens signed with the owner's key, HS256, in time, pass. Method: known vectors, then every way of
// tampering that JWT libraries have fallen for.

import { expect, test } from 'bun:test'
import fc from 'fast-check'
import { decodeJwt, equalText, isSignedWith, isTimely, jwtLengthMax, signJwt } from './jwt.ts'

const key = 'a'.repeat(50)
const b64 = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')

test('verifies a token that golang-jwt signed', () => {
  // From PocketBase's own test of ParseJWT, key "test".
  const token =
    'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJuYW1lIjoidGVzdCIsImV4cCI6MTg5ODYzNjEzN30.gqRkHjpK5s1PxxBn9qPaWEWxTbpc1PPSD-an83TsXRY'
  const decoded = decodeJwt(token)!
  expect(decoded.claims).toEqual({ name: 'test', exp: 1898636137 })
  expect(isSignedWith(decoded, 'test')).toBe(true)
  expect(isSignedWith(decoded, 'test2')).toBe(false)
  expect(signJwt({ name: 'test', exp: 1898636137 }, 'test')).not.toBe(token) // keys are sorted, as Go sorts maps
})

test('round trip of any claims', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.string({ minLength: 1 }), (claims, secret) => {
      const token = signJwt(claims, secret)
      if (token.length > jwtLengthMax) return
      const decoded = decodeJwt(token)!
      expect(JSON.stringify(decoded.claims)).toBe(JSON.stringify(JSON.parse(JSON.stringify(sorted(claims)))))
      expect(isSignedWith(decoded, secret)).toBe(true)
      expect(isSignedWith(decoded, `${secret}x`)).toBe(false)
    }),
  )
})

test('a claim named __proto__ is a claim like any other', () => {
  const token = signJwt(JSON.parse('{"__proto__":["x"],"id":"a"}'), key)
  expect(Object.keys(decodeJwt(token)!.claims)).toEqual(['__proto__', 'id'])
})

const sorted = (claims: Record<string, unknown>) =>
  Object.fromEntries(
    Object.keys(claims)
      .sort()
      .map((name) => [name, claims[name]]),
  )

test('never throws, and never accepts, on arbitrary text', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.string().map((text) => `${text}.${text}.${text}`),
      ),
      (text) => {
        const decoded = decodeJwt(text)
        if (decoded !== null) expect(isSignedWith(decoded, key)).toBe(false)
      },
    ),
  )
})

test('refuses every algorithm but HS256', () => {
  for (const alg of [
    'none',
    'None',
    'NONE',
    'nOnE',
    'HS384',
    'HS512',
    'RS256',
    'ES256',
    'hs256',
    '',
    null,
    5,
    ['HS256'],
  ]) {
    expect(decodeJwt(`${b64({ alg, typ: 'JWT' })}.${b64({ id: 'x' })}.`)).toBeNull()
  }
  expect(decodeJwt(`${b64({ typ: 'JWT' })}.${b64({ id: 'x' })}.abc`)).toBeNull()
})

test('accepts another order of the header, still HS256', () => {
  const signedText = `${b64({ typ: 'JWT', alg: 'HS256' })}.${b64({ id: 'x' })}`
  const signature = new Bun.CryptoHasher('sha256', key).update(signedText).digest('base64url')
  expect(isSignedWith(decodeJwt(`${signedText}.${signature}`)!, key)).toBe(true)
})

test('refuses a stripped, truncated, padded or changed signature', () => {
  const token = signJwt({ id: 'x' }, key)
  const [header, claims, signature] = token.split('.') as [string, string, string]
  for (const wrong of ['', signature.slice(0, -1), `${signature}=`, `${signature}A`, signature.toUpperCase()]) {
    expect(isSignedWith(decodeJwt(`${header}.${claims}.${wrong}`)!, key)).toBe(false)
  }
  expect(isSignedWith(decodeJwt(`${header}.${b64({ id: 'y' })}.${signature}`)!, key)).toBe(false)
})

test('an empty key signs nothing', () => {
  expect(isSignedWith(decodeJwt(signJwt({ id: 'x' }, ''))!, '')).toBe(false)
})

test('refuses claims that are no object and input over the limit', () => {
  for (const claims of [null, [], 'x', 5]) expect(decodeJwt(`${b64({ alg: 'HS256' })}.${b64(claims)}.x`)).toBeNull()
  expect(decodeJwt(signJwt({ id: 'x'.repeat(jwtLengthMax) }, key))).toBeNull()
})

test('times are checked to the second, with leeway only when asked', () => {
  const nowMs = 1_700_000_000_000
  const nowS = nowMs / 1000
  expect(isTimely({}, nowMs)).toBe(true)
  expect(isTimely({ exp: nowS + 1 }, nowMs)).toBe(true)
  expect(isTimely({ exp: nowS }, nowMs)).toBe(false)
  expect(isTimely({ exp: nowS - 1 }, nowMs, { leewayMs: 60_000 })).toBe(true)
  expect(isTimely({ nbf: nowS + 1 }, nowMs)).toBe(false)
  expect(isTimely({ nbf: nowS }, nowMs)).toBe(true)
  expect(isTimely({ iat: nowS + 5 }, nowMs)).toBe(true)
  expect(isTimely({ iat: nowS + 5 }, nowMs, { checkIssuedAt: true })).toBe(false)
  for (const exp of ['2000000000', null, {}, [], true, Number.NaN]) expect(isTimely({ exp }, nowMs)).toBe(false)
})

test('equalText', () => {
  expect(equalText('', '')).toBe(true)
  expect(equalText('abc', 'abc')).toBe(true)
  expect(equalText('abc', 'abd')).toBe(false)
  expect(equalText('abc', 'abcd')).toBe(false)
})
