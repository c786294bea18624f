// Upkeep in a process of its own, one for each that uses it: merging reads whole databases, which would hold up every
// tenant of a worker. The process starts with the first piece of work and ends when there is none for a while. Both ends
// speak JSON lines over its standard input and output.

import { mkdir, rm } from 'node:fs/promises'
import { constants, setPriority } from 'node:os'
import { sendInput } from '../lib/child-input.ts'
import { type Clock, systemClock } from '../lib/clock.ts'
import { childEnvironment } from '../lib/config/child-environment.ts'
import { AppError, errorCode, errorMessage, TimeoutError, type WireError } from '../lib/errors.ts'
import { readLifeLine } from '../lib/life-line.ts'
import { parseBoundedLines } from '../lib/lines.ts'
import { Mutex } from '../lib/mutex.ts'
import { MeteredObjectStore, type MeterReading } from '../lib/object-store/metered.ts'
import { type ObjectStoreConfig, openObjectStore } from '../lib/object-store/open.ts'
import { selfCommand } from '../lib/self-command.ts'
import type { MergeJob } from './compaction.ts'
import type { ManifestFile } from './history-manifest.ts'
import { mergeFiles, Pacer } from './merge-files.ts'
import type { RetentionPolicy } from './retention.ts'
import { type RetentionOutcome, type RetentionState, retainHistory } from './retention-pass.ts'
import type { UpkeepRunner } from './upkeep.ts'

/** Pieces of work that may wait for their turn; more are refused and found due again later. */
const waitingMax = 10_000
/** One piece may take this long, ms: far above merging a large database at the slowest rate. */
const workMs = 6 * 3_600_000
/** Without work the process ends after this, ms: it takes some 60 MB. */
const idleMs = 30_000
/** A retention pass may name thousands of ranges. */
const lineCharsMax = 4 * 1024 * 1024

/** Plain data: it crosses a pipe, and holds the store's secret. */
export interface UpkeepConfig {
  readonly objectStore: ObjectStoreConfig
  /** A folder of this process alone; emptied at the start. */
  readonly scratchDir: string
  /** Read and written together, on average. */
  readonly bytesPerSecond: number
  readonly policy: RetentionPolicy
}

type Work =
  | { readonly type: 'merge'; readonly prefix: string; readonly job: MergeJob }
  | { readonly type: 'retain'; readonly prefix: string; readonly state: RetentionState }

type Answer =
  | { readonly ok: true; readonly reading: MeterReading; readonly value: ManifestFile | RetentionOutcome }
  | { readonly ok: false; readonly reading: MeterReading; readonly error: WireError }

/** What upkeep has done since the start. */
export interface UpkeepTotals {
  readonly merges: number
  readonly filesDeleted: number
  readonly bytesDeleted: number
  /** Pieces of work that failed; each is found due again. */
  readonly failures: number
}

export const noUpkeep: UpkeepTotals = { merges: 0, filesDeleted: 0, bytesDeleted: 0, failures: 0 }

/** What the process threw. */
export class UpkeepError extends AppError {
  readonly code: string
  constructor(code: string, message: string) {
    super(message)
    this.code = code
  }
}

/** The process went away under its work: idle for too long, or killed from outside. */
class UpkeepEndedError extends AppError {
  readonly code = 'upkeep_ended'
}

export class UpkeepProcess implements UpkeepRunner {
  readonly #config: UpkeepConfig
  readonly #clock: Clock
  readonly #command: readonly string[]
  readonly #onMeter: (prefix: string, reading: MeterReading) => void
  readonly #turn = new Mutex(waitingMax)
  #child: Child | null = null
  #isClosed = false
  #totals = noUpkeep

  constructor(
    config: UpkeepConfig,
    deps: {
      readonly clock: Clock
      readonly command?: readonly string[]
      /** Told what each piece of work asked of the store. */
      readonly onMeter?: (prefix: string, reading: MeterReading) => void
    },
  ) {
    this.#config = config
    this.#clock = deps.clock
    this.#command = deps.command ?? selfCommand(['upkeep'])
    this.#onMeter = deps.onMeter ?? (() => {})
  }

