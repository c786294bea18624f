// Goal: upkeep in a process of its own does what it does in ours, outlives its process being killed, says what went wrong,
// and leaves no process behind. Method: the real process over a directory as store.

import { expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Txid } from '../../src/lib/brand.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { openObjectStore } from '../../src/lib/object-store/open.ts'
import { listLtx } from '../../src/replicate/ltx-store.ts'
import { defaultRetention } from '../../src/replicate/retention.ts'
import { UpkeepProcess } from '../../src/replicate/upkeep-process.ts'
import { isAlive } from '../support/processes.ts'
import { until } from '../support/wait.ts'
import { Owner, prefix, restoredHash } from './histories.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

test('a process merges, is killed and merges on, and ends when it is closed', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'pf-upkeep-'))
  const objectStore = { kind: 'file', dir: join(dir, 'objects') } as const
  const config = { objectStore, scratchDir: join(dir, 'scratch'), bytesPerSecond: 1 << 30, policy: defaultRetention }
  const runner = new UpkeepProcess(config, { clock: systemClock })
  try {
    const store = await openObjectStore(objectStore)
    await using owner = await Owner.create(store, { runner })
    expect(runner.pid).toBeNull() // nothing to do, nobody there
    const fill = async (upTo: number) => {
      while (owner.shipper.txid < upTo) {
        await owner.insert('x'.repeat(5_000))
        await owner.flush()
      }
      await owner.kept()
    }
    await fill(20)
    const first = runner.pid!
    expect(isAlive(first)).toBe(true)
    expect((await listLtx(owner.at)).filter(({ level }) => level === 1)).toHaveLength(1)

    process.kill(first, 'SIGKILL')
    await fill(60)
    expect(runner.pid).not.toBe(first)
    expect((await listLtx(owner.at)).filter(({ level }) => level === 1).length).toBeGreaterThan(2)
    expect(await restoredHash(owner.at, null)).toBe(owner.hash())

    const missing = {
      level: 0,
      minTxid: 1 as Txid,
      maxTxid: 1 as Txid,
      sizeBytes: 9,
      timestampMs: null,
      checksum: null,
    }
    const failing = runner.merge(`${prefix}x`, { level: 1, inputs: [missing] })
    await expect(failing).rejects.toMatchObject({ code: 'object_not_found' })
    const { retained } = await runner.retain(prefix, { candidates: null, restoreMsMax: 0 })
    expect(retained.txid).toBe(owner.shipper.txid)

    expect(runner.totals).toMatchObject({ filesDeleted: 0, failures: 1 })
    expect(runner.totals.merges).toBeGreaterThan(2)

    const last = runner.pid!
    runner.close()
    await until('the process to be gone', () => !isAlive(last))
    await expect(runner.retain(prefix, { candidates: null, restoreMsMax: 0 })).rejects.toMatchObject({
      code: 'upkeep_ended',
    })
  } finally {
    runner.close()
    rmSync(dir, { recursive: true, force: true })
  }
})
