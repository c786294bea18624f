// Goal: whatever process dies, every acknowledged write is there afterwards; with a lost disk, all but the last moments.
// Method: random SIGKILLs under load, judged by a journal outside the fleet. SEED=… replays; test:long runs 200 rounds.

import { expect, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemRng } from '../../src/lib/rng.ts'
import { runCrashRounds } from '../support/crash-rounds.ts'

const rounds = 20
const seed = Number(process.env['SEED'] ?? systemRng.below(1_000_000))

test(`no acknowledged write is lost in ${rounds} crashes (SEED=${seed})`, async () => {
  const dir = mkdtempSync(join(tmpdir(), 'pf-crash-'))
  try {
    const report = await runCrashRounds({ dir, seed, rounds })
    expect(report.acknowledged).toBeGreaterThan(rounds)
    console.log(JSON.stringify(report))
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}, 420_000)
