// Goal: whatever breaks off a download, the file is whole in the end or not there; a later call goes on where it stopped.
// Method: a fleet that cuts, hangs up, prepares, changes and refuses, over real HTTP.

import { afterEach, expect, test } from 'bun:test'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { exportSizeHeader } from '../ipc/messages/grant.ts'
import type { Clock } from '../lib/clock.ts'
import { systemClock } from '../lib/clock.ts'
import { openClient } from './client.ts'
import { exportTenant } from './tenant-export.ts'

const dir = mkdtempSync(join(tmpdir(), 'pf-export-'))
const token = `admin_${'x'.repeat(32)}`
const stops: (() => void)[] = []
afterEach(() => {
  for (const stop of stops.splice(0)) stop()
  for (const name of ['out.zip', 'out.zip.part', 'out.zip.part.json']) rmSync(join(dir, name), { force: true })
})
process.on('exit', () => rmSync(dir, { recursive: true, force: true }))

/** Pauses take no time. */
const hasty: Clock = { ...systemClock, setTimer: (ms, callback) => systemClock.setTimer(Math.min(ms, 5), callback) }

function fleet(behave: {
  content: () => { readonly body: Uint8Array; readonly etag: string }
  /** Bytes after which the n-th download breaks off; null: not. */
  cutAfter?: (n: number) => number | null
  preparations?: number
}) {
  let downloads = 0
  let preparations = behave.preparations ?? 0
  let grants = 0
  const ranges: (string | null)[] = []
  const server = Bun.serve({
    port: 0,
    development: false,
    async fetch(request) {
      const { pathname } = new URL(request.url)
      if (pathname.endsWith('/export') && request.method === 'POST')
        return Response.json({ tenant: 't', at: '2026-01-01T00:00:00.000Z', path: '/api/platform/export?at=1' })
      if (pathname.endsWith('/grants')) return Response.json({ grant: `g${++grants}` })
      if (preparations-- > 0) return Response.json({ step: 'preparing' }, { status: 202 })
      const { body, etag } = behave.content()
      const range = request.headers.get('range')
      ranges.push(range)
      let from = Number(/=(\d+)-/.exec(range ?? '')?.[1] ?? 0)
      if (request.headers.get('if-range') !== etag) from = 0
      if (from > 0 && from >= body.length)
        return new Response(null, { status: 416, headers: { etag, [exportSizeHeader]: String(body.length) } })
      const cut = behave.cutAfter?.(downloads++) ?? null
      const part = body.subarray(from, cut === null ? body.length : from + cut)
      const stream = new ReadableStream<Uint8Array>({
        async start(controller) {
          controller.enqueue(part)
          await Bun.sleep(1)
          if (cut === null) controller.close()
          else controller.error(new Error('cut'))
        },
      })
      return new Response(stream, {
        status: from > 0 ? 206 : 200,
        headers: { etag, [exportSizeHeader]: String(body.length) },
      })
    },
  })
  stops.push(() => void server.stop(true))
  return { client: openClient(`http://127.0.0.1:${server.port}`, token), ranges, grantsGiven: () => grants }
}

const bytes = (length: number, seed: number) => Uint8Array.from({ length }, (_, i) => (i * 31 + seed) % 251)
const target = { file: join(dir, 'out.zip'), moment: {}, clock: hasty }

test('a download that is prepared first, and breaks off twice, is whole', async () => {
  const body = bytes(100_000, 1)
  const { client, ranges } = fleet({
    content: () => ({ body, etag: '"a"' }),
    cutAfter: (n) => (n < 2 ? 30_000 : null),
    preparations: 3,
  })
  const result = await exportTenant(client, 't', target)
  expect(result).toMatchObject({ bytes: 100_000, resumedFrom: 0, at: '2026-01-01T00:00:00.000Z' })
  expect(readFileSync(target.file).equals(body)).toBe(true)
  expect(ranges.at(-1)).toMatch(/^bytes=\d+-$/)
  expect(existsSync(`${target.file}.part.json`)).toBe(false)
})

test('a call that gives up leaves what it has, and the next goes on; another wish begins anew', async () => {
  const body = bytes(50_000, 2)
  let isBroken = true
  const { client, ranges } = fleet({
    content: () => ({ body, etag: '"a"' }),
    cutAfter: (n) => (n === 0 ? 20_000 : isBroken ? 0 : null),
  })
  await expect(exportTenant(client, 't', target)).rejects.toThrow('broke off')
  expect(existsSync(target.file)).toBe(false)
  const left = statSync(`${target.file}.part`).size
  isBroken = false
  const result = await exportTenant(client, 't', target)
  expect(result).toMatchObject({ bytes: 50_000, resumedFrom: left })
  expect(readFileSync(target.file).equals(body)).toBe(true)

  rmSync(target.file)
  isBroken = true
  await expect(exportTenant(client, 't', target)).rejects.toThrow()
  isBroken = false
  const other = await exportTenant(client, 't', { ...target, moment: { at: '5m' } })
  expect(other.resumedFrom).toBe(0)
  expect(ranges.at(-1)).toBeNull()
})

test('content that changed meanwhile is taken from its beginning', async () => {
  let version = 0
  const versions = [bytes(40_000, 3), bytes(45_000, 4)]
  const { client } = fleet({
    content: () => ({ body: versions[version]!, etag: `"${version}"` }),
    cutAfter: (n) => {
      if (n > 0) return null
      version = 1
      return 10_000
    },
  })
  const result = await exportTenant(client, 't', target)
  expect(result.bytes).toBe(45_000)
  expect(readFileSync(target.file).equals(versions[1]!)).toBe(true)
})

test('a call that ended just before its file got its name needs no byte more', async () => {
  const body = bytes(10_000, 5)
  const { client } = fleet({ content: () => ({ body, etag: '"a"' }) })
  await exportTenant(client, 't', target)
  await Bun.write(`${target.file}.part`, Bun.file(target.file))
  const wish = JSON.stringify(['t', null, null])
  const part = { tenant: 't', at: '2026-01-01T00:00:00.000Z', path: '/api/platform/export?at=1', etag: '"a"', wish }
  await Bun.write(`${target.file}.part.json`, JSON.stringify(part))
  rmSync(target.file)
  expect(await exportTenant(client, 't', target)).toMatchObject({ bytes: 10_000, resumedFrom: 10_000 })
  expect(readFileSync(target.file).equals(body)).toBe(true)
})
