// `bun run test:long [name …]`: the long rounds, which the test command only samples. Each stores its seed, commit and
// result under `bench/results/`.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Figure, storeReport } from '../bench/report.ts'
import { differ } from '../test/differential/differ.ts'
import { findPlanted, plantedCount } from '../test/differential/planted.ts'
import { allCells, runMatrix } from '../test/replication/matrix.ts'
import { simulateReplication } from '../test/sim/replication/simulation.ts'
import { runCrashRounds } from '../test/support/crash-rounds.ts'
import { runFaultRounds } from '../test/support/fault-rounds.ts'
import { runHostileRequests } from '../test/support/hostile-requests.ts'
import { watchIdleTenants } from '../test/support/idle-tenants.ts'
import { startMinio } from '../test/support/minio.ts'
import { peer } from '../test/support/peers.ts'
import { runQuorumPairs } from '../test/support/quorum-pairs.ts'
import { runSplitBrain } from '../test/support/split-brain.ts'

/** A world of the differential test: its schema and records cost as much as some hundred requests. */
const requestsPerWorld = 250

/** Steps of one simulated history: enough for some dozen slots, crashes and merges. */
const stepsPerSimulation = 600

interface LongTest {
  readonly about: string
  run(seed: number, rounds: number, onRound: (line: string) => void): Promise<unknown>
  readonly rounds: number
}

const longTests: Readonly<Record<string, LongTest>> = {
  crash: {
    about: 'random SIGKILLs of a fleet under load, with and without the loss of its disk',
    rounds: 200,
    async run(seed, rounds, onRound) {
      const dir = mkdtempSync(join(tmpdir(), 'pf-crash-long-'))
      try {
        return await runCrashRounds({ dir, seed, rounds, onRound })
      } finally {
        rmSync(dir, { recursive: true, force: true })
      }
    },
  },
  faults: {
    about: 'owners that are killed while an S3 server fails them, by modes of acknowledgement',
    rounds: 2_000,
    async run(seed, rounds, onRound) {
      const binary = peer('minio')
      if (binary === null) throw new Error('missing peer: minio; .ci/peers installs it')
      const dir = mkdtempSync(join(tmpdir(), 'pf-faults-long-'))
      try {
        await using minio = await startMinio(binary, dir)
        return await runFaultRounds({ minio, seed, rounds, lanes: 3, onRound })
      } finally {
        rmSync(dir, { recursive: true, force: true })
      }
    },
  },
  'split-brain': {
    about: 'two owners of one tenant: one paused, cut off, unheard or late',
    rounds: 200,
    run: (seed, rounds, onRound) => runSplitBrain({ seed, rounds, onRound }),
  },
  'quorum-pairs': {
    about: 'the owner of a quorum tenant and one of its three standbys die at once, with their disks',
    rounds: 50,
    run: (seed, rounds, onRound) => runQuorumPairs({ seed, rounds, onRound }),
  },
  differential: {
    about: 'requests of random worlds to us and to PocketBase, 250 a world, whose answers must agree',
    rounds: 10_000,
    async run(seed, rounds, onRound) {
      const binary = peer('pocketbase')
      if (binary === null) throw new Error('missing peer: pocketbase; .ci/peers installs it')
      const differences: unknown[] = []
      for (let sent = 0; sent < rounds; sent += requestsPerWorld) {
        const world = seed + sent / requestsPerWorld
        const outcome = await differ(binary, world, requestsPerWorld)
        for (const difference of outcome.differences) differences.push({ world, difference })
        onRound(
          `SEED=${world}: ${outcome.differences.length} differences, ${sent + requestsPerWorld}/${rounds} requests`,
        )
      }
      if (differences.length > 0) throw new Error(JSON.stringify(differences.slice(0, 20)))
      return { requests: rounds, differences: 0 }
    },
  },
  planted: {
    about: 'bugs that are planted into our source, one at a time, each of which the differential test must find',
    rounds: plantedCount,
    run(seed, rounds, onRound) {
      const binary = peer('pocketbase')
      if (binary === null) throw new Error('missing peer: pocketbase; .ci/peers installs it')
      return findPlanted(binary, { seed, rounds, onRound })
    },
  },
  hostile: {
    about: 'requests made of bytes, escapes and half a grammar, in every place that takes input',
    rounds: 30_000,
    run: (seed, rounds, onRound) => runHostileRequests({ seed, rounds, onRound }),
  },
  matrix: {
    about:
      'page sizes, sizes up to 1.1 GiB, workloads and ack modes; every state restored by us and by the official tool',
    rounds: allCells().length,
    async run(seed, rounds, onRound) {
      const [litestream, ltx] = [peer('litestream'), peer('ltx')]
      if (litestream === null || ltx === null) throw new Error('missing peer: litestream, ltx; .ci/peers installs them')
      return runMatrix({ seed, rounds, onRound, peers: { litestream, ltx, minio: peer('minio') } })
    },
  },
  simulation: {
    about: 'histories under writes, merges, deletions, restores, takeovers and crashes at once, each a seed',
    rounds: 2_000,
    async run(seed, rounds, onRound) {
      const total: Record<string, number> = {}
      for (let round = 0; round < rounds; round++) {
        const { seed: _, ...counts } = await simulateReplication(seed + round, stepsPerSimulation)
        for (const [name, count] of Object.entries(counts)) total[name] = (total[name] ?? 0) + count
        if ((round + 1) % 100 === 0) onRound(`${round + 1}/${rounds}: ${JSON.stringify(total)}`)
      }
      return total
    },
  },
  idle: {
    about: 'tenants that were written to and left alone for two minutes; a minute of their store is watched',
    rounds: 1_000,
    async run(_seed, tenants, onStep) {
      const dir = mkdtempSync(join(tmpdir(), 'pf-idle-long-'))
      try {
        const times = { idleMs: 60_000, restMs: 120_000, watchMs: 60_000 }
        const outcome = await watchIdleTenants({ dir, tenants, ...times, onStep })
        const requests = Object.values(outcome.requestsWatched).reduce((sum, count) => sum + count, 0)
        if (requests > 0 || outcome.tenantDescriptors > 0 || outcome.answered !== outcome.asked)
          throw new Error(JSON.stringify(outcome))
        return outcome
      } finally {
        rmSync(dir, { recursive: true, force: true })
      }
    },
  },
}

