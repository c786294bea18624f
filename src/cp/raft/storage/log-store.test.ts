// Goal: both stores keep what they were told, in order and across a reopening; a damaged record is an error, never a
// shorter log.

import { afterAll, afterEach, describe, expect, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { utf8 } from '../../../lib/bytes.ts'
import { Batch } from '../../rocks/batch.ts'
import { openRocksDb, type RocksDb } from '../../rocks/db.ts'
import type { Entry, Index, MemberId, SnapshotMeta, Term } from '../core/types.ts'
import type { LogStore } from './log-store.ts'
import { MemoryLogStore } from './memory-log-store.ts'
import { entryKey, entryRecords } from './records.ts'
import { RocksLogStore } from './rocks-log-store.ts'

const opened: RocksDb[] = []
afterEach(async () => {
  for (const db of opened.splice(0)) await db.close()
})
const root = mkdtempSync(join(tmpdir(), 'pf-log-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))
const open = async (dir = mkdtempSync(join(root, 'log-'))) => {
  const db = await openRocksDb(dir)
  opened.push(db)
  return { db, dir }
}

const entry = (index: number, term: number, text = `e${index}`): Entry => ({
  index: index as Index,
  term: term as Term,
  payload: { type: 'command', data: utf8(text) },
})
const base = (index: number): SnapshotMeta => ({
  index: index as Index,
  term: 1 as Term,
  membership: { voters: ['a' as MemberId], outgoing: [], learners: [] },
})
const hardState = { term: 3 as Term, votedFor: 'a' as MemberId }
const begin = { hardState, entries: [], base: base(0) }
const append = (...entries: Entry[]) => ({ hardState: null, entries, base: null })

const stores: Record<string, () => Promise<LogStore>> = {
  memory: async () => new MemoryLogStore(),
  rocksdb: async () => new RocksLogStore((await open()).db),
}

for (const [name, make] of Object.entries(stores)) {
  describe(name, () => {
    test('replaces a tail and forgets a head', async () => {
      const store = await make()
      expect(await store.load()).toBeNull()
      await store.write([begin, append(entry(1, 1), entry(2, 1), entry(3, 1))])
      await store.write([append(entry(2, 2)), append(entry(3, 2), entry(4, 2))])
      await store.write([append(entry(3, 3))])
      expect(await store.load()).toEqual({
        hardState,
        base: base(0),
        entries: [entry(1, 1), entry(2, 2), entry(3, 3)],
      })
      await store.write([{ hardState: null, entries: [], base: base(2) }])
      expect(await store.load()).toEqual({ hardState, base: base(2), entries: [entry(3, 3)] })
      await store.write([{ hardState: null, entries: [], base: base(9) }, append(entry(10, 4))])
      expect((await store.load())!.entries).toEqual([entry(10, 4)])
    })
  })
}

test('a changed byte, a cut record and a hole are each told', async () => {
  for (const damage of ['flip', 'cut', 'hole'] as const) {
    const { db, dir } = await open()
    await new RocksLogStore(db).write([begin, append(entry(1, 1), entry(2, 1), entry(3, 1))])
    const batch = new Batch()
    const record = entryRecords.encode(entry(2, 1))
    if (damage === 'flip') record[8]! ^= 1
    if (damage === 'hole') batch.delete(entryKey(2))
    else batch.put(entryKey(2), damage === 'cut' ? record.subarray(0, record.length - 1) : record)
    await db.write(batch, { sync: true })
    await db.close()
    const again = await open(dir)
    await expect(new RocksLogStore(again.db).load()).rejects.toMatchObject({ code: 'raft_log_corrupt' })
  }
})

test('records have their golden bytes', () => {
  expect(Buffer.from(entryRecords.encode(entry(5, 2, 'hi'))).toString('hex')).toBe('419d643301050201026869')
})
