// Goal: without a lease the store is asked once a second while there is traffic, and never at rest; without either for ten
// seconds nothing is written. Method: a clock that stands still, and a store that answers as told.

import { expect, test } from 'bun:test'
import { SimClock } from '../../lib/clock.ts'
import { silentLogger as log } from '../../lib/obs/log.ts'
import { cutOffMs } from './output-gate.ts'
import { SlotWatch } from './slot-watch.ts'

function setUp() {
  const clock = new SimClock()
  const world = { leaseLostMs: 0, looks: 0, store: 'answers' as 'answers' | 'fails' | 'hangs' }
  let lostAtMs: number | null = null
  const watch = new SlotWatch({
    clock,
    log,
    leaseLostMs: () => (lostAtMs === null ? 0 : Math.max(1, clock.monotonic() - lostAtMs)),
    storeHeardAtMs: () => Number.NEGATIVE_INFINITY,
    look: (signal) => {
      world.looks++
      if (world.store === 'answers') return Promise.resolve()
      if (world.store === 'fails') return Promise.reject(new Error('503'))
      return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
    },
  })
  const lose = () => {
    lostAtMs = clock.monotonic()
  }
  const regain = () => {
    lostAtMs = null
  }
  return { clock, world, watch, lose, regain }
}

test('with a lease nothing is asked', () => {
  const { clock, world, watch } = setUp()
  watch.touch()
  expect(watch.mayWrite()).toBe(true)
  expect(world.looks).toBe(0)
  expect(clock.pendingTimers).toBe(0)
})

test('without one: a look a second while there is traffic, then none and no timer', async () => {
  const { clock, world, watch, lose } = setUp()
  lose()
  for (let second = 0; second < 30; second++) {
    for (let n = 0; n < 10; n++) watch.touch()
    expect(await watch.mayWrite()).toBe(true)
    await clock.advance(1_000)
  }
  expect(world.looks).toBeGreaterThan(25)
  expect(world.looks).toBeLessThan(35)
  await clock.advance(5_000)
  const { looks } = world
  await clock.advance(60_000)
  expect(world.looks).toBe(looks)
  expect(clock.pendingTimers).toBe(0)
  expect(await watch.mayWrite()).toBe(true) // after a rest the first write waits for the answer
  expect(world.looks).toBe(looks + 1)
})

for (const store of ['fails', 'hangs'] as const)
  test(`neither lease nor store, which ${store}: writes go on for ten seconds, then stop until one is back`, async () => {
    const { clock, world, watch, lose, regain } = setUp()
    lose()
    world.store = store
    const ask = async () => {
      const answer = watch.mayWrite()
      if (typeof answer !== 'boolean') await clock.advance(1_000)
      return answer
    }
    const startMs = clock.monotonic()
    while (clock.monotonic() - startMs < cutOffMs - 1_500) {
      expect(await ask()).toBe(true)
      await clock.advance(500)
    }
    await clock.advance(3_000)
    expect(await ask()).toBe(false)
    world.store = 'answers'
    await clock.advance(6_000)
    expect(await ask()).toBe(true)
    world.store = store
    await clock.advance(cutOffMs + 6_000)
    expect(await ask()).toBe(false)
    regain()
    expect(await ask()).toBe(true)
    watch.close()
    expect(clock.pendingTimers).toBeLessThanOrEqual(1) // a patience that nobody waits for
  })
