// Goal: long work pauses often enough, and short work never.

import { expect, test } from 'bun:test'
import { Breath } from './breath.ts'
import { SimClock } from './clock.ts'

test('a breath is due after a while, and then not again at once', async () => {
  const clock = new SimClock()
  const breath = new Breath(clock)
  expect(breath.take()).toBeUndefined()
  await clock.advance(2)
  let others = 0
  setImmediate(() => others++)
  await breath.take()
  expect(others).toBe(1)
  expect(breath.take()).toBeUndefined()
})
