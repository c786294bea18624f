// Goal: whatever page size, life and ack mode, every state is restored byte for byte by us and by the official programs.
// Method: `matrix.ts`, its small cells; `bun run test:long matrix` runs all of them at every TXID, and the large ones.

import { afterAll, beforeAll, setDefaultTimeout } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Minio, startMinio } from '../support/minio.ts'
import { peer, testWithPeers } from '../support/peers.ts'
import { acks, type Cell, nameOf, pageSizes, runCell, workloads } from './matrix.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const seed = Number(process.env['SEED'] ?? 100)
const effort = { txidsMax: 3, timesMax: 2 }
const dir = mkdtempSync(join(tmpdir(), 'pf-matrix-minio-'))
let server: Minio | null = null
beforeAll(async () => {
  const path = peer('minio')
  if (path !== null) server = await startMinio(path, dir)
}, 180_000)
afterAll(async () => {
  await server?.stop()
  rmSync(dir, { recursive: true, force: true })
})

const cells: Cell[] = [
  { pageSize: 512, size: 'empty', workload: 'plain', ack: 'sync' },
  { pageSize: 65_536, size: 'page', workload: 'plain', ack: 'async' },
]
for (const [i, pageSize] of pageSizes.entries())
  for (const [j, workload] of workloads.entries())
    cells.push({ pageSize, size: 'small', workload, ack: acks[(2 * i + j) % acks.length]! })

for (const [i, cell] of cells.entries())
  testWithPeers(['litestream', 'ltx'], `directory: ${nameOf(cell)} (SEED=${seed})`, async ({ litestream, ltx }) => {
    await runCell(cell, {
      seed: seed + i,
      stepsCount: 6,
      effort,
      peers: { litestream, ltx, minio: null },
      server: null,
    })
  })

for (const [i, pageSize] of pageSizes.entries()) {
  const cell: Cell = { pageSize, size: 'small', workload: workloads[i]!, ack: 'sync' }
  testWithPeers(['litestream', 'ltx', 'minio'], `MinIO: ${nameOf(cell)} (SEED=${seed})`, async (peers) => {
    await runCell(cell, { seed: seed + 50 + i, stepsCount: 4, effort: { txidsMax: 2, timesMax: 1 }, peers, server })
  })
}
