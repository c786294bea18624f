// Goal: bodies are read as PocketBase reads them, uploads go to disk past a bound, and no bytes make a crash, a leak or
// anything but BodyError.

import { expect, test } from 'bun:test'
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { seededRng } from '../../../lib/rng.ts'
import type { UploadedFile } from '../files/uploaded-file.ts'
import { inferValue, parseBody, parseJsonObject } from './body.ts'
import { BodyError } from './body-error.ts'
import { removeLeftUploads } from './upload-folder.ts'

const limits = { bytesMax: 4 * 1024 * 1024, rng: seededRng(1) }
const url = 'http://localhost/'
const post = (body: ConstructorParameters<typeof Response>[0], contentType?: string) =>
  new Request(url, {
    method: 'POST',
    body,
    ...(contentType !== undefined && { headers: { 'content-type': contentType } }),
  })
const json = (text: string) => parseBody(post(text, 'application/json'), limits)

test('JSON as Go decodes it', async () => {
  expect((await json('')).data).toEqual({})
  expect((await json('null')).data).toEqual({})
  expect((await json('{"a":[1]} trailing')).data).toEqual({ a: [1] })
  for (const text of ['[]', '"x"', '1', '{', '{"a":}', '{"a":1', 'nul'])
    await expect(json(text)).rejects.toBeInstanceOf(BodyError)
  await expect(parseBody(post('x', 'text/css'), limits)).rejects.toBeInstanceOf(BodyError)
})

test('ten megabytes of nesting are an error, not a crash', () => {
  for (const open of ['[', '{"a":', '[{"a":'])
    expect(() => parseJsonObject(`{"x":${open.repeat(10_000_000 / open.length)}`)).toThrow(BodyError)
})

test('form values are guessed by their looks', async () => {
  const cases: [string, unknown][] = [
    ['true', true],
    ['12.5', 12.5],
    ['-3', -3],
    ['12.50', '12.50'],
    ['007', '007'],
    ['1e3', '1e3'],
    ['.5', '.5'],
    ['1.2.3', '1.2.3'],
    ['', ''],
    ['-0', -0],
    ['0.0000001', 1e-7],
    ['1000000000000000000000', 1e21],
    ['12345678901234567890', '12345678901234567890'],
    ['Infinity', 'Infinity'],
  ]
  for (const [text, value] of cases) expect(inferValue(text)).toBe(value)
  const form = await parseBody(post('a=1&b=x&b=2&__proto__=evil', 'application/x-www-form-urlencoded'), limits)
  expect(Object.entries(form.data)).toEqual([
    ['a', 1],
    ['b', ['x', 2]],
    ['__proto__', 'evil'],
  ])
})

test('multipart: fields, the JSON payload and files, small and spilled', async () => {
  const form = new FormData()
  form.append('title', '12.5')
  form.append('@jsonPayload', '{"tags":["a"],"title":"kept"}')
  form.append('docs', 'old.txt')
  form.append('docs', new File(['hello'], 'Sm all.txt'))
  form.append('docs', new File([new Uint8Array(1_000_000).fill(65)], 'big.bin'))
  const body = await parseBody(post(form), limits)
  expect(body.data['title']).toBe('kept')
  expect(body.data['tags']).toEqual(['a'])
  const [old, small, big] = body.data['docs'] as [string, UploadedFile, UploadedFile]
  expect(old).toBe('old.txt')
  expect(small.name).toMatch(/^sm_all_\w{10}\.txt$/)
  expect('bytes' in small.content && new TextDecoder().decode(small.content.bytes)).toBe('hello')
  const { path } = big.content as { path: string }
  expect([big.sizeBytes, Bun.file(path).size]).toEqual([1_000_000, 1_000_000])
  await body[Symbol.asyncDispose]()
  expect(existsSync(path)).toBe(false)
})

