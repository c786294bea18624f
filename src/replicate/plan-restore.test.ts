// Goal: restores at the same time hold no more bytes between store and disk than their budget, whatever their files are, and none
// waits for ever; what fails gives back what it held. Method: many histories of files that are fetched whole, a budget of two of
// them, and a store that counts what it is asked for and hands out late.

import { expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sha256 } from '../../test/replication/histories.ts'
import { ImageHistory } from '../../test/replication/image-histories.ts'
import { ByteBudget } from '../lib/byte-budget.ts'
import { MemoryObjectStore } from '../lib/object-store/memory.ts'
import { listLtx } from './ltx-store.ts'
import { wholeFileBytesMax } from './plan-restore.ts'
import { restoreDatabase } from './restore.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const restoresCount = 6
const slotsCount = 5
const fileBytesMin = 400 << 10

test('restores at once share a budget', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'pf-budget-'))
  const store = new MemoryObjectStore()
  const histories: ImageHistory[] = []
  try {
    for (let at = 0; at < restoresCount; at++) {
      const history = new ImageHistory(store, { prefix: `h${at}` })
      histories.push(history)
      await history.ship((db) => {
        db.run('CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)')
        for (let row = 0; row < 250; row++) db.run('INSERT INTO t (v) VALUES (randomblob(2000))')
      })
      for (let slot = 1; slot < slotsCount; slot++)
        await history.ship((db) => db.run('UPDATE t SET v = randomblob(2000)'))
    }
    const sizes = histories.flatMap((history) => history.sizes)
    expect(Math.min(...sizes)).toBeGreaterThan(fileBytesMin)
    expect(Math.max(...sizes)).toBeLessThan(wholeFileBytesMax)
    const budgetBytes = 2 * Math.max(...sizes)
    const budget = new ByteBudget(budgetBytes)

    let [inFlight, most] = [0, 0]
    let failing: string | null = null
    const get = store.get.bind(store)
    store.get = async (key, options) => {
      const bytes = await get(key, options)
      inFlight += bytes.length
      most = Math.max(most, inFlight)
      await new Promise((resolve) => setImmediate(resolve)) // others ask meanwhile
      inFlight -= bytes.length
      if (failing !== null && key.startsWith(failing)) throw new Error('the store is out')
      return bytes
    }
    const restore = async (history: ImageHistory, at: number) => {
      const path = join(dir, `${at}.db`)
      const files = await listLtx(history.at)
      await restoreDatabase(history.at, path, { target: null, files, readsWhole: true, budget })
      expect(sha256(readFileSync(path))).toBe(sha256(history.images.at(-1)!))
    }
    await Promise.all(histories.map(restore))
    expect(most).toBeLessThanOrEqual(budgetBytes)
    expect(most).toBeGreaterThan(fileBytesMin)
    expect(budget.free).toBe(budgetBytes)

    failing = 'h2/'
    const ends = await Promise.allSettled(histories.map(restore))
    expect(ends.map(({ status }) => status === 'rejected')).toEqual(histories.map((_, at) => at === 2))
    // What the failed one had asked for in advance comes and goes by itself.
    while (budget.free < budgetBytes) await new Promise((resolve) => setImmediate(resolve))
  } finally {
    for (const history of histories) history[Symbol.dispose]()
    rmSync(dir, { recursive: true, force: true })
  }
})
