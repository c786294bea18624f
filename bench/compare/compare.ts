// Side by side with PocketBase: the same data, the same requests, one run. Rounds go around the contestants (theirs,
// direct, fleet, theirs, …) and the median round counts, so that noise on the machine hits all of them alike.

import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { programCommand } from '../../test/support/fleet.ts'
import { peer } from '../../test/support/peers.ts'
import { encodeRequest, type LoadReport, load } from '../load/http-load.ts'
import type { Figure } from '../report.ts'
import {
  type Contestant,
  cpuMs,
  killChildren,
  ourCommand,
  pinned,
  residentBytes,
  startContestants,
  startServer,
  theirCommand,
} from './contestants.ts'
import { type FixtureSize, makeFixture } from './fixture.ts'
import { runFanOut } from './realtime.ts'
import { answerOf, memberTokens, type Scenario, scenarios, setUp } from './scenarios.ts'

export interface CompareSize extends FixtureSize {
  readonly rounds: number
  readonly durationMs: number
  /** Before the first round of a scenario, at each contestant. */
  readonly warmUpMs: number
  /** After a scenario that writes: what is under way behind an answer (log, replication) ends. */
  readonly settleMs: number
  readonly realtimeClients: number
  readonly starts: number
  /** Once more with each server on one core of its own, and the load on another. */
  readonly isPinned: boolean
}

export const fullCompare: CompareSize = {
  posts: 10_000,
  manyPosts: 100_000,
  members: 1_000,
  threads: 24_000,
  rounds: 3,
  durationMs: 1_200,
  warmUpMs: 500,
  settleMs: 700,
  realtimeClients: 1_000,
  starts: 9,
  isPinned: true,
}
export const quickCompare: CompareSize = { ...fullCompare, durationMs: 700, warmUpMs: 300, starts: 3, isPinned: false }
export const smokeCompare: CompareSize = {
  posts: 40,
  manyPosts: 60,
  members: 20,
  threads: 90,
  rounds: 1,
  durationMs: 60,
  warmUpMs: 20,
  settleMs: 0,
  realtimeClients: 3,
  starts: 1,
  isPinned: false,
}

export type Via = Contestant['name']

export interface Measured {
  readonly perSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** Cores that the server used while it was measured. */
  readonly cores: number
  readonly generatorCpu: number
}

export interface ComparedRow {
  readonly name: string
  readonly unit: string
  readonly target: number
  readonly why: string | null
  readonly by: Readonly<Partial<Record<Via, Measured>>>
}

export interface Comparison {
  readonly rows: readonly ComparedRow[]
  readonly pinnedRows: readonly ComparedRow[]
  /** Start-up and memory: figures of their own kind. */
  readonly figures: readonly Figure[]
}

const connectionsDefault = 32
const realtimeName = 'realtime, fan-out'
const realtimeWhy =
  'a delivery is one write to a socket, 4 to 5 us of system time on one thread; through the fleet it is the gateway’s'
/** Answers that are compared between the contestants before a scenario is measured. */
const comparedAnswers = 3

/**
 * Measures everything whose name holds one of `only`; all when it is empty. Throws when a contestant gives a wrong
 * answer, or one that differs from the others'.
 */
export async function compare(size: CompareSize, only: readonly string[]): Promise<Comparison> {
  const binary = peer('pocketbase')
  if (binary === null) throw new Error('PocketBase is not installed: see .ci/peers')
  const dir = mkdtempSync(join(tmpdir(), 'pf-compare-'))
  const interrupted = () => {
    killChildren()
    rmSync(dir, { recursive: true, force: true })
    process.exit(130)
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, interrupted)
  try {
    const fixture = join(dir, 'fixture')
    await makeFixture(binary, fixture, size)
    const measure = (core: number | null, rounds: number) =>
      measureAll({ binary, fixture, dir: join(dir, core === null ? 'free' : 'pinned'), core, rounds, size, only })
    const rows = await measure(null, size.rounds)
    const canPin = size.isPinned && cpus().length > 1 && Bun.which('taskset') !== null
    const pinnedRows = canPin ? await measure(0, 1) : []
    const asksStart = only.length === 0 || only.some((each) => 'start-up'.includes(each))
    const figures = asksStart ? await startFigures(binary, fixture, size.starts) : []
    return { rows, pinnedRows, figures }
  } finally {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, interrupted)
    rmSync(dir, { recursive: true, force: true })
  }
}

