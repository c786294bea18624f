import { expect, test } from 'bun:test'
import { FairLru } from './fair-lru.ts'

const put = (lru: FairLru<string>, owner: string, key: string, size = 1) => lru.set(key, { owner, value: key, size })

test('one owner alone has all of it, and loses what it used longest ago', () => {
  const lru = new FairLru<string>(3)
  for (const key of ['a', 'b', 'c']) put(lru, 'x', key)
  lru.get('a')
  expect(put(lru, 'x', 'd')).toEqual(['b'])
  expect([lru.size, lru.get('a')?.value, lru.get('b')]).toEqual([3, 'a', undefined])
})

test("a flood of one owner pushes out its own, not another one's", () => {
  const lru = new FairLru<string>(10)
  put(lru, 'calm', 'mine', 2)
  for (let i = 0; i < 100; i++) put(lru, 'flood', `f${i}`)
  expect(lru.get('mine')?.value).toBe('mine')
  expect(lru.size).toBe(10)
  for (let i = 0; i < 100; i++) put(lru, 'other', `o${i}`)
  expect(lru.get('mine')?.value).toBe('mine')
  const shares = ['f', 'o'].map(
    (letter) => Array.from({ length: 100 }, (_, i) => lru.get(letter + i)).filter((each) => each !== undefined).length,
  )
  expect(shares).toEqual([4, 4])
})

test('an item that is put in again counts once; what is too large alone stays alone', () => {
  const lru = new FairLru<string>(10)
  put(lru, 'x', 'a', 4)
  put(lru, 'x', 'a', 6)
  expect(lru.size).toBe(6)
  expect(put(lru, 'y', 'large', 11)).toEqual(['a'])
  expect([lru.size, lru.get('large')?.size]).toEqual([11, 11])
  expect(lru.delete('large')).toBe('large')
  expect([lru.size, lru.delete('large')]).toEqual([0, undefined])
})
