// Goal: an owner may die at any request, before or after the store did it, and nothing acknowledged is lost, no slot is
// skipped, and its successor, on the same node or on another, can go on. Method: the store breaks for good at the nth
// request, for every n of a script, in both ways.

import { expect, setDefaultTimeout, test } from 'bun:test'
import { rmSync } from 'node:fs'
import { errorCode } from '../../src/lib/errors.ts'
import { MemoryObjectStore } from '../../src/lib/object-store/memory.ts'
import { NeverShippedError } from '../../src/replicate/errors.ts'
import { listLtx } from '../../src/replicate/ltx-store.ts'
import { Owner, prefix, restoredHash } from './histories.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

/** Longer than a healthy store in memory ever takes, as short as the many rounds want it. */
const patienceMs = 40

/** Writes, closes, opens again, writes; stops at the first failure. Returns what was acknowledged and where the files are. */
async function script(store: MemoryObjectStore, acked: string[]): Promise<string | null> {
  let owner: Owner | null = null
  let dir: string | null = null
  const write = async (value: string) => {
    const seq = await owner!.insert(value)
    await owner!.shipper.waitDurable(seq, patienceMs)
    acked.push(value)
  }
  try {
    owner = await Owner.create(store)
    dir = owner.dir
    await write('a')
    await write('b'.repeat(20_000))
    if (!(await owner.shipper.close({ deadlineMs: patienceMs }))) return dir
    await owner.db.close()
    owner = null
    owner = await Owner.open(store, 1, { dir })
    await write('c')
    await write('d')
  } catch (error) {
    // The broken store, or the deadline of a wait for it; anything else fails the test.
    if (!['object_store', 'timeout', 'object_exists'].includes(errorCode(error) ?? '')) throw error
  } finally {
    await owner?.abandon()
  }
  return dir
}

async function countRequests(): Promise<number> {
  const store = new MemoryObjectStore()
  const acked: string[] = []
  const dir = await script(store, acked)
  expect(acked.length).toBe(4)
  rmSync(dir!, { recursive: true })
  return store.requestCount
}

for (const way of ['before', 'after'] as const)
  for (const successor of ['same node', 'other node'] as const)
    test(`the store breaks ${way} doing the nth request; the successor is on the ${successor}`, async () => {
      const total = await countRequests()
      expect(total).toBe(8) // slot 1, two writes, a listing, the tail, the seal, two writes
      for (let n = 1; n <= total; n++) {
        const store = new MemoryObjectStore()
        let count = 0
        store.fault = () => {
          count++
          if (count < n) return null
          return count === n && way === 'after' ? { type: 'lost-reply' } : { type: 'error', status: 503 }
        }
        const acked: string[] = []
        const dir = await script(store, acked)
        store.fault = null
        try {
          await using heir = await Owner.open(store, 2, successor === 'same node' && dir !== null ? { dir } : {})
          await heir.flush()
          await heir.insert('heir')
          await heir.flush()
          const values = heir.values()
          expect(values.slice(0, acked.length)).toEqual(acked)
          expect(values.at(-1)).toBe('heir')
          expect(new Set(values).size).toBe(values.length)
          expect(await restoredHash(heir.at, null)).toBe(heir.hash())
          const slots = (await listLtx(heir.at)).map((file) => Number(file.maxTxid)).sort((x, y) => x - y)
          expect(slots).toEqual(slots.map((_, index) => index + 1))
        } catch (error) {
          // Only a database whose creation never reached the store has no history, and then nothing was acknowledged.
          if (!(error instanceof NeverShippedError)) throw new Error(`n = ${n}`, { cause: error })
          expect(acked).toEqual([])
          expect((await store.list({ prefix })).objects).toEqual([])
        } finally {
          if (dir !== null) rmSync(dir, { recursive: true, force: true })
        }
      }
    }, 180_000)
