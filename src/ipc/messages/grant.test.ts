// Goal: a grant says exactly what was signed, and nothing else passes.

import { expect, test } from 'bun:test'
import fc from 'fast-check'
import type { TenantId } from '../../lib/brand.ts'
import { err, ok } from '../../lib/result.ts'
import { type Grant, signGrant, verifyGrant } from './grant.ts'

const secrets = { current: 'c'.repeat(40), previous: null }
const grant: Grant = { tenantId: 'abcdefghij12345' as TenantId, action: 'import', admin: 'a1', expiresAtMs: 1_000 }

test('what was signed comes back until it expires', () => {
  const text = signGrant(secrets, grant)
  expect(verifyGrant(secrets, text, 999)).toEqual(ok(grant))
  expect(verifyGrant(secrets, text, 1_000)).toEqual(err('expired'))
  expect(verifyGrant({ current: 'd'.repeat(40), previous: secrets.current }, text, 0)).toEqual(ok(grant))
})

test('another secret or a changed byte is a forgery', () => {
  const text = signGrant(secrets, grant)
  expect(verifyGrant({ current: 'd'.repeat(40), previous: null }, text, 0)).toEqual(err('forged'))
  for (let at = 3; at < text.length - 1; at++) {
    if (text[at] === '.') continue
    const changed = text.slice(0, at) + (text[at] === 'A' ? 'B' : 'A') + text.slice(at + 1)
    expect(verifyGrant(secrets, changed, 0).ok).toBe(false)
  }
})

test('arbitrary text is refused without an exception', () => {
  fc.assert(fc.property(fc.string({ maxLength: 2_000 }), (text) => !verifyGrant(secrets, text, 0).ok))
})
