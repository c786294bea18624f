// Goal: no more than the places are in at once, in the order of their coming, and nobody waits for ever.

import { expect, test } from 'bun:test'
import { Lane } from './lane.ts'

/** Notes who is in, in the order of coming in. */
function visitors(lane: Lane) {
  const inside: string[] = []
  const enter = async (name: string, goesFirst = false) => {
    await lane.enter(goesFirst)
    inside.push(name)
  }
  return { inside, enter }
}

/** Lets promises that are kept already go on. */
async function settle(): Promise<void> {
  for (let round = 0; round < 10; round++) await Promise.resolve()
}

test('who leaves lets the next one in, by their order but for those that go first', async () => {
  const lane = new Lane(2)
  const { inside, enter } = visitors(lane)
  const all = Promise.all([enter('a'), enter('b'), enter('c'), enter('d'), enter('e', true)])
  await settle()
  expect(inside).toEqual(['a', 'b'])
  lane.leave()
  await settle()
  expect(inside).toEqual(['a', 'b', 'e'])
  lane.leave()
  lane.leave()
  await all
  expect(inside).toEqual(['a', 'b', 'e', 'c', 'd'])
})

test('a place that nobody waits for is kept for who comes later', async () => {
  const lane = new Lane(1)
  const { inside, enter } = visitors(lane)
  await enter('a')
  lane.leave()
  await enter('b')
  const waiting = enter('c')
  await settle()
  expect(inside).toEqual(['a', 'b'])
  lane.leave()
  await waiting
  expect(inside).toEqual(['a', 'b', 'c'])
})

test('it is opened for all who wait', async () => {
  const lane = new Lane(1)
  const { inside, enter } = visitors(lane)
  const all = Promise.all(['a', 'b', 'c'].map((name) => enter(name)))
  await settle()
  expect(inside).toEqual(['a'])
  lane.open()
  await all
  expect(inside).toEqual(['a', 'b', 'c'])
})
