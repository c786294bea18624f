// Goal: files are answered as Go's http.ServeContent would, whatever the client asks for.

import { expect, test } from 'bun:test'
import fc from 'fast-check'
import { parseRanges, serveFile } from './serve.ts'
import type { StoredFile } from './storage.ts'

const bytes = Uint8Array.from({ length: 26 }, (_, i) => 97 + i)
const file = (contentType = 'text/plain; charset=utf-8'): StoredFile => ({
  sizeBytes: bytes.length,
  modifiedAtMs: 1_700_000_000_500,
  contentType,
  body: async (range) => new Blob([range ? bytes.subarray(range.from, range.to) : bytes]),
})
const ask = (headers: Record<string, string> = {}, facts: { name?: string; download?: string; type?: string } = {}) =>
  serveFile(new Request('http://localhost/f', { headers }), file(facts.type), {
    name: facts.name ?? 'a.txt',
    download: facts.download ?? '',
  })

test('a whole file, never shown in place unless it is known to be harmless', async () => {
  const plain = await ask()
  expect(plain.status).toBe(200)
  expect(plain.headers.get('content-disposition')).toBe('attachment; filename=a.txt')
  expect(plain.headers.get('content-security-policy')).toContain('sandbox')
  expect(plain.headers.get('cache-control')).toBe('max-age=2592000, stale-while-revalidate=86400')
  expect(await plain.text()).toBe('abcdefghijklmnopqrstuvwxyz')
  const png = await ask({}, { name: 'a.png', type: 'image/png' })
  expect(png.headers.get('content-disposition')).toBe('inline; filename=a.png')
  const asked = await ask({}, { name: 'a.png', type: 'image/png', download: '1' })
  expect(asked.headers.get('content-disposition')).toBe('attachment; filename=a.png')
  const svg = await ask({}, { name: 'a.svg', type: 'text/xml' })
  expect(svg.headers.get('content-type')).toBe('image/svg+xml')
})

test('one range, several ranges, and ranges the file does not have', async () => {
  const one = await ask({ range: 'bytes=2-4' })
  expect([one.status, one.headers.get('content-range'), await one.text()]).toEqual([206, 'bytes 2-4/26', 'cde'])
  expect(await (await ask({ range: 'bytes=-3' })).text()).toBe('xyz')
  const two = await ask({ range: 'bytes=0-0,25-' })
  const text = await two.text()
  expect(two.headers.get('content-type')).toStartWith('multipart/byteranges; boundary=')
  expect(text.length).toBe(Number(two.headers.get('content-length')))
  expect(text).toContain('Content-Range: bytes 25-25/26\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nz\r\n--')
  const outside = await ask({ range: 'bytes=26-' })
  expect([outside.status, await outside.text()]).toEqual([416, 'invalid range: failed to overlap\n'])
  expect(outside.headers.get('content-range')).toBe('bytes */26')
  expect(outside.headers.has('cache-control')).toBe(false)
  expect(outside.headers.has('content-disposition')).toBe(true)
  const broken = await ask({ range: 'bytes=4-2' })
  expect([broken.status, await broken.text()]).toEqual([416, 'invalid range\n'])
})

test('conditions', async () => {
  const etag = (await ask()).headers.get('etag')!
  const date = 'Tue, 14 Nov 2023 22:13:20 GMT'
  expect((await ask({ 'if-none-match': etag })).status).toBe(304)
  expect((await ask({ 'if-none-match': '"other"', 'if-modified-since': date })).status).toBe(200)
  expect((await ask({ 'if-modified-since': date })).status).toBe(304)
  expect((await ask({ 'if-match': '"other"' })).status).toBe(412)
  expect((await ask({ 'if-unmodified-since': 'Tue, 14 Nov 2023 22:13:19 GMT' })).status).toBe(412)
  expect((await ask({ range: 'bytes=0-0', 'if-range': '"other"' })).status).toBe(200)
  expect((await ask({ range: 'bytes=0-0', 'if-range': etag })).status).toBe(206)
})

test('no header of a range makes an answer outside the file', () => {
  const number = fc.oneof(fc.nat(60).map(String), fc.constant(''), fc.string({ maxLength: 3 }))
  const range = fc.tuple(number, number).map(([from, to]) => `${from}-${to}`)
  const header = fc.array(range, { maxLength: 5 }).map((each) => `bytes=${each.join(',')}`)
  fc.assert(
    fc.property(header, fc.nat(50), (text, sizeBytes) => {
      const ranges = parseRanges(text, sizeBytes)
      if (typeof ranges === 'string') return
      for (const { from, to } of ranges) expect(from >= 0 && from <= to && to <= sizeBytes).toBe(true)
    }),
  )
})

test('a name cannot end its header', async () => {
  const response = await ask({}, { name: 'a"\r\nx: y.txt' })
  expect(response.headers.has('x')).toBe(false)
})
