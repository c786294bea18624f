// Goal: a kept answer is the one that reading again would give, and what is kept is bounded.

import { afterEach, beforeEach, expect, test } from 'bun:test'
import { openTestEngine, saveUser, type TestEngine } from '../../../../test/support/engine.ts'
import { shownText, shownTextLater } from './shown-texts.ts'

let opened: TestEngine
let made: number

beforeEach(async () => {
  opened = await openTestEngine()
  made = 0
})
afterEach(() => opened[Symbol.asyncDispose]())

const ask = (id: string, text: string | null = id) =>
  shownText(opened.engine, id, () => {
    made++
    return text
  })

test('it is made once between two commits', async () => {
  expect([ask('a'), ask('a'), ask('b'), made]).toEqual(['a', 'a', 'b', 2])
  await saveUser(opened.engine, 'users', { email: 'a@example.com' })
  expect([ask('a'), ask('a'), made]).toEqual(['a', 'a', 3])
})

test('what is not there is asked for again, and so is everything in a transaction', async () => {
  expect([ask('a', null), ask('a', null), made]).toEqual([null, null, 2])
  await opened.engine.data.transaction(() => {
    expect([ask('b'), ask('b'), made]).toEqual(['b', 'b', 4])
  })
})

test('nothing is kept by an engine that closes: nobody would forget it', async () => {
  ask('a')
  const closing = opened.engine.close()
  expect([ask('a'), ask('b'), ask('b'), made]).toEqual(['a', 'b', 'b', 4])
  await closing
})

test('long texts are not kept, and the oldest of many go', () => {
  const long = 'x'.repeat(200_000)
  expect([ask('long', long), ask('long', long), made]).toEqual([long, long, 2])
  for (let i = 0; i < 100; i++) ask(`many ${i}`, 'y'.repeat(100_000))
  made = 0
  ask('many 99')
  expect(made).toBe(0)
  ask('many 0')
  expect(made).toBe(1)
})

test('a tenant keeps a part of what the others leave', async () => {
  const fill = ({ engine }: TestEngine) => {
    for (let i = 0; i < 100; i++) shownText(engine, `${i}`, () => 'z'.repeat(100_000))
    let kept = 0
    for (let i = 0; i < 100; i++) if (shownText(engine, `${i}`, () => null) !== null) kept++
    return kept
  }
  await using other = await openTestEngine()
  const [first, second] = [fill(opened), fill(other)]
  expect(second).toBeGreaterThan(10)
  expect(first).toBeGreaterThan(second)
  let closing: Promise<void> | null = null
  const closeMeanwhile = async () => {
    await (closing ??= opened.engine.close())
    return 'z'.repeat(100_000)
  }
  await Promise.all(Array.from({ length: 40 }, (_, i) => shownTextLater(opened.engine, `late ${i}`, closeMeanwhile)))
  await saveUser(other.engine, 'users', { email: 'a@example.com' })
  expect(fill(other)).toBe(first) // a closed engine keeps nothing, and gave back what it kept
})

test('what is made later is kept unless something was written meanwhile', async () => {
  const { engine } = opened
  const later = (id: string, meanwhile: () => unknown = () => {}) =>
    shownTextLater(engine, id, async () => {
      made++
      await meanwhile()
      return id
    })
  expect([await later('a'), await later('a'), made]).toEqual(['a', 'a', 1])
  const write = async () => {
    await saveUser(engine, 'users', { email: 'a@example.com' })
    ask('b') // notes the newer content
  }
  await later('c', write)
  made = 0
  expect([await later('c'), made]).toEqual(['c', 1])
})
