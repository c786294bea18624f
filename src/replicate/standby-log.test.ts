// Goal: all databases together hold no more than the node allows, those with much are refused before those with little, and
// what is let go makes room again, across restarts too. Method: real folders, small bounds.

import { afterAll, expect, test } from 'bun:test'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Txid } from '../lib/brand.ts'
import { StandbyLogs } from './standby-log.ts'

const root = mkdtempSync(join(tmpdir(), 'pf-standby-log-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))

const writer = { epoch: 1, incarnation: 1 }
const mebi = 1 << 20
/** Of all databases of a test, bytes. */
const bytesMax = 16 * mebi
/** Of one unit, so that 100 of them are a little more than 10 MiB. */
const unitBytes = 0.1 * mebi

/** Appends units until one is refused. @returns how many were stored. */
async function fill(logs: StandbyLogs, id: string, unitsMax: number): Promise<number> {
  await logs.promise(id, writer)
  for (let n = 0; n < unitsMax; n++) {
    const unit = { seq: 2 + n, chainSeq: 2, baseTxid: 1 as Txid, bytes: new Uint8Array(unitBytes) }
    const outcome = await logs.append(id, writer, unit)
    if (outcome === 'full') return n
    expect(outcome).toBe('stored')
  }
  return unitsMax
}

test('one with much leaves room for many with little, and none goes beyond the bound', async () => {
  const logs = StandbyLogs.open(join(root, 'fair'), bytesMax)
  expect(await fill(logs, 'large', 1_000)).toBe(159) // alone, all of it is its part
  expect(logs.refusals).toBe(1)
  expect(logs.heldBytes).toBeLessThanOrEqual(bytesMax)
  await logs.release('large', writer)
  expect(logs.heldBytes).toBe(0)

  expect(await fill(logs, 'small0', 5)).toBe(5)
  const large = await fill(logs, 'large', 1_000)
  expect(large * unitBytes).toBeLessThanOrEqual(bytesMax / 2) // its part of two
  for (let n = 1; n < 8; n++) expect(await fill(logs, `small${n}`, 9)).toBe(9)
  expect(logs.heldBytes).toBeLessThanOrEqual(bytesMax)
})

test('what an earlier process held counts, and is let go as anything else', async () => {
  const dir = join(root, 'restart')
  const before = StandbyLogs.open(dir, bytesMax)
  await fill(before, 'a', 30)
  const after = StandbyLogs.open(dir, bytesMax)
  expect(after.heldBytes).toBe(before.heldBytes)
  expect(await fill(after, 'b', 1_000)).toBeLessThanOrEqual(80)
  await after.release('a', writer)
  await after.release('b', writer)
  expect(after.heldBytes).toBe(0)
  expect(StandbyLogs.open(dir, bytesMax).heldBytes).toBe(0)
})

test('what somebody else has put there is no database, and the node starts', async () => {
  const dir = join(root, 'strange')
  await fill(StandbyLogs.open(dir, bytesMax), 'a', 3)
  writeFileSync(join(dir, 'notes'), 'a file')
  mkdirSync(join(dir, 'lost+found'))
  writeFileSync(join(dir, 'lost+found', '1-1-2.chain'), 'not of a database')
  const logs = StandbyLogs.open(dir, bytesMax)
  await logs.release('a', writer)
  expect(logs.heldBytes).toBe(0)
})

test('a chain that starts anew takes the place of the one before', async () => {
  const logs = StandbyLogs.open(join(root, 'anew'), bytesMax)
  await fill(logs, 'a', 30)
  const unit = { seq: 40, chainSeq: 40, baseTxid: 2 as Txid, bytes: new Uint8Array(9) }
  expect(await logs.append('a', writer, unit)).toBe('stored')
  expect(logs.heldBytes).toBeLessThan(1_000)
  expect(StandbyLogs.open(join(root, 'anew'), bytesMax).heldBytes).toBe(logs.heldBytes)
})