const args = process.argv.slice(2)
const asked = args.filter((arg) => !arg.startsWith('--'))
// Anything but a count would run no round at all, and pass.
const roundsFlag = args.find((arg) => /^--rounds=[1-9]\d{0,8}$/.test(arg))?.slice('--rounds='.length)
const unknown = args.find((arg) => !(arg in longTests) && arg !== '--help' && arg !== `--rounds=${roundsFlag}`)
if (unknown !== undefined || args.includes('--help')) {
  if (unknown !== undefined) console.error(`unknown test or option ${unknown}`)
  console.log('usage: bun run test:long [name …] [--rounds=N]      SEED=N replays')
  for (const [name, { about, rounds }] of Object.entries(longTests))
    console.log(`  ${name}  ${rounds} rounds: ${about}`)
  process.exit(unknown === undefined ? 0 : 2)
}
let failed = 0
const names = asked.length > 0 ? asked : Object.keys(longTests)
for (const name of names) {
  const { run, rounds: defaultRounds } = longTests[name]!
  const rounds = roundsFlag === undefined ? defaultRounds : Number(roundsFlag)
  const seed = Number(process.env['SEED'] ?? Date.now() % 1_000_000)
  console.log(`${name}: ${rounds} rounds, SEED=${seed}`)
  const startedAt = new Date()
  const startedAtMs = performance.now()
  const figure = (passed: boolean): Figure[] => [
    { name: 'rounds', value: rounds, unit: 'rounds' },
    { name: 'passed', value: passed ? 1 : 0, unit: 'boolean' },
    { name: 'time', value: Math.round((performance.now() - startedAtMs) / 1_000), unit: 's' },
  ]
  try {
    const result = await run(seed, rounds, (line) => console.log(`  ${line}`))
    console.log(`${name} passed: ${JSON.stringify(result)}`)
    console.log(`stored ${storeReport(`long-${name}`, startedAt, figure(true), { seed, result })}`)
  } catch (error) {
    failed++
    const message = error instanceof Error ? error.message : String(error)
    console.error(`${name} failed: ${message}`)
    storeReport(`long-${name}`, startedAt, figure(false), { seed, error: message.slice(0, 10_000) })
  }
}
console.log(`${names.length - failed} passed, ${failed} failed`)
process.exit(failed === 0 ? 0 : 1)
