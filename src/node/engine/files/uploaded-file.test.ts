// Goal: stored names are PocketBase's. The cases are those of its own documentation of normalised names.

import { expect, test } from 'bun:test'
import { seededRng } from '../../../lib/rng.ts'
import { sniffContentType } from './content-type.ts'
import { assertFileKey } from './storage.ts'
import { storedName } from './uploaded-file.ts'

test.each([
  ['', /^\w{10}_\w{10}\.txt$/],
  ['.png', /^\w{10}_\w{10}\.png$/],
  ['.tar.gz', /^\w{10}_\w{10}\.tar\.gz$/],
  ['a.tar.gz', /^a\w{10}_\w{10}\.tar\.gz$/],
  ['....abc', /^\w{10}_\w{10}\.abc$/],
  ['a.b.c.?.?.?.2', /^a_b_c_\w{10}\.2$/],
  ['a.b.c.d.tar.gz', /^a_b_c_d_\w{10}\.tar\.gz$/],
  ['abcd', /^abcd_\w{10}\.txt$/],
  ['.abcd.123.', /^abcd_\w{10}\.123$/],
  ['a  b! c d  . 456', /^a_b_c_d_\w{10}\.456$/],
  [`${'a'.repeat(101)}.${'b'.repeat(21)}`, /^a{100}_\w{10}\.b{20}$/],
  [`abc${'d'.repeat(290)}.${'b'.repeat(9)}`, /^d{100}_\w{10}\.b{9}$/],
  ['MyHTTPFile.TXT', /^my_httpfile_\w{10}\.TXT$/],
  ['../../etc/passwd', /^\w{10}_\w{10}\.etcpasswd$/],
])('%s', (original, pattern) => {
  const name = storedName(original, seededRng(1), 'text/plain; charset=utf-8')
  expect(name).toMatch(pattern)
  assertFileKey(`c/r/${name}`)
})

test('content speaks before its name', () => {
  const png = Buffer.from('89504e470d0a1a0a', 'hex')
  expect(sniffContentType(png, 'a.txt')).toBe('image/png')
  expect(sniffContentType(Buffer.from('<script>alert(1)</script>'), 'a.png')).toBe('text/html; charset=utf-8')
  expect(sniffContentType(Buffer.from('plain'), 'a.png')).toBe('text/plain; charset=utf-8')
  expect(sniffContentType(Buffer.from([0, 1, 2]), 'a.png')).toBe('application/octet-stream')
})