test('too much is refused, declared or not', async () => {
  const small = { ...limits, bytesMax: 1_000 }
  const large = 'x'.repeat(2_000)
  const stream = () => new Blob([`{"a":"${large}"}`]).stream()
  const bodies = [post(`{"a":"${large}"}`, 'application/json'), post(stream(), 'application/json')]
  const form = new FormData()
  form.append('f', new File([large], 'a.txt'))
  bodies.push(post(form))
  for (const request of bodies) {
    const error = await parseBody(request, small).then(
      () => null,
      (thrown: unknown) => thrown,
    )
    expect((error as BodyError).code).toBe('body_too_large')
  }
})

test('any cut of the stream gives the same parts', async () => {
  const text =
    '--B\r\nContent-Disposition: form-data; name="a"\r\n\r\none\r\n--\r\n' +
    '--B\r\nContent-Disposition: form-data; name="f"; filename="x.txt"\r\nContent-Type: text/plain\r\n\r\n\r\n-\r\n--\r\n--B--\r\n'
  const bytes = new TextEncoder().encode(text)
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 30 }), async (sizes) => {
      const stream = new ReadableStream<Uint8Array>({
        start(controller) {
          let at = 0
          for (const size of sizes) {
            if (at >= bytes.length) break
            controller.enqueue(bytes.slice(at, at + size))
            at += size
          }
          if (at < bytes.length) controller.enqueue(bytes.slice(at))
          controller.close()
        },
      })
      const body = await parseBody(post(stream, 'multipart/form-data; boundary=B'), limits)
      expect(body.data['a']).toBe('one\r\n--')
      const [file] = body.data['f'] as [UploadedFile]
      expect(new TextDecoder().decode((file.content as { bytes: Uint8Array }).bytes)).toBe('\r\n-\r\n--')
    }),
  )
})

test('a part without a filename is a field, whatever it holds; one without a name is nothing', async () => {
  const part = (rest: string, value: string) => `--B\r\nContent-Disposition: form-data${rest}\r\n\r\n${value}\r\n`
  const text = `${part('; name="empty"; filename=""', '')}${part('; name="blob"; filename=""', 'x')}${part('', 'y')}--B--\r\n`
  await using body = await parseBody(post(text, 'multipart/form-data; boundary=B'), limits)
  expect({ ...body.data }).toEqual({ empty: '', blob: 'x' })
})

test('arbitrary bytes are an answer or a BodyError', async () => {
  const pieces = fc.constantFrom(
    '--B',
    '\r\n',
    '--',
    'Content-Disposition: form-data; name="a"',
    '; filename="f"',
    '{',
    '"',
    '@jsonPayload',
    '\0',
  )
  const noise = fc.array(fc.oneof(pieces, fc.string({ maxLength: 8 })), { maxLength: 40 }).map((each) => each.join(''))
  const types = fc.constantFrom(
    'multipart/form-data; boundary=B',
    'multipart/form-data',
    'application/json',
    'application/x-www-form-urlencoded',
    '',
  )
  await fc.assert(
    fc.asyncProperty(noise, types, async (text, type) => {
      try {
        await using body = await parseBody(post(text, type), limits)
        expect(typeof body.data).toBe('object')
      } catch (error) {
        expect(error).toBeInstanceOf(BodyError)
      }
    }),
    { numRuns: 500 },
  )
})

test('folders of uploads that a killed process left go after a day, and nothing else does', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'pf-left-'))
  try {
    for (const name of ['pocketfleet-upload-a', 'pocketfleet-upload-b', 'other']) {
      await mkdir(join(dir, name))
      await writeFile(join(dir, name, '0'), 'content')
    }
    const madeAtMs = statSync(join(dir, 'pocketfleet-upload-a')).mtimeMs
    const dayMs = 24 * 60 * 60 * 1000
    await removeLeftUploads(dir, madeAtMs + dayMs - 60_000)
    expect(readdirSync(dir)).toHaveLength(3)
    await removeLeftUploads(dir, madeAtMs + dayMs + 60_000)
    expect(readdirSync(dir)).toEqual(['other'])
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
})
