// Goal: signatures are right, whatever failed on this thread before.

import { expect, test } from 'bun:test'
import { createPublicKey, verify } from 'node:crypto'
import { hmacSha256 } from './hmac.ts'

test('RFC 4231, test case 2', () => {
  const expected = '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843'
  expect(hmacSha256('Jefe', 'what do ya want for nothing?').toString('hex')).toBe(expected)
})

test('an earlier failure of another operation is not taken for its own', () => {
  const expected = hmacSha256('key', 'text').toString('hex')
  for (const bad of ['-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----', 'nonsense']) {
    expect(() => verify('sha256', Buffer.from('x'), createPublicKey(bad), Buffer.from('y'))).toThrow()
    for (let i = 0; i < 3; i++) expect(hmacSha256('key', 'text').toString('hex')).toBe(expected)
  }
})