interface Phase {
  readonly binary: string
  readonly fixture: string
  readonly dir: string
  /** The core of the servers; the load then runs on the next one. */
  readonly core: number | null
  readonly rounds: number
  readonly size: CompareSize
  readonly only: readonly string[]
}

async function measureAll(phase: Phase): Promise<ComparedRow[]> {
  const { size, only } = phase
  const contestants = await startContestants(phase)
  const launcher = phase.core === null ? [] : pinned([], phase.core + 1)
  try {
    const isAsked = (name: string) => only.length === 0 || only.some((each) => name.includes(each))
    const rows: ComparedRow[] = []
    for (const scenario of scenarios(size, await memberTokens(contestants[0]!, size))) {
      if (!isAsked(scenario.name)) continue
      rows.push(await measureScenario(phase, contestants, scenario, launcher))
      progress(rows.at(-1)!)
    }
    if (isAsked(realtimeName)) {
      rows.push(await measureRealtime(phase, contestants, launcher))
      progress(rows.at(-1)!)
    }
    return rows
  } finally {
    for (const each of contestants) await each.stop()
  }
}

/** A line per row as it is measured: a run takes minutes. */
function progress(row: ComparedRow): void {
  if (process.env['NODE_ENV'] === 'test') return
  const parts = Object.entries(row.by).map(([via, { perSecond }]) => `${via} ${Math.round(perSecond)}`)
  console.log(`  ${row.name}: ${parts.join(', ')} ${row.unit}`)
}

async function measureScenario(
  { size, rounds }: Phase,
  contestants: readonly Contestant[],
  scenario: Scenario,
  launcher: readonly string[],
): Promise<ComparedRow> {
  for (const each of contestants) await setUp(each, scenario)
  // Deletes cannot be repeated: a share for the comparison of answers, one for the warm-up, one for each round.
  const shares = rounds + 2
  const shareOf = (index: number) => {
    if (!scenario.once) return scenario.requests
    const length = Math.floor(scenario.requests.length / shares)
    return scenario.requests.slice(index * length, (index + 1) * length)
  }
  for (const request of shareOf(0).slice(0, comparedAnswers)) {
    const answers = await Promise.all(contestants.map((each) => answerOf(each, scenario, request)))
    const different = answers.findIndex((each) => each !== answers[0])
    if (different >= 0)
      throw new Error(
        `${scenario.name}: ${contestants[different]!.name} answers ${request.method} ${request.path} otherwise:\n${answers[0]}\n${answers[different]}`,
      )
  }
  const run = (contestant: Contestant, share: number, durationMs: number) =>
    measureLoad(contestant, scenario, shareOf(share), durationMs, launcher)
  for (const each of contestants) await run(each, 1, size.warmUpMs)
  const measured = new Map<Via, Measured[]>(contestants.map(({ name }) => [name, []]))
  for (let round = 0; round < rounds; round++)
    for (const each of contestants) {
      measured.get(each.name)!.push(await run(each, 2 + round, size.durationMs))
      if (scenario.writes) await Bun.sleep(size.settleMs)
    }
  return toRow(scenario.name, 'requests/s', scenario.target, scenario.why ?? null, measured)
}

