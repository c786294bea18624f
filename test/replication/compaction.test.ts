// Goal: merged files shorten restores and change nothing that is restored, by us and by official litestream.

import { expect, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Txid } from '../../src/lib/brand.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { MemoryObjectStore } from '../../src/lib/object-store/memory.ts'
import { openObjectStore } from '../../src/lib/object-store/open.ts'
import { seededRng } from '../../src/lib/rng.ts'
import { mergeFactor, mergeFiles, mergesEndingAt } from '../../src/replicate/compaction.ts'
import { LtxMerger } from '../../src/replicate/ltx/merge.ts'
import { type HistoryLocation, listLtx, ltxKey } from '../../src/replicate/ltx-store.ts'
import { rollBackTo } from '../../src/replicate/point-in-time.ts'
import { planOrThrow } from '../../src/replicate/restore.ts'
import { testWithPeers } from '../support/peers.ts'
import { until } from '../support/wait.ts'
import { deadlineMs, Owner, prefix, restoredHash, sha256 } from './histories.ts'

/** Grows and shrinks; returns the hash at each TXID. */
async function writeSlots(owner: Owner, count: number): Promise<Map<Txid, string>> {
  const rng = seededRng(5)
  const hashes = new Map<Txid, string>()
  while (owner.shipper.txid < count) {
    await owner.db.transaction(() => {
      if (rng.below(5) === 0) owner.db.run('DELETE FROM t WHERE id % 3 = 0')
      owner.db.run('INSERT INTO t (v) VALUES (?)', [rng.bytes(1 + rng.below(20_000))])
    })
    await owner.flush()
    hashes.set(owner.shipper.txid, owner.hash())
  }
  return hashes
}

async function merged(at: HistoryLocation, level: number, count: number): Promise<void> {
  await until(
    `${count} files of level ${level}`,
    async () => (await listLtx(at)).filter((file) => file.level === level).length === count,
    deadlineMs,
  )
}

test('when merges are due', () => {
  expect(mergesEndingAt(63 as Txid)).toEqual([])
  expect(mergesEndingAt(128 as Txid)).toEqual([{ level: 1, minTxid: 65 as Txid, maxTxid: 128 as Txid }])
  expect(mergesEndingAt(4_096 as Txid).map((merge) => [merge.level, merge.minTxid])).toEqual([
    [1, 4_033 as Txid],
    [2, 1 as Txid],
  ])
})

test('every TXID restores as before; the newest from few files; a lost input leaves a merge out', async () => {
  const store = new MemoryObjectStore()
  await using owner = await Owner.create(store, { autoVacuum: true })
  const hashes = await writeSlots(owner, 135)
  await merged(owner.at, 1, 2)
  const files = await listLtx(owner.at)
  expect(planOrThrow(owner.at, files, null).files.length).toBe(2 + 135 - 128)
  for (const txid of [63, 64, 65, 100, 127, 128, 129, 135]) {
    const hash = hashes.get(txid as Txid)
    expect(await restoredHash(owner.at, txid as Txid)).toBe(hash!)
  }
  // The merge alone is the database at its end, so the slots under it could go.
  await store.delete(
    files.filter((file) => file.level === 0 && file.maxTxid <= 128).map((file) => ltxKey(owner.at, file)),
  )
  expect(await restoredHash(owner.at, null)).toBe(owner.hash())
  const again = { level: 1, minTxid: 1 as Txid, maxTxid: mergeFactor as Txid }
  expect(await mergeFiles(owner.at, again, new AbortController().signal)).toBe(false)
})

test('a long history is opened with few requests, and with a complete listing where levels leave a gap', async () => {
  const store = new MemoryObjectStore()
  await using owner = await Owner.create(store)
  while (owner.shipper.txid < 1_100) {
    await owner.insert('v')
    await owner.flush()
  }
  await merged(owner.at, 1, 17)
  const hash = owner.hash()
  const early = await restoredHash(owner.at, 130 as Txid)
  const requests = store.requestCount
  await using heir = await Owner.open(store, 2)
  expect(heir.hash()).toBe(hash)
  // A first page, one of each level, the merges, the slots behind them, tail and seal.
  expect(store.requestCount - requests).toBe(1 + 10 + 17 + 12 + 2)

  // Level 1 from 1,000 on, as official levels may lie: it overlaps with level 9, and the slots under it are gone.
  const files = await listLtx(owner.at)
  const merger = new LtxMerger()
  for (const file of planOrThrow(owner.at, files, 900 as Txid).files)
    merger.add(await store.get(ltxKey(owner.at, file)))
  const image = { level: 9, minTxid: 1 as Txid, maxTxid: 900 as Txid }
  await store.put(ltxKey(owner.at, image), merger.finish().file.bytes)
  const covered = files.filter((file) => file.level === 0 && file.minTxid > 896 && file.maxTxid <= 960)
  await store.delete(covered.map((file) => ltxKey(owner.at, file)))
  await using last = await Owner.open(store, 3)
  expect(last.hash()).toBe(hash)

  // What the newest state does not need is listed for an older one.
  const scratchPath = join(last.dir, 'scratch.db')
  const back = await rollBackTo(last.at, 130 as Txid, { epoch: 4, scratchPath, clock: systemClock, rng: seededRng(4) })
  expect(await restoredHash(last.at, back)).toBe(early)
})

test('a merge that fails disturbs nothing', async () => {
  const store = new MemoryObjectStore()
  await using owner = await Owner.create(store)
  store.fault = (operation, key) =>
    operation === 'put' && key.includes('/0001/') ? { type: 'error', status: 500 } : null
  await writeSlots(owner, 70)
  expect(owner.shipper.failuresInRow).toBe(0)
  expect(await restoredHash(owner.at, null)).toBe(owner.hash())
})

testWithPeers(['litestream', 'ltx'], 'official tools read merged files', async ({ litestream, ltx }) => {
  const dir = mkdtempSync(join(tmpdir(), 'pf-merged-'))
  try {
    const store = await openObjectStore({ kind: 'file', dir })
    await using owner = await Owner.create(store, { autoVacuum: true })
    await writeSlots(owner, 70)
    await merged(owner.at, 1, 1)
    const run = async (command: string[]) => {
      const child = Bun.spawn(command, { stdout: 'pipe', stderr: 'pipe' })
      const [output, errors, code] = await Promise.all([
        new Response(child.stdout).text(),
        new Response(child.stderr).text(),
        child.exited,
      ])
      expect(`${code} ${errors}`).toStartWith('0 ')
      return output
    }
    const [file] = (await listLtx(owner.at)).filter((each) => each.level === 1)
    await run([ltx, 'verify', join(dir, ltxKey(owner.at, file!))])
    const url = `file://${join(dir, prefix)}`
    const plan = await run([litestream, 'restore', '-dry-run', '-json', '-o', join(dir, 'none.db'), url])
    expect(plan).toContain('0000000000000001-0000000000000040')
    await run([litestream, 'restore', '-o', join(dir, 'out.db'), url])
    expect(sha256(await Bun.file(join(dir, 'out.db')).bytes())).toBe(owner.hash())
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
})
