// Goal: a few event streams of a tenant have lines of their own, many share a trunk, and a worker that knows no trunks
// serves them all the same.

import { afterEach, expect, test } from 'bun:test'
import { makeRoute } from '../../../test/support/fake-control-plane.ts'
import { clusterSecrets } from '../../ipc/keys.ts'
import { routeHeaderKeys, routeHeaderName } from '../../ipc/messages/route-header.ts'
import {
  decodeSeats,
  encodeFrame,
  frameKind,
  parseSeat,
  seatHeaderName,
  trunkHeaderName,
  trunkMediaType,
  trunkPath,
} from '../../ipc/messages/trunk.ts'
import { SimClock } from '../../lib/clock.ts'
import { silentLogger as log } from '../../lib/obs/log.ts'
import { seededRng } from '../../lib/rng.ts'
import type { Question } from './exchange.ts'
import { RouteSigner } from './route-signer.ts'
import { asksForEvents, Trunks } from './trunks.ts'
import { Upstreams } from './upstreams.ts'

const closers: (() => void)[] = []
afterEach(() => {
  for (const close of closers.splice(0)) close()
})

const bytes = (text: string) => new TextEncoder().encode(text)
const until = async (condition: () => boolean) => {
  while (!condition()) await new Promise(setImmediate)
}

/** A worker whose event streams begin with `hello` on a line of their own, and with `seated` on a trunk. */
function startWorker(options: { readonly knowsTrunks: boolean; readonly refusesSeats?: boolean }) {
  const seen = { trunksAsked: 0, lines: 0, seated: [] as number[], gone: [] as number[], unsigned: 0 }
  let trunk: { id: string; controller: ReadableStreamDefaultController<Uint8Array> } | null = null
  const server = Bun.serve({
    port: 0,
    hostname: '127.0.0.1',
    idleTimeout: 0,
    async fetch(request) {
      const id = request.headers.get(trunkHeaderName)
      if (request.headers.get(routeHeaderName) === null) seen.unsigned++
      if (new URL(request.url).pathname === trunkPath && id !== null) {
        if (request.method === 'POST') {
          seen.gone.push(...(decodeSeats(await request.bytes()) ?? []))
          return new Response(null, { status: 204 })
        }
        seen.trunksAsked++
        if (!options.knowsTrunks) return Response.json({}, { status: 404 })
        const stream = new ReadableStream<Uint8Array>({
          start(controller) {
            trunk = { id, controller }
            controller.enqueue(encodeFrame(frameKind.end, [], bytes('')))
          },
        })
        return new Response(stream, { headers: { 'content-type': trunkMediaType } })
      }
      const name = request.headers.get(seatHeaderName)
      const seat = parseSeat(name)
      const headers = { 'content-type': 'text/event-stream' }
      if (options.refusesSeats && seat !== null) return Response.json({}, { status: 429 })
      if (trunk === null || seat?.trunkId !== trunk.id) {
        seen.lines++
        return new Response(new ReadableStream({ start: (it) => it.enqueue(bytes('hello')) }), { headers })
      }
      seen.seated.push(seat.number)
      trunk.controller.enqueue(encodeFrame(frameKind.open, [seat.number], bytes('id ')))
      trunk.controller.enqueue(encodeFrame(frameKind.message, [seat.number], bytes('seated')))
      return new Response(null, { headers: { ...headers, [seatHeaderName]: name! } })
    },
  })
  closers.push(() => void server.stop(true))
  const route = makeRoute('live', `http://127.0.0.1:${server.port}`)
  return { route, seen, endTrunk: () => trunk?.controller.close() }
}

function openTrunks() {
  const clock = new SimClock()
  const streams = new Set<() => void>()
  const onEventStream = (_: Response, end: () => void) => {
    streams.add(end)
    return () => streams.delete(end)
  }
  const upstreams = new Upstreams({ clock, onEventStream })
  const signer = new RouteSigner(routeHeaderKeys(clusterSecrets('a secret that is long enough for tests')), clock)
  const trunks = new Trunks({ clock, rng: seededRng(1), log, upstreams, signer, onEventStream })
  closers.push(() => {
    trunks.close()
    upstreams.close()
  })
  return { clock, streams, trunks }
}

type Reading = { readonly reader: ReadableStreamDefaultReader<Uint8Array>; readonly abort: AbortController }

