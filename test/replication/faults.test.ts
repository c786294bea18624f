// Goal: whatever the store does to requests, an acknowledged write is in it, or on the standby, or within the bound.
// Method: a real S3 server behind a proxy that delays, refuses, lies and breaks; owners as processes that are killed.
// SEED=… replays; `test:long faults` runs 2,000 rounds.

import { expect } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemRng } from '../../src/lib/rng.ts'
import { runFaultRounds } from '../support/fault-rounds.ts'
import { startMinio } from '../support/minio.ts'
import { testWithPeers } from '../support/peers.ts'

const rounds = 32
const seed = Number(process.env['SEED'] ?? systemRng.below(1_000_000))

testWithPeers(
  ['minio'],
  `no acknowledged write is lost in ${rounds} lives of owners with a failing store (SEED=${seed})`,
  async ({ minio }) => {
    const dir = mkdtempSync(join(tmpdir(), 'pf-minio-'))
    try {
      await using server = await startMinio(minio, dir)
      const report = await runFaultRounds({ minio: server, seed, rounds, lanes: 2 })
      expect(report.acknowledged).toBeGreaterThan(rounds)
      console.log(JSON.stringify(report))
    } finally {
      rmSync(dir, { recursive: true, force: true })
    }
  },
  180_000,
)
