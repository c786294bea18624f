// Goal: clients that sit on a trunk get what they would get on streams of their own, each message crossing it once; a
// gateway that does not read holds nobody up for long.

import { expect, test } from 'bun:test'
import { type Frame, FrameReader, frameContentBytesMax, frameKind } from '../../../ipc/messages/trunk.ts'
import { SimClock } from '../../../lib/clock.ts'
import { silentLogger } from '../../../lib/obs/log.ts'
import { seededRng } from '../../../lib/rng.ts'
import { openGate } from '../output-gate.ts'
import { Usage } from '../usage.ts'
import { RealtimeBroker, trunksMax } from './broker.ts'
import type { RealtimeClient } from './client.ts'

const trunkId = 't'.repeat(24)

function setUp() {
  const clock = new SimClock()
  const usage = new Usage()
  const broker = new RealtimeBroker({ clock, rng: seededRng(1), log: silentLogger, gate: openGate, usage })
  const trunk = broker.openTrunk(trunkId)!
  const reader = trunk.stream.getReader()
  const frames = new FrameReader()
  const gone: number[] = []
  const seated = (number: number) => broker.connect('', () => gone.push(number), { trunk, number })!
  /** The frames of the next part, as texts. */
  const read = async () => {
    const { done, value } = await reader.read()
    return done ? null : frames.push(value).map(textOf)
  }
  const readAll = async () => {
    const all: string[] = []
    for (let part = await read(); part !== null; part = await read()) all.push(...part)
    return all
  }
  const send = (clients: readonly RealtimeClient[], data: string) =>
    broker.deliver([broker.prepare(clients, 'x', data)!])
  return { clock, broker, trunk, gone, seated, read, readAll, send }
}

const kindNames = new Map(Object.entries(frameKind).map(([name, kind]) => [kind as number, name]))
const textOf = ({ kind, seats, content }: Frame) =>
  `${kindNames.get(kind)} ${seats.join(',')} ${Buffer.from(content).toString()}`

const opened = (client: RealtimeClient, number: number) => [
  `open ${number} id:${client.id}\n`,
  `message ${number} event:PB_CONNECT\ndata:{"clientId":"${client.id}"}\n\n`,
]

test('what several clients get crosses once, in order, beside clients with streams of their own', async () => {
  const { broker, seated, send, readAll, clock } = setUp()
  const a = seated(1)
  const b = seated(2)
  const own = broker.connect('', () => {})!
  expect([a.stream, b.stream]).toEqual([null, null])
  await clock.advance(50)
  send([a, own, b], '1')
  send([b], '2')
  a.send('y', '3')
  await broker.idle()
  expect([a.lastMessageMs, b.lastMessageMs]).toEqual([50, 50])
  b.close()
  broker.close()
  expect(await readAll()).toEqual([
    'end  ',
    ...opened(a, 1),
    ...opened(b, 2),
    'message 1 event:y\ndata:3\n\n',
    'message 1,2 event:x\ndata:1\n\n',
    'message 2 event:x\ndata:2\n\n',
    'end 2 ',
    'end 1 ',
  ])
  expect(await new Response(own.stream).text()).toContain('event:x\ndata:1\n\n')
})

test('a long message comes in parts', async () => {
  const { broker, seated, send, readAll } = setUp()
  const a = seated(1)
  const data = 'x'.repeat(2 * frameContentBytesMax)
  send([a], data)
  await broker.idle()
  broker.close()
  const parts = (await readAll()).slice(3, -1)
  expect(parts.map((each) => each.slice(0, 7))).toEqual(['message', 'more 1 ', 'more 1 '])
  expect(parts.map((each) => each.replace(/^(message|more) 1 /, '')).join('')).toBe(`event:x\ndata:${data}\n\n`)
})

test('who has gone by the gateway’s word is closed, and nobody else', async () => {
  const { broker, trunk, seated, gone, readAll } = setUp()
  const [a, b] = [seated(1), seated(2)]
  trunk.leave([2, 77])
  expect([a.isClosed, b.isClosed, gone]).toEqual([false, true, [2]])
  expect(broker.size).toBe(1)
  broker.close()
  expect((await readAll()).filter((each) => each.startsWith('end'))).toEqual(['end  ', 'end 1 ']) // it knows of 2
})

test('a gateway that goes takes its clients along', () => {
  const { broker, trunk, seated, gone } = setUp()
  seated(1)
  seated(2)
  trunk.close()
  expect([gone, broker.size, broker.trunkById(trunkId)]).toEqual([[1, 2], 0, null])
})

test('a number that is taken, and a trunk that is closed, seat nobody: there is a stream', () => {
  const { trunk, seated } = setUp()
  expect(seated(1).stream).toBeNull()
  expect(seated(1).stream).not.toBeNull()
  trunk.close()
  expect(seated(2).stream).not.toBeNull()
})

test('trunks of a tenant are bounded, and their names are their own', () => {
  const { broker } = setUp()
  expect(broker.openTrunk(trunkId)).toBeNull()
  for (let i = 1; i < trunksMax; i++) expect(broker.openTrunk(`t${i}`)).not.toBeNull()
  expect(broker.openTrunk('one more')).toBeNull()
})

test('messages wait for a gateway that reads slowly', async () => {
  const { broker, trunk, seated, send, read } = setUp()
  const client = seated(1)
  const big = 'x'.repeat(600_000)
  for (let i = 0; i < 3; i++) send([client], big)
  while (trunk.room() === undefined) await new Promise(setImmediate)
  let isSent = false
  void broker.idle().then(() => {
    isSent = true
  })
  for (let i = 0; i < 20; i++) await new Promise(setImmediate)
  expect(isSent).toBe(false)
  while (!isSent) {
    await read()
    await new Promise(setImmediate)
  }
  expect(client.isClosed).toBe(false)
})

test('a gateway that takes nothing loses its trunk, and the others get their messages', async () => {
  const { broker, clock, trunk, seated, send } = setUp()
  const client = seated(1)
  const own = broker.connect('', () => {})!
  const big = 'x'.repeat(600_000)
  for (let i = 0; i < 3; i++) send([client], big)
  send([own], 'last')
  while (trunk.room() === undefined) await new Promise(setImmediate)
  await clock.advance(10_000)
  await broker.idle()
  expect([trunk.isClosed, client.isClosed, own.isClosed]).toEqual([true, true, false])
  own.close()
  expect(await new Response(own.stream).text()).toEndWith('event:x\ndata:last\n\n')
})
