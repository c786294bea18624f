// Goal: the simulated network replays from its seed, keeps order, and breaks what it is told to. Method: a simulated
// clock and two processes.

import { expect, test } from 'bun:test'
import { SimClock } from '../../lib/clock.ts'
import { silentLogger as log } from '../../lib/obs/log.ts'
import { seededRng } from '../../lib/rng.ts'
import { openRpcClient } from '../client.ts'
import type { Conversation } from '../conversation.ts'
import { clusterSecrets } from '../keys.ts'
import { openPublisher, openSubscriber } from '../pubsub.ts'
import { openRpcServer } from '../server.ts'
import { MemoryNetwork } from './memory.ts'

type Ask = { readonly type: 'double'; readonly n: number } | { readonly type: 'note'; readonly n: number }
interface Answers {
  double: { readonly n: number }
}
const conversation: Conversation<Ask, Answers> = { name: 'sim', version: 1, callers: ['node'] }
const secrets = clusterSecrets('a secret that is long enough')

function setUp(seed: number) {
  const clock = new SimClock()
  const network = new MemoryNetwork({
    clock,
    rng: seededRng(seed),
    faults: { delayMs: { min: 1, max: 50 }, broadcastLoss: 0 },
  })
  const member = network.messaging({ role: 'control-plane', secrets })
  const node = network.messaging({ role: 'node', secrets })
  const notes: number[] = []
  const server = openRpcServer({ messaging: member, bind: 'tcp://127.0.0.1:0', allow: ['node'], clock, log })
  server.serve(conversation, { double: ({ n }) => ({ n: n * 2 }), note: ({ n }) => void notes.push(n) })
  const client = openRpcClient({
    messaging: node,
    connect: server.address,
    serverRole: 'control-plane',
    conversation,
    clock,
    log,
  })
  return { clock, network, member, node, server, client, notes }
}

test('the same seed gives the same history, in order', async () => {
  const history = async (seed: number) => {
    const { clock, client, notes } = setUp(seed)
    const events: string[] = []
    await clock.advance(100)
    for (let n = 0; n < 20; n++) {
      client.send({ type: 'note', n })
      void client.request({ type: 'double', n }, { deadlineMs: 1_000 }).then((answer) => {
        events.push(`${clock.monotonic().toFixed(3)} ${answer.n}`)
      })
    }
    await clock.advance(1_000)
    expect(notes).toEqual(Array.from({ length: 20 }, (_, n) => n))
    expect(events.length).toBe(20)
    return events
  }
  const first = await history(1)
  expect(await history(1)).toEqual(first)
  expect(await history(2)).not.toEqual(first)
})

test('a partition fails what is under way, refuses what follows, and heals', async () => {
  const { clock, network, client } = setUp(3)
  await clock.advance(200)
  expect(client.isConnected).toBe(true)
  const lost = client.request({ type: 'double', n: 1 }, { deadlineMs: 10_000 }).catch((error: unknown) => error)
  network.partition('node', 'control-plane')
  expect(await lost).toMatchObject({ code: 'peer_unreachable', delivered: 'unknown' })
  const early = client.request({ type: 'double', n: 2 }, { deadlineMs: 500 }).catch((error: unknown) => error)
  await clock.advance(500)
  expect(await early).toMatchObject({ code: 'peer_unreachable', delivered: 'no' })
  const late = client.request({ type: 'double', n: 3 }, { deadlineMs: 5_000 })
  network.heal()
  await clock.advance(1_000)
  expect(await late).toEqual({ n: 6 })
})

test('every lost broadcast is followed by a resync, the last one too', async () => {
  const { clock, network, member, node } = setUp(4)
  const publisher = openPublisher<Ask, 'route.'>({
    messaging: member,
    bind: 'tcp://127.0.0.1:0',
    allow: ['node'],
    topics: ['route.'],
    clock,
    rng: seededRng(5),
  })
  // What a careful reader knows: the newest value it heard, or "unknown" since a resync, whereupon it reads the truth.
  let truth = 0
  let known: number | null = null
  let resyncs = 0
  openSubscriber<Ask, 'route.'>({
    messaging: node,
    connect: publisher.address,
    serverRole: 'control-plane',
    topics: ['route.'],
    clock,
    log,
    onMessage: (_topic, message) => {
      known = message.n
    },
    onResync: () => {
      resyncs++
      known = truth
    },
  })
  await clock.advance(2_000)
  network.setFaults({ delayMs: { min: 1, max: 20 }, broadcastLoss: 0.4 })
  for (let n = 1; n <= 200; n++) {
    truth = n
    publisher.publish('route.', { type: 'note', n })
    await clock.advance(10)
  }
  network.setFaults({ delayMs: { min: 1, max: 20 }, broadcastLoss: 0 })
  await clock.advance(2_000)
  expect(known as number | null).toBe(truth)
  expect(resyncs).toBeGreaterThan(10)
})
