// Goal: a hint makes an old owner look, and one that cannot be read, whoever wrote it, stops no shipping. Method: every shape.

import { expect, test } from 'bun:test'
import { utf8 } from '../lib/bytes.ts'
import { MemoryObjectStore } from '../lib/object-store/memory.ts'
import { announcedEpoch, announceTakeover } from './takeover.ts'

test('the last hint counts; none, and what is none, is no epoch', async () => {
  const store = new MemoryObjectStore()
  const at = { store, prefix: 't/abc/data.db' }
  expect(await announcedEpoch(at)).toBe(0)
  for (const epoch of [7, 5]) await announceTakeover(at, epoch)
  expect(await announcedEpoch(at)).toBe(5)
  const [key] = store.keys
  for (const text of ['', '{', 'null', '7', '"7"', '[]', '{}', '{"epoch":"7"}', '{"epoch":7.5}', '{"epoch":null}']) {
    await store.put(key!, utf8(text))
    expect(await announcedEpoch(at)).toBe(0)
  }
})
