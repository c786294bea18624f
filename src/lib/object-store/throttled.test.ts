// Goal: small uploads pass large ones that wait for the rate of bytes, large ones go on all the same, and both together
// keep to the rate. Method: a simulated clock and a store in memory.

import { expect, test } from 'bun:test'
import { SimClock } from '../clock.ts'
import { MemoryObjectStore } from './memory.ts'
import { ThrottledObjectStore } from './throttled.ts'

const bytesPerSecond = 1_000_000

/** In small steps, for promises between the timers are worth some microtasks. */
async function pass(clock: SimClock, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed++) await clock.advance(1)
}

function throttled() {
  const clock = new SimClock()
  const inner = new MemoryObjectStore({ clock })
  return { clock, store: new ThrottledObjectStore(inner, { requestsPerSecond: null, bytesPerSecond }, clock) }
}

test('a small upload does not wait for the bytes of a large one, a read does: its size is not known', async () => {
  const { clock, store } = throttled()
  await store.put('large', new Uint8Array(10 * bytesPerSecond))
  const done: string[] = []
  const note = (name: string, work: Promise<unknown>) => work.then(() => void done.push(name))
  const all = Promise.all([
    note('next large', store.put('next', new Uint8Array(bytesPerSecond))),
    note('read', store.get('large', { range: { from: 0, to: 1 } })),
    note('slot', store.put('slot', new Uint8Array(1_000))),
    note('head', store.head('large')),
  ])
  await pass(clock, 20)
  expect(done.sort()).toEqual(['head', 'slot'])
  await pass(clock, 8_000)
  expect(done).toHaveLength(2)
  await pass(clock, 4_000)
  await all
  expect(done).toHaveLength(4)
})

test('small uploads without end take their share, large ones the rest, together the rate', async () => {
  const { clock, store } = throttled()
  const seconds = 20
  const sent = { small: 0, large: 0 }
  const stop = new AbortController()
  const send = async (kind: 'small' | 'large', bytes: number) => {
    for (let n = 0; !stop.signal.aborted; n++) {
      await store.put(`${kind}${n}`, new Uint8Array(bytes), { signal: stop.signal })
      sent[kind] += bytes
    }
  }
  const senders = [send('small', 10_000), send('small', 10_000), send('large', 500_000)]
  for (const sender of senders) sender.catch(() => {}) // ended below
  await pass(clock, seconds * 1_000)
  stop.abort()
  await Promise.allSettled(senders)
  const [small, large] = [sent.small / seconds / bytesPerSecond, sent.large / seconds / bytesPerSecond]
  expect(small).toBeGreaterThan(0.2)
  expect(large).toBeGreaterThan(0.5)
  expect(small + large).toBeLessThan(1 + 1.5 / seconds) // a second gathers at the start, and the last upload is paid later
})
