// Goal: a worker's lease ends in time, whoever tells it late or not at all.

import { expect, test } from 'bun:test'
import { SimClock } from '../lib/clock.ts'
import { Lease, leaseOfOpening } from './lease.ts'

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

test('an opening from before a loss counts again only when it is still the owner', async () => {
  const clock = new SimClock()
  const lease = new Lease(clock)
  lease.set(clock.monotonic() + 1_000)
  const answers: PromiseWithResolvers<boolean>[] = []
  const errors: unknown[] = []
  const isStillOwner = () => {
    const answer = Promise.withResolvers<boolean>()
    answers.push(answer)
    return answer.promise
  }
  const lostMs = leaseOfOpening(lease, lease.term, isStillOwner, (error) => errors.push(error))
  await clock.advance(900)
  lease.set(clock.monotonic() + 1_000) // prolonged: nothing was lost
  expect(lostMs()).toBe(0)
  expect(answers.length).toBe(0)
  await clock.advance(1_500)
  expect(lostMs()).toBe(500)
  lease.set(clock.monotonic() + 1_000)
  expect(lostMs()).toBeGreaterThan(0)
  expect(lostMs()).toBeGreaterThan(0)
  expect(answers.length).toBe(1)
  answers[0]!.reject(new Error('no answer'))
  await clock.advance(1)
  expect(errors.length).toBe(1)
  expect(lostMs()).toBeGreaterThan(0)
  answers[1]!.resolve(false) // another node has it
  await clock.advance(1)
  expect(lostMs()).toBeGreaterThan(0)
  // Lost and back once more while the question was under way: its answer is of before.
  lease.set(null)
  await clock.advance(1)
  lease.set(clock.monotonic() + 1_000)
  answers[2]!.resolve(true)
  await clock.advance(1)
  expect(lostMs()).toBeGreaterThan(0)
  answers[3]!.resolve(true)
  await clock.advance(1)
  expect(lostMs()).toBe(0)
  expect(answers.length).toBe(4)
})
