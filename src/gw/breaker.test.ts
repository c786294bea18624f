// Goal: a dead worker costs few requests their time, and is tried again. Method: walk the state machine by hand.

import { expect, test } from 'bun:test'
import { SimClock } from '../lib/clock.ts'
import { failuresMax } from './breaker.ts'
import { Breakers } from './breakers.ts'

const worker = 'http://127.0.0.1:1'

test('opens after consecutive failures only', () => {
  const breakers = new Breakers(new SimClock())
  for (let i = 0; i < failuresMax - 1; i++) breakers.failed(worker)
  breakers.succeeded(worker)
  for (let i = 0; i < failuresMax - 1; i++) breakers.failed(worker)
  expect(breakers.admit(worker).admitted).toBe(true)
  breakers.failed(worker)
  expect(breakers.admit(worker)).toMatchObject({ admitted: false, retryAfterMs: 1_000 })
  expect(breakers.admit('http://127.0.0.1:2').admitted).toBe(true)
})

test('lets one probe through after a while; its outcome decides', async () => {
  const clock = new SimClock()
  const breakers = new Breakers(clock)
  for (let i = 0; i < failuresMax; i++) breakers.failed(worker)
  await clock.advance(1_000)
  expect(breakers.admit(worker).admitted).toBe(true)
  expect(breakers.admit(worker).admitted).toBe(false)
  breakers.failed(worker)
  expect(breakers.admit(worker)).toMatchObject({ admitted: false, retryAfterMs: 2_000 })
  await clock.advance(2_000)
  expect(breakers.admit(worker).admitted).toBe(true)
  expect(breakers.states()).toEqual([[worker, 0.5]])
  breakers.succeeded(worker)
  expect(breakers.admit(worker).admitted).toBe(true)
  expect(breakers.states()).toEqual([])
})

test('does not wait for ever for a probe that never ends', async () => {
  const clock = new SimClock()
  const breakers = new Breakers(clock)
  for (let i = 0; i < failuresMax; i++) breakers.failed(worker)
  await clock.advance(1_000)
  expect(breakers.admit(worker).admitted).toBe(true)
  await clock.advance(5_000)
  expect(breakers.admit(worker).admitted).toBe(true)
})
