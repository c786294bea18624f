// Goal: owners take turns whatever they queue, limits hold, and what is taken out leaves the rest in order.

import { expect, test } from 'bun:test'
import fc from 'fast-check'
import { FairQueue } from './fair-queue.ts'

const limits = { itemsMax: 1_000, itemsMaxOfOne: 500 }

test('one item of each owner in turn', () => {
  const queue = new FairQueue<string>(limits)
  for (let i = 0; i < 4; i++) queue.push('a', `a${i}`)
  queue.push('b', 'b0')
  queue.push('c', 'c0')
  queue.push('c', 'c1')
  const order = Array.from({ length: 7 }, () => queue.shift())
  expect(order).toEqual(['a0', 'b0', 'c0', 'a1', 'c1', 'a2', 'a3'])
  expect([queue.shift(), queue.size]).toEqual([null, 0])
})

test('an owner that may not be served keeps its place', () => {
  const queue = new FairQueue<string>(limits)
  queue.push('a', 'a0')
  queue.push('b', 'b0')
  queue.push('b', 'b1')
  expect(queue.shift((owner) => owner !== 'a')).toBe('b0')
  expect(queue.shift()).toBe('a0')
  expect(queue.shift(() => false)).toBeNull()
  expect(queue.sizeOf('b')).toBe(1)
})

test('limits, in all and of one', () => {
  const queue = new FairQueue<number>({ itemsMax: 3, itemsMaxOfOne: 2 })
  expect([queue.push('a', 1), queue.push('a', 2), queue.push('a', 3)]).toEqual([true, true, false])
  expect([queue.push('b', 1), queue.push('c', 1)]).toEqual([true, false])
})

test('any use agrees with a list per owner', () => {
  const step = fc.record({
    owner: fc.constantFrom('a', 'b', 'c'),
    what: fc.constantFrom('push', 'push', 'push', 'shift', 'remove', 'removeAll'),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const queue = new FairQueue<number>(limits)
      const model = new Map<string, number[]>()
      let next = 0
      for (const { owner, what } of steps) {
        const lane = model.get(owner) ?? []
        model.set(owner, lane)
        if (what === 'push') {
          queue.push(owner, next)
          lane.push(next++)
        } else if (what === 'shift') {
          const taken = queue.shift((each) => each === owner)
          expect(taken).toBe(lane.shift() ?? null)
        } else if (what === 'remove') {
          const item = lane.at(-1)
          expect(queue.remove(owner, item ?? -1)).toBe(item !== undefined)
          lane.pop()
        } else {
          expect(queue.removeAll(owner)).toEqual(lane)
          model.set(owner, [])
        }
        expect(queue.sizeOf(owner)).toBe(model.get(owner)!.length)
        expect(queue.size).toBe([...model.values()].reduce((sum, each) => sum + each.length, 0))
      }
    }),
  )
})
