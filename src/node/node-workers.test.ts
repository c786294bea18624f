// Goal: there are never more workers for busy tenants than there may be, and each tenant has one owner.
// Method: workers that are started as processes which say nothing, serve, or end at once.

import { afterAll, expect, test } from 'bun:test'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { until } from '../../test/support/wait.ts'
import type { TenantId } from '../lib/brand.ts'
import { systemClock } from '../lib/clock.ts'
import { silentLogger } from '../lib/obs/log.ts'
import { systemRng } from '../lib/rng.ts'
import type { WorkerConfig } from './config.ts'
import { busyWorkersMax, NodeWorkers } from './node-workers.ts'
import { WorkerProcess } from './worker-process.ts'

const started: WorkerProcess[] = []
afterAll(() => {
  for (const worker of started) worker.kill()
})

const silent = ['sleep', '60']
const ends = ['false']
const serves = ['sh', '-c', `echo '{"type":"ready","url":"http://127.0.0.1:1"}'; exec sleep 60`]

/** @param busyCommands of the workers for busy tenants, in their order. */
function setUp(
  options: { readonly ordinary: number; readonly busyMax: number },
  busyCommands: readonly (readonly string[])[] = [],
): NodeWorkers {
  return new NodeWorkers({
    ...options,
    make: (index) => {
      const config = { index, isForBusy: index >= options.ordinary } as WorkerConfig
      const worker = new WorkerProcess(config, {
        clock: systemClock,
        rng: systemRng,
        log: silentLogger,
        onQuestion: async () => null,
        onAddress: () => {},
        onOpened: () => {},
        leaseMsLeft: () => 0,
        command: busyCommands[index - options.ordinary] ?? silent,
      })
      started.push(worker)
      return worker
    },
  })
}

const idOf = (n: number) => `tenant${String(n).padStart(9, '0')}` as TenantId

test('one worker for busy tenants for each four, as far as ports go', () => {
  const of = (workers: number, ports: number | null) =>
    busyWorkersMax({ workers, workerPorts: ports === null ? null : { from: 9_000, to: 9_000 + ports - 1 } })
  expect([of(1, null), of(3, null), of(4, null), of(8, null)]).toEqual([1, 1, 1, 2])
  expect([of(2, 2), of(2, 3), of(8, 9), of(8, 100)]).toEqual([0, 1, 1, 2])
})

test('busy tenants share what workers there may be, and their placement names the worker that they come back to', () => {
  const workers = setUp({ ordinary: 2, busyMax: 2 })
  for (let n = 0; n < 10; n++) workers.assign(idOf(n), workers.busyWorker())
  expect(workers.all.map(({ index }) => index)).toEqual([0, 1, 2, 3])
  const counts = new Map<number, number>()
  for (const { worker } of workers.awayTenants()) counts.set(worker, (counts.get(worker) ?? 0) + 1)
  expect([...counts.values()]).toEqual([5, 5])
  const placed = { tenantId: idOf(0), worker: 5 }
  expect(workers.ownerOf(placed).isForBusy).toBe(true)
  workers.assign(idOf(0), null)
  expect(workers.ownerOf(placed).index).toBe(1)
})

test('a worker for busy tenants that does not start keeps nobody from the others', async () => {
  const workers = setUp({ ordinary: 1, busyMax: 2 }, [ends, serves])
  const broken = workers.busyWorker()
  expect(workers.busyWorker()).toBe(broken) // it may only be starting
  await until('it to have ended', () => broken.restarts > 0)
  const other = workers.busyWorker()
  expect(other).not.toBe(broken)
  await until('the other one', () => other.url !== null)
  for (let n = 0; n < 5; n++) {
    workers.assign(idOf(n), other)
    expect(workers.busyWorker()).toBe(other)
  }
  expect(workers.all.length).toBe(3)
})

test('a node that had such a worker before starts it again', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'pf-workers-'))
  try {
    writeFileSync(join(dir, 'worker-1.lock'), '')
    const workers = setUp({ ordinary: 1, busyMax: 1 })
    void workers.start(dir) // the ordinary one never says that it serves
    expect(workers.all.map(({ isForBusy }) => isForBusy)).toEqual([false, true])
    const fresh = setUp({ ordinary: 2, busyMax: 1 })
    void fresh.start(dir)
    expect(fresh.all.length).toBe(2)
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
})
