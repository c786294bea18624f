// Goal: stored names are PocketBase's. The cases are those of its own documentation of normalised names.

import { expect, test } from 'bun:test'
import { leastCpuMs } from '../../../../test/support/cpu.ts'
import { seededRng } from '../../../lib/rng.ts'
import { isSameType, sniffContentType } from './content-type.ts'
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

/** Told apart as PocketBase v0.39 does. */
test.each([
  ['ftypheic', 4, 'image/heic'],
  ['ftypqt  ', 4, 'video/quicktime'],
  ['ftypM4A ', 4, 'audio/x-m4a'],
  ['ftyp3gp4', 4, 'video/3gpp'],
  ['ftypisom', 4, 'video/mp4'],
  ['ustar', 257, 'application/x-tar'],
  ['Rar!\x1a\x07\x00', 0, 'application/x-rar-compressed'],
  ['OggS\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0OpusHead', 0, 'audio/ogg'],
])('%j at %i is %s', (magic, at, type) => {
  const head = Buffer.alloc(512)
  head.write(magic, at, 'latin1')
  expect(sniffContentType(head, 'sample')).toBe(type)
})

test.each([
  ['{"a":1}', 'a.txt', 'application/json'],
  ['{"a":', 'a.json', 'text/plain; charset=utf-8'],
  ['a,b\n1,"2,3"\n', 'a.txt', 'text/csv; charset=utf-8'],
  ['a,b\n1,2,3\n', 'a.txt', 'text/plain; charset=utf-8'],
  ['a\tb\n1\t2', 'a', 'text/tab-separated-values; charset=utf-8'],
  ['\ufeff <DIV>x', 'a.txt', 'text/html; charset=utf-8'],
  ['<article>', 'a.html', 'text/plain; charset=utf-8'],
  ['body{}', 'a.css', 'text/plain; charset=utf-8'],
  ['PK\x03\x04', 'a.docx', 'application/vnd.openxmlformats-officedocument.wordprocessingml.document'],
  ['PK\x03\x04', 'a.constructor', 'application/zip'], // an extension is the client's
  ['x', 'a', 'text/plain; charset=utf-8'],
])('the text %j as %s is %s', (text, name, type) => {
  expect(sniffContentType(Buffer.from(text), name)).toBe(type)
})

test('what stands before an SVG is passed over, and nothing that only looks like it takes time', () => {
  const typeOf = (text: string) => sniffContentType(Buffer.from(text), 'a')
  for (const start of [
    '',
    '<?xml version="1.0"?>\n',
    '<!-- a --> <!-- b -->',
    '<?xml?><!---><!DOCTYPE svg PUBLIC "x"> -->\t',
  ])
    for (const end of ['<svg/>', '<SVG xmlns="x">', '<svg>']) expect(typeOf(start + end)).toBe('image/svg+xml')
  for (const text of ['<!-- <svg>', '<!-- --><svgx>', '<!-- -->', '<?xml?>', '<!doctype svg', '<!-- a --><svg'])
    expect([text, typeOf(text)]).not.toEqual([text, 'image/svg+xml'])
  for (const piece of ['<!---->', '<!---->  ', '<!doctype svg>', '<!--'])
    expect(leastCpuMs(() => typeOf(piece.repeat(100_000)))).toBeLessThan(250)
})

test('allowed types may have parameters, another case, or another name of the same', () => {
  expect(isSameType('text/plain; charset=utf-8', 'text/plain')).toBe(true)
  expect(isSameType('text/plain; charset=utf-8', 'Text/Plain; charset=UTF-16')).toBe(true)
  expect(isSameType('audio/mpeg', 'audio/mp3')).toBe(true)
  expect(isSameType('audio/mp3', 'audio/mpeg')).toBe(false)
  expect(isSameType('image/png', 'image/jpeg')).toBe(false)
})
