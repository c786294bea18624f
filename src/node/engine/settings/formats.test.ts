// Goal: the hand-written format checks agree with PocketBase's on known texts and cannot be made slow.

import { expect, test } from 'bun:test'
import { leastCpuMs } from '../../../../test/support/cpu.ts'
import { isEmail, isHexColor, isHost, isUrl } from './formats.ts'

test('e-mail addresses', () => {
  for (const text of [
    'a@b.c',
    'test+tag@example.co.uk',
    "o'neil@example.com",
    '"a b"@example.com',
    'ü@exämple.com',
    'a@b.com.',
  ])
    expect([text, isEmail(text)]).toEqual([text, true])
  for (const text of [
    '',
    'a',
    '@b.c',
    'a@',
    'a@b',
    '.a@b.c',
    'a.@b.c',
    'a..b@c.d',
    'a@-b.c',
    'a@b.1',
    'a b@c.d',
    'a@b@c d.e',
  ])
    expect([text, isEmail(text)]).toEqual([text, false])
})

test('an address never carries a line break into a mail header', () => {
  for (const text of ['a@b.c\r\nBcc: x@y.z', 'a@b.c\n', '"a\r\n b"@c.d', '"a\n"@c.d', 'a\r@b.c', 'a@b\r\n.c'])
    expect([text, isEmail(text)]).toEqual([text, false])
})

test('URLs', () => {
  for (const text of [
    'http://localhost:8090',
    'https://example.com/a?b=c#d',
    'example.com',
    'example.com:8080',
    'localhost:8090',
    'http://127.0.0.1',
    'http://[::1]:80/',
    'https://user:pw@example.com/',
    'http://a_b.example.com',
    'http://@x',
    'foo://a@example.com',
    'sub.exämple.com',
    'a.ü',
    'a.bc.de.fgh',
    'a.bc-de.fg',
  ])
    expect([text, isUrl(text)]).toEqual([text, true])
  for (const text of [
    '',
    'abc',
    'invalid',
    'http://a.b.c.de',
    'x@a.b.x.com',
    '.example.com',
    'http://',
    'http://a b',
    'javascript://x',
    'javascript:alert(1)',
    'http://..',
    '/path',
    'https://ü.example.com',
    'http://😀.example',
    'http://example.com/%zz',
    'https://[::1].',
    'https://&\\ftp://@8080x',
  ])
    expect([text, isUrl(text)]).toEqual([text, false])
})

test('hosts and colours', () => {
  for (const text of ['localhost', '127.0.0.1', '::1', 'a-b.example.com']) expect(isHost(text)).toBe(true)
  for (const text of ['', 'a b', '-a', 'a..b', 'http://a', 'a/b', `${'a'.repeat(64)}.com`])
    expect(isHost(text)).toBe(false)
  for (const text of ['#fff', '#1055c9', '1055C9']) expect(isHexColor(text)).toBe(true)
  for (const text of ['#ffff', 'red', '#gggggg']) expect(isHexColor(text)).toBe(false)
})

test('hostile input of any length costs next to nothing', () => {
  const hostile = [
    'a@'.repeat(50_000),
    `a@${'a.'.repeat(400)}!`,
    `"${' '.repeat(900)}\n"@b.c`,
    `http://${'a-'.repeat(1000)}!`,
    `${'a'.repeat(2000)}@`,
    `http://${'a.'.repeat(1000)}!`,
    `http://${'a'.repeat(2000)}_`,
    `http://${'ab-'.repeat(600)}ü-`,
  ]
  for (const text of hostile)
    for (const check of [isEmail, isUrl, isHost, isHexColor]) expect(leastCpuMs(() => check(text))).toBeLessThan(100)
})