  async merge(prefix: string, job: MergeJob): Promise<ManifestFile> {
    // The other end is this program, of the same version: an answer has the type of its question.
    const merged = (await this.#do({ type: 'merge', prefix, job })) as ManifestFile
    this.#totals = { ...this.#totals, merges: this.#totals.merges + 1 }
    return merged
  }

  async retain(prefix: string, state: RetentionState): Promise<RetentionOutcome> {
    const { candidates, restoreMsMax, keepEveryMs } = state
    const sent = { candidates, restoreMsMax, ...(keepEveryMs !== undefined && { keepEveryMs }) }
    const outcome = (await this.#do({ type: 'retain', prefix, state: sent })) as RetentionOutcome
    const { filesDeleted, bytesDeleted, failures } = this.#totals
    this.#totals = {
      ...this.#totals,
      filesDeleted: filesDeleted + outcome.filesDeleted,
      bytesDeleted: bytesDeleted + outcome.bytesDeleted,
      failures: failures + outcome.damaged.length,
    }
    return outcome
  }

  get totals(): UpkeepTotals {
    return this.#totals
  }

  /** The process that works, if there is one. */
  get pid(): number | null {
    return this.#child?.isAlive ? this.#child.pid : null
  }

  /** Ends the process; what was under way is found due again. */
  close(): void {
    this.#isClosed = true
    this.#child?.kill()
  }

  #do(work: Work): Promise<ManifestFile | RetentionOutcome> {
    const ask = async (child: Child) => {
      const answer = await child.ask(work, this.#clock)
      this.#onMeter(work.prefix, answer.reading)
      if (answer.ok) return answer.value
      this.#totals = { ...this.#totals, failures: this.#totals.failures + 1 }
      throw new UpkeepError(answer.error.code, answer.error.message)
    }
    return this.#turn.run(async () => {
      try {
        return await ask(await this.#alive())
      } catch (error) {
        if (!(error instanceof UpkeepEndedError) || this.#isClosed) throw error
        return ask(await this.#alive()) // once, by a fresh one: all work may be repeated
      }
    })
  }

  async #alive(): Promise<Child> {
    if (this.#isClosed) throw new UpkeepEndedError('upkeep was closed')
    if (this.#child?.isAlive) return this.#child
    await rm(this.#config.scratchDir, { recursive: true, force: true })
    await mkdir(this.#config.scratchDir, { recursive: true, mode: 0o700 })
    this.#child = new Child(this.#command, this.#config)
    return this.#child
  }
}

class Child {
  readonly #process: Bun.Subprocess<'pipe', 'pipe', 'inherit'>
  #pending: PromiseWithResolvers<Answer> | null = null
  #isAlive = true

  constructor(command: readonly string[], config: UpkeepConfig) {
    this.#process = Bun.spawn([...command], {
      stdin: 'pipe',
      stdout: 'pipe',
      stderr: 'inherit',
      env: childEnvironment(),
    })
    this.#process.unref()
    this.#say(config)
    void this.#listen()
  }

  get isAlive(): boolean {
    return this.#isAlive
  }

  get pid(): number {
    return this.#process.pid
  }

  kill(): void {
    this.#isAlive = false
    this.#process.kill('SIGKILL')
  }

  async ask(work: Work, clock: Clock): Promise<Answer> {
    const pending = Promise.withResolvers<Answer>()
    this.#pending = pending
    const cancel = clock.setTimer(workMs, () => {
      pending.reject(new TimeoutError(`upkeep of ${work.prefix} took longer than ${workMs} ms`))
      this.kill()
    })
    try {
      if (!this.#isAlive) throw new UpkeepEndedError('the process ended')
      this.#say(work)
      return await pending.promise
    } finally {
      cancel()
      this.#pending = null
    }
  }

  #say(line: UpkeepConfig | Work): void {
    sendInput(this.#process.stdin, `${JSON.stringify(line)}\n`).catch(() => {
      this.#isAlive = false // its end of the pipe is gone; whoever asked hears it from the other pipe
    })
  }

  /** Never rejects: who asked is told. */
  async #listen(): Promise<void> {
    let cause: unknown
    try {
      await parseBoundedLines(this.#process.stdout, lineCharsMax, (line) =>
        this.#pending?.resolve(JSON.parse(line) as Answer),
      )
    } catch (error) {
      cause = error // what it said is no answer
    }
    this.kill()
    this.#pending?.reject(new UpkeepEndedError('the process ended', { cause }))
  }
}

/** The process itself: works until its standard input ends, or until nobody asks. */
export async function runUpkeep(clock: Clock = systemClock): Promise<void> {
  setPriority(constants.priority.PRIORITY_BELOW_NORMAL) // requests come first
  const ready = Promise.withResolvers<(work: Work) => Promise<Answer>>()
  const idle = () => clock.setTimer(idleMs, () => process.exit(0))
  let cancel = idle()
  let working: Promise<void> = Promise.resolve()
  const { config, ended } = await readLifeLine(undefined, (line) => {
    const work = JSON.parse(line) as Work // written by our own program, of the same version
    working = working.then(async () => {
      cancel()
      const answer = await (await ready.promise)(work)
      await Bun.write(Bun.stdout, `${JSON.stringify(answer)}\n`)
      cancel = idle()
    })
  })
  ready.resolve(await worker(config as UpkeepConfig, clock))
  await ended
  process.exit(0)
}

async function worker(config: UpkeepConfig, clock: Clock): Promise<(work: Work) => Promise<Answer>> {
  const { scratchDir, bytesPerSecond, policy } = config
  const store = await openObjectStore(config.objectStore)
  const pacer = new Pacer(clock, bytesPerSecond)
  return async (work) => {
    const metered = new MeteredObjectStore(store)
    const at = { store: metered, prefix: work.prefix }
    try {
      const value =
        work.type === 'merge'
          ? await mergeFiles(at, work.job, { clock, scratchDir, pacer })
          : await retainHistory(at, work.state, { clock, policy, pacer })
      return { ok: true, reading: metered.reading, value }
    } catch (error) {
      const failure = { code: errorCode(error) ?? 'internal', message: errorMessage(error) }
      return { ok: false, reading: metered.reading, error: failure }
    }
  }
}
