// `bun run bench replication`: side by side with official Litestream, the same data and the same stores in one run. Where
// Litestream or MinIO is not installed, its figures are left out.

import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { peerVersions } from '../../test/support/peers.ts'
import { type Figure, renderFigures, storeReport } from '../report.ts'
import { benchCapture, benchSyncAck } from './capture-bench.ts'
import { benchMove } from './move-bench.ts'
import { benchColdOpen, benchRestore, type RestoreSize } from './restore-bench.ts'
import { benchLag, benchMany, benchRequests, benchThroughput, type ManySize } from './ship-bench.ts'
import { type BenchStore, directoryStore, minioStore } from './stores.ts'
import { renderAims } from './table.ts'

const sharedMemory = '/dev/shm'

export interface ReplicationSize {
  readonly restores: readonly RestoreSize[]
  readonly coldOpens: number
  readonly loadBytes: number
  readonly captureBytes: number
  readonly acks: number
  readonly ticks: number
  readonly requestsMs: number
  readonly many: ManySize
  readonly move: { readonly sizeBytes: number; readonly moves: number }
}

export const fullReplication: ReplicationSize = {
  restores: [
    { name: '1 MB', sizeBytes: 1e6, rounds: 5 },
    { name: '100 MB', sizeBytes: 100e6, rounds: 3 },
    { name: '1 GB', sizeBytes: 1e9, rounds: 2 },
  ],
  coldOpens: 40,
  loadBytes: 200e6,
  captureBytes: 64e6,
  acks: 500,
  ticks: 400,
  requestsMs: 30_000,
  many: { openCount: 1_000, closedCount: 10_000, theirCount: 1_000 },
  move: { sizeBytes: 100e6, moves: 9 },
}
export const smokeReplication: ReplicationSize = {
  restores: [{ name: '1 MB', sizeBytes: 1e6, rounds: 1 }],
  coldOpens: 1,
  loadBytes: 2e6,
  captureBytes: 2e6,
  acks: 3,
  ticks: 3,
  requestsMs: 500,
  many: { openCount: 2, closedCount: 3, theirCount: 2 },
  move: { sizeBytes: 1e6, moves: 2 },
}

/** Ten thousand databases and their objects need no disk to show what memory they take, and would wait for it for minutes. */
async function inMemory(body: (dir: string, store: BenchStore) => Promise<Figure[]>): Promise<Figure[]> {
  const dir = mkdtempSync(join(existsSync(sharedMemory) ? sharedMemory : tmpdir(), 'pf-bench-many-'))
  try {
    await using store = await directoryStore(join(dir, 'objects'))
    return await body(dir, store)
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

/** Runs all of it, prints the figures and the table of aims, and stores both. */
export async function runReplication(): Promise<void> {
  const startedAt = new Date()
  const figures = await benchReplication(fullReplication)
  console.log(renderFigures(figures))
  const path = storeReport('replication', startedAt, figures)
  const commit = path.slice(path.lastIndexOf('-') + 1, -'.json'.length)
  const machine = `${cpus().length} cores of ${cpus()[0]?.model ?? 'an unknown processor'}`
  const litestream = peerVersions()['litestream'] ?? 'of an unknown version'
  const table = renderAims(figures, { commit, machine, litestream })
  const markdown = path.replace(/json$/, 'md')
  writeFileSync(markdown, table)
  console.log(table)
  console.log(`stored ${path} and ${markdown}`)
}

export async function benchReplication(size: ReplicationSize): Promise<Figure[]> {
  const dir = mkdtempSync(join(tmpdir(), 'pf-bench-replication-'))
  const figures: Figure[] = [{ name: 'cores shared by all programs', value: cpus().length, unit: 'cores' }]
  const restores = async (store: BenchStore) => {
    for (const each of size.restores) figures.push(...(await benchRestore(dir, store, each)))
    figures.push(...(await benchColdOpen(dir, store, size.coldOpens)))
  }
  try {
    await using directory = await directoryStore(join(dir, 'objects'))
    figures.push(...(await benchCapture(dir, size.captureBytes)))
    figures.push(...(await benchThroughput(dir, directory, size.loadBytes)))
    figures.push(...(await benchSyncAck(dir, directory, size.acks)))
    figures.push(...(await benchLag(dir, directory, size.ticks)))
    figures.push(...(await inMemory((folder, store) => benchMany(folder, store, size.many))))
    figures.push(...(await benchMove(size.move)))
    await restores(directory)
    await using minio = await minioStore(join(dir, 'minio'))
    if (minio === null) return figures
    figures.push(...(await benchSyncAck(dir, minio, size.acks)))
    figures.push(...(await benchRequests(dir, minio, size.requestsMs)))
    await restores(minio)
    return figures
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}
