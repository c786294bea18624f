// Goal: who sends much waits in turn, who sends little does not, who is alone never does.

import { beforeEach, expect, test } from 'bun:test'
import { SimClock } from '../../lib/clock.ts'
import { OverloadedError } from '../../lib/errors.ts'
import { type TurnOwner, Turns } from './turns.ts'

class Owner implements TurnOwner {
  usedMs = 0
}

let clock: SimClock
let turns: Turns
let a: Owner
let b: Owner
let c: Owner

beforeEach(() => {
  clock = new SimClock()
  turns = new Turns(clock)
  a = new Owner()
  b = new Owner()
  c = new Owner()
})

const arrived = () => new Promise<void>((resolve) => void setImmediate(resolve))

test('a tenant that is alone never waits', async () => {
  for (let i = 0; i < 5_000; i++) expect(turns.enter(a)).toBeUndefined()
})

test('of many at once, one begins a round; a light tenant begins between them', async () => {
  for (let i = 0; i < 50; i++) turns.enter(a)
  expect(turns.enter(b)).toBeUndefined()
  const begun: string[] = []
  for (let i = 0; i < 20; i++) void Promise.resolve(turns.enter(a)).then(() => begun.push('a'))
  await Promise.resolve()
  expect(begun).toEqual([])
  await arrived()
  await arrived()
  expect(begun.length).toBeGreaterThan(0)
  expect(begun.length).toBeLessThan(5)
  expect(turns.enter(b)).toBeUndefined()
  for (let i = 0; i < 30; i++) await arrived()
  expect(begun).toHaveLength(20)
})

test('two that send as much take turns', async () => {
  const order: string[] = []
  for (let i = 0; i < 20; i++) {
    turns.enter(a)
    turns.enter(b)
  }
  for (let i = 0; i < 10; i++) void Promise.resolve(turns.enter(a)).then(() => order.push('a'))
  for (let i = 0; i < 10; i++) void Promise.resolve(turns.enter(b)).then(() => order.push('b'))
  for (let i = 0; i < 60; i++) await arrived()
  expect(order).toHaveLength(20)
  const firstTen = order.slice(0, 10)
  expect(firstTen.filter((each) => each === 'a').length).toBeGreaterThanOrEqual(4)
  expect(firstTen.filter((each) => each === 'b').length).toBeGreaterThanOrEqual(4)
})

test('use counts by its time', async () => {
  turns.enter(a)
  turns.enter(b)
  for (let i = 0; i < 20; i++) turns.enter(b)
  a.usedMs += 500
  turns.enter(a)
  expect(turns.enter(b)).toBeUndefined()
  expect(turns.enter(a)).toBeInstanceOf(Promise)
})

test('beside others a tenant gets its share of the thread and no more', async () => {
  let begun = 0
  const send = () => {
    void Promise.resolve(turns.enter(a)).then(() => {
      begun++
      a.usedMs += 1
      send()
    })
  }
  for (let i = 0; i < 8; i++) turns.enter(a)
  const lastMs = 6_000
  turns.enter(b)
  a.usedMs += 1_200 // its share is used up
  for (let i = 0; i < 4; i++) send()
  for (let ms = 0; ms < lastMs; ms++) {
    if (ms % 100 === 0) expect(turns.enter(b)).toBeUndefined()
    for (let i = 0; i < 4; i++) await arrived()
    await clock.advance(1)
  }
  // A request of it counts 1.15 ms: three quarters of the time are 652 requests a second.
  const perSecond = begun / (lastMs / 1_000)
  expect(perSecond).toBeGreaterThan(450)
  expect(perSecond).toBeLessThan(720)
})

test('what was used is forgotten, and so is a neighbour that has gone', async () => {
  turns.enter(b)
  for (let i = 0; i < 50; i++) turns.enter(a)
  expect(turns.enter(a)).toBeInstanceOf(Promise)
  for (let i = 0; i < 60; i++) await arrived()
  await clock.advance(1_001)
  expect(turns.enter(a)).toBeUndefined()
})

test('only so many of one tenant wait', async () => {
  turns.enter(b)
  const refused: unknown[] = []
  for (let i = 0; i < 5_100; i++) Promise.resolve(turns.enter(a)).catch((error) => refused.push(error))
  await Promise.resolve()
  await Promise.resolve()
  expect(refused.length).toBeGreaterThan(50)
  expect(refused[0]).toBeInstanceOf(OverloadedError)
  expect(turns.enter(c)).toBeUndefined()
})
