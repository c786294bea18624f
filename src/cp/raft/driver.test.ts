// Goal: the loop answers in order, shares one write among what is proposed together, keeps the log bounded, and stops at
// what it does not understand.

import { afterAll, afterEach, expect, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { registerNode } from '../../../test/support/cluster-rows.ts'
import type { NodeId } from '../../lib/brand.ts'
import { systemClock } from '../../lib/clock.ts'
import { silentLogger } from '../../lib/obs/log.ts'
import { systemRng } from '../../lib/rng.ts'
import { inspectRecords } from '../inspect.ts'
import { openRocksDb } from '../rocks/db.ts'
import type { Outcome } from '../state/apply.ts'
import { commands } from '../state/command.ts'
import { StateStore } from '../state/store.ts'
import type { MemberId } from './core/types.ts'
import { openRaftDriver } from './driver.ts'
import type { LogStore } from './storage/log-store.ts'
import { RocksLogStore } from './storage/rocks-log-store.ts'
import { noTransport } from './transport/transport.ts'

const opened: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close()
})

async function open(dir: string, wrap: (store: LogStore) => LogStore = (store) => store) {
  const db = await openRocksDb(join(dir, 'rocksdb'))
  const machine = new StateStore(db)
  await machine.load()
  const id = 'm1' as MemberId
  const driver = await openRaftDriver<Outcome | null>({
    id,
    voters: [id],
    store: wrap(new RocksLogStore(db)),
    machine,
    transport: noTransport,
    clock: systemClock,
    rng: systemRng,
    log: silentLogger,
  })
  const close = async () => {
    await driver.close()
    await db.close()
  }
  opened.push(close)
  await driver.ready(5_000)
  return { driver, machine, close }
}

const register = (id: string) => commands.encode(registerNode(id as NodeId))
const root = mkdtempSync(join(tmpdir(), 'pf-driver-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))
const folder = () => mkdtempSync(join(root, 'member-'))

test('many proposals share few writes; the log stays bounded; a restart knows all of it', async () => {
  const dir = folder()
  let writes = 0
  const { driver, machine, close } = await open(dir, (store) => ({
    load: () => store.load(),
    write: (changes) => {
      writes++
      return store.write(changes)
    },
  }))
  const before = writes
  await Promise.all(Array.from({ length: 1_000 }, (_, at) => driver.propose(register(`n${at}`))))
  expect(writes - before).toBeLessThan(20)
  for (let round = 0; round < 12; round++)
    await Promise.all(Array.from({ length: 1_000 }, () => driver.propose(register('same'))))
  await driver.read()
  expect([...machine.state.nodes.all()].length).toBe(1_001)
  expect(driver.status.logEntries).toBeLessThan(10_000)
  const { lastIndex } = driver.status
  await close()
  let entries = 0
  for await (const record of inspectRecords(dir, 'r/l/')) {
    expect(record.error).toBeNull()
    entries++
  }
  expect(entries).toBeLessThan(10_000)
  const again = await open(dir)
  expect([...again.machine.state.nodes.all()].length).toBe(1_001)
  expect(again.driver.status.lastIndex).toBeGreaterThan(lastIndex)
})

test('a command of a later version stops the member', async () => {
  const { driver } = await open(folder())
  await expect(driver.propose(new Uint8Array([1, 120]))).rejects.toMatchObject({ code: 'member_stopped' })
  expect(await driver.failed).toMatchObject({ code: 'decode' })
  await expect(driver.propose(register('n1'))).rejects.toMatchObject({ code: 'member_stopped' })
})

test('a disk that fails stops the member; nothing is acknowledged', async () => {
  let isBroken = false
  const { driver, machine } = await open(folder(), (store) => ({
    load: () => store.load(),
    write: (changes) => (isBroken ? Promise.reject(new Error('no space left')) : store.write(changes)),
  }))
  isBroken = true
  await expect(driver.propose(register('n1'))).rejects.toMatchObject({ code: 'member_stopped' })
  expect(machine.state.nodes.get('n1' as NodeId)).toBeUndefined()
})
