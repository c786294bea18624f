// Goal: over any stretch no more goes through than a burst and the rate allow, in order, and whoever gives up costs nothing.

import { expect, test } from 'bun:test'
import { SimClock } from './clock.ts'
import { TokenBucket } from './token-bucket.ts'

test('a burst at once, then the rate, first come first served', async () => {
  const clock = new SimClock()
  const bucket = new TokenBucket(100, clock)
  const done: number[] = []
  const all = Array.from({ length: 250 }, (_, i) => bucket.take(1).then(() => done.push(i)))
  await clock.advance(0)
  expect(done.length).toBe(100)
  for (let ms = 100; ms <= 1_000; ms += 100) {
    for (let step = 0; step < 20; step++) await clock.advance(5)
    expect(done.length).toBeLessThanOrEqual(100 + ms / 10 + 1)
    expect(done.length).toBeGreaterThanOrEqual(100 + ms / 10 - 1)
  }
  for (let step = 0; step < 120; step++) await clock.advance(5)
  await Promise.all(all)
  expect(done).toEqual(Array.from({ length: 250 }, (_, i) => i))
})

test('large takes and charges leave a debt; who gives up leaves none', async () => {
  const clock = new SimClock()
  const bucket = new TokenBucket(1_000, clock)
  await bucket.take(3_000) // there was something left
  bucket.charge(1_000)
  let isDone = false
  const stop = new AbortController()
  const gone = bucket.take(5_000, stop.signal)
  const next = bucket.take(1).then(() => {
    isDone = true
  })
  stop.abort(new Error('no longer'))
  await expect(gone).rejects.toThrow('no longer')
  await clock.advance(2_900)
  await clock.advance(50)
  expect(isDone).toBe(false)
  await clock.advance(100)
  await clock.advance(10)
  await next
  expect(isDone).toBe(true)
})
