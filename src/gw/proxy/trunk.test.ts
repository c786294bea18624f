// Goal: each client of a trunk gets its own bytes in order and the end that it would have on a line of its own; the worker
// hears who has gone, even when it did not listen at first.

import { expect, test } from 'bun:test'
import { encodeFrame, type FrameKind, frameKind } from '../../ipc/messages/trunk.ts'
import { SimClock } from '../../lib/clock.ts'
import { silentLogger } from '../../lib/obs/log.ts'
import type { Seat } from './seat.ts'
import { Trunk } from './trunk.ts'

function setUp() {
  const clock = new SimClock()
  const told: number[][] = []
  const worker = { hears: true }
  const trunk = new Trunk({
    id: 't',
    clock,
    log: silentLogger,
    async tellGone(numbers) {
      told.push([...numbers])
      return worker.hears
    },
  })
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined
  let isCut = false
  const stream = new ReadableStream<Uint8Array>({
    start(given) {
      controller = given
    },
    cancel() {
      isCut = true
    },
  })
  const running = trunk.run(stream)
  const send = (kind: FrameKind, seats: readonly number[], text = '') =>
    controller!.enqueue(encodeFrame(kind, seats, new TextEncoder().encode(text)))
  return { clock, trunk, told, worker, send, running, wire: () => controller!, isCut: () => isCut }
}

const until = async (condition: () => boolean) => {
  while (!condition()) await new Promise(setImmediate)
}
const textOf = (seat: Seat) => new Response(seat.stream).text()
const numbered = (seats: readonly Seat[]) => seats.map((each) => each.number)

test('each gets its head and what all get, until the worker ends it', async () => {
  const { trunk, send, wire, running } = setUp()
  const seats = Array.from({ length: 60 }, () => trunk.take()!)
  for (const { number } of seats) send(frameKind.open, [number], `id:${number}\n`)
  send(frameKind.message, numbered(seats), 'first ')
  send(frameKind.more, numbered(seats), 'more\n')
  send(frameKind.message, [seats[0]!.number], 'alone\n')
  send(frameKind.end, numbered(seats))
  wire().close()
  const texts = await Promise.all(seats.map(textOf))
  await running
  expect(texts).toEqual(
    seats.map(({ number }, i) => `id:${number}\nfirst more\n${i === 0 ? `id:${number}\nalone\n` : ''}`),
  )
  expect(trunk.take()).toBeNull()
})

test('an end of the trunk is the end of its streams: in order, broken, or inside a frame', async () => {
  for (const [how, end] of [
    ['in order', (wire: ReadableStreamDefaultController<Uint8Array>) => wire.close()],
    ['broken', (wire: ReadableStreamDefaultController<Uint8Array>) => wire.error(new Error('gone'))],
    [
      'inside a frame',
      (wire: ReadableStreamDefaultController<Uint8Array>) => {
        wire.enqueue(encodeFrame(frameKind.end, [1], new Uint8Array(0)).subarray(0, 6))
        wire.close()
      },
    ],
  ] as const) {
    const { trunk, wire, running } = setUp()
    const seat = trunk.take()!
    const over: string[] = []
    seat.onOver(() => over.push(how))
    end(wire())
    await running
    const outcome = await textOf(seat).then(
      () => 'ended',
      () => 'broke',
    )
    expect([how, outcome]).toEqual([how, how === 'in order' ? 'ended' : 'broke'])
    expect(over).toEqual([how])
  }
})

test('what is no frame ends the trunk', async () => {
  const { trunk, wire, running, isCut } = setUp()
  const seat = trunk.take()!
  wire().enqueue(new TextEncoder().encode('HTTP/1.1 200 OK\r\n\r\n'))
  await Promise.all([running, expect(textOf(seat)).rejects.toThrow()])
  expect(isCut()).toBe(true)
})

test('the worker hears who has gone, those of one moment together, and again when it did not', async () => {
  const { clock, trunk, told, worker, send } = setUp()
  const seats = Array.from({ length: 4 }, () => trunk.take()!)
  worker.hears = false
  seats[0]!.leave()
  await seats[1]!.stream.cancel()
  await until(() => told.length === 1)
  expect(told).toEqual([[1, 2]])
  worker.hears = true
  seats[2]!.leave()
  await clock.advance(5_000)
  await until(() => told.length === 2)
  expect(told[1]).toEqual([1, 2, 3])
  // What comes for somebody who has gone is told of too: the worker may have seated it late.
  send(frameKind.open, [3], 'id\n')
  await until(() => told.length === 3)
  expect(told[2]).toEqual([3])
  seats[3]!.end()
  expect(await textOf(seats[3]!)).toBe('')
  await until(() => told.length === 4)
  expect(told[3]).toEqual([4])
})

test('who does not read is cut off; the others get everything', async () => {
  const { trunk, told, send } = setUp()
  const [slow, quick] = [trunk.take()!, trunk.take()!]
  let got = 0
  const reader = quick.stream.getReader()
  const reading = (async () => {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      got += value.length
    }
  })()
  const text = 'x'.repeat(60_000)
  let sent = 0
  while (told.length === 0 && sent < 100) {
    send(frameKind.message, [slow.number, quick.number], text)
    sent++
    await until(() => got === sent * text.length)
  }
  expect(told).toEqual([[slow.number]])
  expect(sent * text.length).toBeLessThan(2 * 1024 * 1024)
  await expect(textOf(slow)).rejects.toThrow('does not read')
  quick.end()
  await reading
})

test('who is ended by the worker still reads what is left', async () => {
  const { trunk, send } = setUp()
  const seat = trunk.take()!
  send(frameKind.message, [seat.number], 'last')
  const over = new Promise<void>((resolve) => seat.onOver(resolve))
  send(frameKind.end, [seat.number])
  await over
  let isHeard = false
  seat.onOver(() => {
    isHeard = true
  })
  expect(isHeard).toBe(true) // who asks late hears it too
  expect(await textOf(seat)).toBe('last')
})

test('a trunk without clients is closed after a while, and not before', async () => {
  const { clock, trunk, running, isCut } = setUp()
  await clock.advance(20_000)
  const seat = trunk.take()!
  await clock.advance(60_000)
  expect(isCut()).toBe(false)
  seat.leave()
  await clock.advance(60_000)
  await running
  expect([isCut(), trunk.take()]).toEqual([true, null])
  expect(clock.pendingTimers).toBe(0)
})
