// Goal: a worker's lease ends in time, whoever tells it late or not at all.

import { expect, test } from 'bun:test'
import { SimClock } from '../lib/clock.ts'
import { Lease } from './lease.ts'

test('it is lost from the start, ends by itself, and begins again', async () => {
  const clock = new SimClock()
  const lease = new Lease(clock)
  await clock.advance(100)
  expect(lease.lostMs()).toBe(100)
  lease.set(clock.monotonic() + 2_500)
  expect(lease.lostMs()).toBe(0)
  await clock.advance(2_600) // nobody says anything
  expect(lease.lostMs()).toBe(100)
  lease.set(clock.monotonic() - 50) // an answer that was long under way
  expect(lease.lostMs()).toBe(50)
  lease.set(clock.monotonic() + 10)
  expect(lease.lostMs()).toBe(0)
})

test('that it is gone counts from then, however often it is said', async () => {
  const clock = new SimClock()
  const lease = new Lease(clock)
  lease.set(clock.monotonic() + 2_500)
  lease.set(null)
  await clock.advance(70)
  lease.set(null)
  expect(lease.lostMs()).toBe(70)
})
