// The cron jobs of one tenant. One timer stands at the next minute that any job fires in; none while there is no job.

import type { Cancel, Clock } from '../../../lib/clock.ts'
import type { MaybePromise } from '../../../lib/result.ts'
import { nextFireMs, parseCron, type Schedule } from './cron-expression.ts'

/** Longer waits are cut in pieces: timers of the platform overflow at 2^31 ms, and the wall clock may be set. */
const waitMsMax = 60 * 60 * 1000

export interface CronJob {
  readonly id: string
  readonly expression: string
  readonly run: () => MaybePromise<void>
  /** Whether a closed tenant is opened for it. Housekeeping of ours waits until somebody needs the tenant. */
  readonly wakes: boolean
}

export class CronScheduler {
  readonly #clock: Clock
  readonly #onError: (job: string, error: unknown) => void
  readonly #jobs = new Map<string, { readonly job: CronJob; readonly schedule: Schedule }>()
  readonly #running = new Set<Promise<void>>()
  #timer: Cancel | null = null
  /** Wall clock, ms; null: not started. */
  #startedAtMs: number | null = null

  constructor(clock: Clock, onError: (job: string, error: unknown) => void) {
    this.#clock = clock
    this.#onError = onError
  }

  /** Adds or replaces a job. @returns false for what is no cron expression. */
  add(job: CronJob): boolean {
    const schedule = parseCron(job.expression)
    if (schedule === null) return false
    this.#jobs.set(job.id, { job, schedule })
    this.#arm()
    return true
  }

  remove(id: string): void {
    if (this.#jobs.delete(id)) this.#arm()
  }

  get jobs(): readonly CronJob[] {
    return [...this.#jobs.values()].map((each) => each.job)
  }

  /** When a closed tenant must be opened next, ms since the Unix epoch; null for never. */
  nextWakeMs(afterMs: number): number | null {
    return this.#next(afterMs, true)
  }

  start(): void {
    this.#startedAtMs ??= this.#clock.now()
    this.#arm()
  }

  /** Runs each waking job once that came due from `dueAtMs` on, before the start: while nobody had the tenant open. */
  async runMissed(dueAtMs: number): Promise<void> {
    const missed = [...this.#jobs.values()].filter(({ job, schedule }) => {
      const firstMs = job.wakes ? nextFireMs(schedule, dueAtMs - 1) : null
      return firstMs !== null && this.#startedAtMs !== null && firstMs <= this.#startedAtMs
    })
    await Promise.all(missed.map(({ job }) => this.#run(job)))
  }

  /** Ends the timer and waits for what runs. */
  async stop(): Promise<void> {
    this.#startedAtMs = null
    this.#timer?.()
    this.#timer = null
    await Promise.all(this.#running)
  }

  /** Runs a job now; its errors go to the log. @returns null when there is none with this id. */
  runNow(id: string): Promise<void> | null {
    const entry = this.#jobs.get(id)
    return entry === undefined ? null : this.#run(entry.job)
  }

  #run(job: CronJob): Promise<void> {
    const running: Promise<void> = (async () => {
      try {
        await job.run()
      } catch (error) {
        this.#onError(job.id, error)
      }
    })().finally(() => this.#running.delete(running))
    this.#running.add(running)
    return running
  }

  #next(afterMs: number, onlyWaking: boolean): number | null {
    let least: number | null = null
    for (const { job, schedule } of this.#jobs.values()) {
      if (onlyWaking && !job.wakes) continue
      const atMs = nextFireMs(schedule, afterMs)
      if (atMs !== null && (least === null || atMs < least)) least = atMs
    }
    return least
  }

  #arm(): void {
    this.#timer?.()
    this.#timer = null
    if (this.#startedAtMs === null) return
    const armedAtMs = this.#clock.now()
    const dueMs = this.#next(armedAtMs, false)
    if (dueMs === null) return
    this.#timer = this.#clock.setTimer(Math.min(dueMs - armedAtMs, waitMsMax), () => this.#fire(armedAtMs))
  }

  /** Runs each job once that came due since the timer was set, however many times it did. */
  #fire(sinceMs: number): void {
    const nowMs = this.#clock.now()
    for (const { job, schedule } of [...this.#jobs.values()]) {
      const dueMs = nextFireMs(schedule, sinceMs)
      if (dueMs !== null && dueMs <= nowMs) void this.#run(job)
    }
    this.#arm()
  }
}