async function listen({ trunks }: ReturnType<typeof openTrunks>, route: ReturnType<typeof makeRoute>) {
  const abort = new AbortController()
  const question: Question = {
    origin: route.workerUrl,
    method: 'GET',
    target: '/api/realtime',
    headers: [
      ['host', 'live.test'],
      [routeHeaderName, 'signed'],
    ],
    body: null,
    signal: abort.signal,
  }
  const attempt = await trunks.ask(question, route)
  if (attempt.outcome !== 'answered') throw new Error(attempt.outcome)
  return { response: attempt.response, abort }
}

async function first(listening: Awaited<ReturnType<typeof listen>>): Promise<readonly [string, Reading]> {
  const reader = listening.response.body!.getReader() as ReadableStreamDefaultReader<Uint8Array>
  const { value } = await reader.read()
  return [Buffer.from(value ?? []).toString(), { reader, abort: listening.abort }]
}

/** Opens lines until there is a trunk. */
async function withTrunk(gateway: ReturnType<typeof openTrunks>, route: ReturnType<typeof makeRoute>) {
  for (let i = 0; i < 9; i++) expect((await first(await listen(gateway, route)))[0]).toBe('hello')
  await until(() => gateway.trunks.count === 1)
}

test('many streams share a trunk, from the ninth on', async () => {
  const worker = startWorker({ knowsTrunks: true })
  const gateway = openTrunks()
  await withTrunk(gateway, worker.route)
  const readings: Reading[] = []
  for (let i = 0; i < 3; i++) {
    const [text, reading] = await first(await listen(gateway, worker.route))
    expect(text).toBe('id seated')
    readings.push(reading)
  }
  expect(worker.seen).toEqual({ trunksAsked: 1, lines: 9, seated: [1, 2, 3], gone: [], unsigned: 0 })
  expect(gateway.streams.size).toBe(12)

  readings[0]!.abort.abort()
  await readings[1]!.reader.cancel()
  await until(() => worker.seen.gone.length === 2)
  expect(worker.seen.gone).toEqual([1, 2])
  expect(gateway.streams.size).toBe(10)

  for (const end of [...gateway.streams]) end()
  expect((await readings[2]!.reader.read()).done).toBe(true)
  await until(() => worker.seen.gone.length === 3)
})

test('another epoch, tenant or worker shares nothing', async () => {
  const worker = startWorker({ knowsTrunks: true })
  const gateway = openTrunks()
  await withTrunk(gateway, worker.route)
  const [text] = await first(await listen(gateway, { ...worker.route, epoch: 2 as typeof worker.route.epoch }))
  expect(text).toBe('hello')
})

test('an answer that is no stream leaves the seat', async () => {
  const worker = startWorker({ knowsTrunks: true, refusesSeats: true })
  const gateway = openTrunks()
  await withTrunk(gateway, worker.route)
  expect((await listen(gateway, worker.route)).response.status).toBe(429)
  await until(() => worker.seen.gone.length === 1)
})

test('when a trunk has ended there are lines, and then another trunk', async () => {
  const worker = startWorker({ knowsTrunks: true })
  const gateway = openTrunks()
  await withTrunk(gateway, worker.route)
  const [, reading] = await first(await listen(gateway, worker.route))
  worker.endTrunk()
  expect((await reading.reader.read()).done).toBe(true)
  await until(() => gateway.trunks.count === 0)
  expect((await first(await listen(gateway, worker.route)))[0]).toBe('hello')
  await until(() => gateway.trunks.count === 1)
  expect(worker.seen.trunksAsked).toBe(2)
})

test('a worker that knows no trunks is asked again after a while only', async () => {
  const worker = startWorker({ knowsTrunks: false })
  const gateway = openTrunks()
  for (let i = 0; i < 20; i++) expect((await first(await listen(gateway, worker.route)))[0]).toBe('hello')
  await until(() => worker.seen.trunksAsked === 1)
  await gateway.clock.advance(20_000)
  await first(await listen(gateway, worker.route))
  await until(() => worker.seen.trunksAsked === 2)
  expect(worker.seen.lines).toBe(21)
})

test('only PocketBase’s streams are carried', () => {
  expect(asksForEvents({ method: 'GET', target: '/api/realtime' })).toBe(true)
  for (const [method, target] of [
    ['POST', '/api/realtime'],
    ['HEAD', '/api/realtime'],
    ['GET', '/api/realtime/x'],
    ['GET', '/'],
  ] as const)
    expect(asksForEvents({ method, target })).toBe(false)
})