async function measureLoad(
  contestant: Contestant,
  scenario: Scenario,
  requests: Scenario['requests'],
  durationMs: number,
  launcher: readonly string[],
): Promise<Measured> {
  const cpuBefore = cpuMs(contestant.pid)
  const startedAtMs = performance.now()
  const report: LoadReport = await load(
    {
      host: '127.0.0.1',
      port: contestant.port,
      connections: Math.min(scenario.connections ?? connectionsDefault, scenario.once ? requests.length : Infinity),
      durationMs,
      rate: 0,
      once: scenario.once ?? false,
      expect: scenario.expect,
      requests: requests.map(({ method, path, body, token }) =>
        encodeRequest({
          method,
          path,
          host: contestant.hostName,
          ...(body !== undefined && { body }),
          ...(token !== undefined && { headers: { authorization: token } }),
        }),
      ),
    },
    launcher,
  )
  if (report.errors > 0 || report.unexpected > 0 || report.requests === 0)
    throw new Error(`${scenario.name}, ${contestant.name}: ${JSON.stringify(report)}`)
  return {
    perSecond: report.requestsPerSecond,
    p50Ms: report.p50Ms,
    p99Ms: report.p99Ms,
    cores: (cpuMs(contestant.pid) - cpuBefore) / (performance.now() - startedAtMs),
    generatorCpu: report.generatorCpu,
  }
}

async function measureRealtime(
  { size, rounds }: Phase,
  contestants: readonly Contestant[],
  launcher: readonly string[],
): Promise<ComparedRow> {
  const measured = new Map<Via, Measured[]>(contestants.map(({ name }) => [name, []]))
  for (let round = 0; round < rounds; round++)
    for (const { name, port, hostName, pid } of contestants) {
      const cpuBefore = cpuMs(pid)
      const startedAtMs = performance.now()
      const job = { port, hostName, clients: size.realtimeClients, durationMs: size.durationMs }
      const report = await runFanOut(job, launcher)
      measured.get(name)!.push({
        perSecond: report.deliveriesPerSecond,
        p50Ms: report.p50Ms,
        p99Ms: report.p99Ms,
        cores: (cpuMs(pid) - cpuBefore) / (performance.now() - startedAtMs),
        generatorCpu: report.generatorCpu,
      })
      await Bun.sleep(size.settleMs)
    }
  return toRow(`${realtimeName} to ${size.realtimeClients} clients`, 'deliveries/s', 3, realtimeWhy, measured)
}

function toRow(
  name: string,
  unit: string,
  target: number,
  why: string | null,
  measured: ReadonlyMap<Via, readonly Measured[]>,
): ComparedRow {
  const by = Object.fromEntries([...measured].map(([via, rounds]) => [via, medianRound(rounds)]))
  return { name, unit, target, why, by }
}

/** The round with the median rate, as a whole. */
function medianRound(rounds: readonly Measured[]): Measured {
  const sorted = [...rounds].sort((a, b) => a.perSecond - b.perSecond)
  return sorted[Math.floor((sorted.length - 1) / 2)]!
}

const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[Math.floor((values.length - 1) / 2)]!

/** Spawn to first answer, and memory of the idle process, each on the fixture. */
async function startFigures(binary: string, fixture: string, starts: number): Promise<Figure[]> {
  // The fixture itself: nobody runs on it any more, and a start changes nothing in it.
  const commands = new Map<string, (address: string) => string[]>([
    ['PocketBase', theirCommand(binary, fixture)],
    ['standalone from source', ourCommand('source', fixture)],
  ])
  if (existsSync(programCommand('binary')[0]!)) commands.set('standalone binary', ourCommand('binary', fixture))
  const times = new Map<string, number[]>([...commands.keys()].map((name) => [name, []]))
  const memory = new Map<string, number[]>([...commands.keys()].map((name) => [name, []]))
  for (let i = 0; i < starts; i++)
    for (const [name, command] of commands) {
      const server = await startServer(command)
      times.get(name)!.push(server.startMs)
      memory.get(name)!.push(residentBytes(server.pid))
      await server.stop()
    }
  const note = `median of ${starts}`
  return [...commands.keys()].flatMap((name) => [
    { name: `start-up, ${name}`, value: median(times.get(name)!), unit: 'ms', note },
    { name: `idle process, ${name}`, value: median(memory.get(name)!) / 1e6, unit: 'MB', note },
  ])
}
