// Goal: messages reach exactly those who listen, in order, and old clients are sent away by one timer.

import { expect, test } from 'bun:test'
import { SimClock } from '../../../lib/clock.ts'
import { silentLogger } from '../../../lib/obs/log.ts'
import { seededRng } from '../../../lib/rng.ts'
import { type OutputGate, openGate } from '../output-gate.ts'
import { Usage } from '../usage.ts'
import { connectionMsMax, type Delivery, heldBytesMax, idleTimeoutMs, RealtimeBroker } from './broker.ts'
import { encodeMessage, type RealtimeClient } from './client.ts'

function newBroker(gate: OutputGate = openGate) {
  const clock = new SimClock()
  return {
    clock,
    broker: new RealtimeBroker({ clock, rng: seededRng(1), log: silentLogger, gate, usage: new Usage() }),
  }
}

async function textOf(client: RealtimeClient): Promise<string> {
  client.close()
  return await new Response(client.stream).text()
}

test('a client is told its id first', async () => {
  const { broker } = newBroker()
  const client = broker.connect('1.2.3.4', () => {})!
  expect(client.id).toMatch(/^[A-Za-z0-9]{40}$/)
  expect(await textOf(client)).toBe(`id:${client.id}\nevent:PB_CONNECT\ndata:{"clientId":"${client.id}"}\n\n`)
})

test('clients are found by topic without its options', () => {
  const { broker } = newBroker()
  const client = broker.connect('', () => {})!
  const topic = `posts/*?options=${encodeURIComponent('{"query":{"filter":"a=1","page":2},"headers":{"X-My-Token":"t"}}')}`
  client.subscribe(topic)
  expect([...broker.listeners('posts/*').keys()]).toEqual([client])
  expect(client.subscriptions.get(topic)).toEqual({
    query: { filter: 'a=1', page: '2' },
    headers: { x_my_token: 't' },
  })
  client.unsubscribe(topic)
  expect(broker.listeners('posts/*').size).toBe(0)
})

test('nothing leaves before the gate opens, and the order stays', async () => {
  let open: (() => void) | undefined
  const gate = new Promise<void>((resolve) => {
    open = resolve
  })
  const { broker } = newBroker({ admit() {}, pass: () => gate })
  const client = broker.connect('', () => {})!
  broker.deliver([{ clients: [client], name: 'a', data: '1', message: encodeMessage('a', '1') }])
  broker.deliver([{ clients: [client], name: 'b', data: '2', message: encodeMessage('b', '2') }])
  const before = client.lastMessageMs
  await Promise.resolve()
  expect(client.lastMessageMs).toBe(before)
  open?.()
  await broker.idle()
  const text = await textOf(client)
  expect(text.indexOf('event:a')).toBeGreaterThan(0)
  expect(text.indexOf('event:b')).toBeGreaterThan(text.indexOf('event:a'))
})

test('idle and old clients are closed, with one timer for all', async () => {
  const { broker, clock } = newBroker()
  const closed: string[] = []
  const idle = broker.connect('', () => closed.push('idle'))!
  const busy = broker.connect('', () => closed.push('busy'))!
  expect(clock.pendingTimers).toBe(1)
  for (let elapsedMs = 0; elapsedMs < connectionMsMax + 10_000; elapsedMs += 60_000) {
    await clock.advance(60_000)
    busy.send('x', '1', clock.monotonic())
    if (elapsedMs === 4 * 60_000 - 60_000) expect(closed).toEqual([])
    if (elapsedMs === idleTimeoutMs + 60_000) expect(closed).toEqual(['idle'])
  }
  expect(closed).toEqual(['idle', 'busy'])
  expect(idle.isClosed).toBe(true)
  expect(broker.size).toBe(0)
  expect(clock.pendingTimers).toBe(0)
})

test('who does not read is closed instead of filling memory', () => {
  const { broker, clock } = newBroker()
  const client = broker.connect('', () => {})!
  const message = encodeMessage('x', 'y'.repeat(100_000))
  for (let i = 0; i < 100 && !client.isClosed; i++) client.sendEncoded(message, clock.monotonic())
  expect(client.isClosed).toBe(true)
})

test('messages that wait are bounded together: whose would be too many is closed', async () => {
  const { broker } = newBroker()
  const data = 'x'.repeat(heldBytesMax / 4)
  const clients = Array.from({ length: 5 }, () => broker.connect('', () => {})!)
  const made = clients.map((client) => broker.prepare([client], 'a', data))
  expect(made.map((each) => each !== null)).toEqual([true, true, true, false, false])
  expect(clients.map((client) => client.isClosed)).toEqual([false, false, false, true, true])
  const rest = made.filter((each): each is Delivery => each !== null)
  broker.drop(rest.slice(0, 1))
  const again = broker.prepare([clients[0]!], 'a', data)!
  expect(again).not.toBeNull()
  broker.deliver([...rest.slice(1), again])
  await broker.idle()
  for (let i = 0; i < 3; i++) expect(broker.prepare([], 'a', data)).not.toBeNull()
})
