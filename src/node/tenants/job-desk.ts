// The jobs of one worker: who asks starts a job or learns how it goes. A few run at a time, the others wait for their turn:
// a tenant that is offline for its job goes first, and look-ups, for which a person waits, do not wait for work of hours.
// Outcomes are remembered for a while, because whoever asked may not have heard them.

import { join } from 'node:path'
import type { NodeOrder } from '../../ipc/messages/cp-node.ts'
import type { JobProgress, JobReports, JobState, TenantJob, WarmReport } from '../../ipc/messages/jobs.ts'
import type { Epoch, TenantId } from '../../lib/brand.ts'
import type { Clock } from '../../lib/clock.ts'
import { AppError, errorCode, errorMessage, OverloadedError, TimeoutError } from '../../lib/errors.ts'
import { Lane } from '../../lib/lane.ts'
import { LruMap } from '../../lib/lru.ts'
import type { Logger } from '../../lib/obs/log.ts'
import type { RunJob } from './job-process.ts'
import type { TenantPool } from './pool.ts'
import type { TenantFiles } from './tenant-files.ts'

/** Processes at once; each may hold a whole database in memory. */
const runningMax = 2
/** Processes at once that only look something up. */
const lookUpsMax = 2
/** Jobs that wait for their turn. */
const waitingMax = 200
/** A job may take this long, ms: what a tenant's own tables and views make SQLite do has no other end. */
const jobMsMax = 2 * 3_600_000
/**
 * A restored tenant stays closed until whoever ordered it has heard so, or for this long, ms: asked anew, by somebody who
 * has not heard it and of a worker that has forgotten it, the restore would take back what was written since.
 */
const unheardMsMax = 5_000
/** Outcomes that are remembered. */
const outcomesMax = 500

/** Jobs about what the store has, whatever this node still holds. */
const aboutTheStore: ReadonlySet<TenantJob['type']> = new Set(['fork', 'drill', 'archive', 'sweep'])

/** What is only done to tenants that nobody uses. */
export class TenantInUseError extends AppError {
  readonly code = 'tenant_in_use'
}

/** Whoever ordered it does not want it any more. */
class JobStoppedError extends AppError {
  readonly code = 'job_stopped'
}

export interface JobDeskDeps {
  readonly pool: Pick<TenantPool, 'peek' | 'use' | 'whileClosed' | 'exclusively'>
  readonly files: Pick<TenantFiles, 'mayHoldMore'>
  readonly clock: Clock
  readonly log: Logger
  /** Where jobs work; everything in it is theirs. */
  readonly scratchDir: string
  readonly run: RunJob
  readonly warm: (id: TenantId, report: (progress: JobProgress) => void, signal: AbortSignal) => Promise<WarmReport>
}

type JobReport = JobReports[TenantJob['type']]
type JobOrder = Extract<NodeOrder, { readonly type: 'job.run' }>
interface RunningJob {
  readonly tenantId: TenantId
  progress: JobProgress
  /** Of a job that is done and waits for being heard. */
  report: JobReport | null
  readonly heard: PromiseWithResolvers<void>
  readonly stop: AbortController
}

type Outcome = Exclude<JobState<JobReport>, { readonly state: 'running' }>

export class JobDesk {
  readonly #deps: JobDeskDeps
  readonly #running = new Map<string, RunningJob>()
  readonly #outcomes = new LruMap<string, Outcome>(outcomesMax)
  readonly #work = new Lane(runningMax)
  readonly #lookUps = new Lane(lookUpsMax)
  readonly #closing = new AbortController()
  readonly #all = new Set<Promise<void>>()

  constructor(deps: JobDeskDeps) {
    this.#deps = deps
  }

  /** Throws OverloadedError when too many jobs wait. */
  look(order: JobOrder): JobState<JobReport> {
    const outcome = this.#outcomes.get(order.jobId)
    if (outcome !== undefined) {
      // What failed is tried again by asking again: the asker knows whether that makes sense.
      if (outcome.state === 'failed') this.#outcomes.delete(order.jobId)
      return outcome
    }
    const running = this.#running.get(order.jobId)
    if (running !== undefined && running.report !== null) {
      running.heard.resolve()
      return { state: 'done', report: running.report }
    }
    if (running !== undefined) return { state: 'running', progress: running.progress }
    if (this.#running.size >= runningMax + waitingMax) throw new OverloadedError(`${waitingMax} jobs wait already`)
    const progress = { step: 'waiting', done: 0, total: null }
    const heard = Promise.withResolvers<void>()
    const job: RunningJob = { tenantId: order.tenantId, progress, report: null, heard, stop: new AbortController() }
    this.#running.set(order.jobId, job)
    const working = this.#carryOut(order, job).finally(() => this.#all.delete(working))
    this.#all.add(working)
    return { state: 'running', progress }
  }

  /** Whether a job for the tenant runs here or waits for its turn. */
  has(id: TenantId): boolean {
    return this.#running.values().some(({ tenantId }) => tenantId === id)
  }

  /** Ends a job that runs, and keeps one from beginning that waits, or whose order comes late. */
  stop(jobId: string): void {
    const error = new JobStoppedError('it is not wanted any more')
    const running = this.#running.get(jobId)
    if (running !== undefined) running.stop.abort(error)
    else if (this.#outcomes.get(jobId) === undefined)
      this.#outcomes.set(jobId, { state: 'failed', code: error.code, message: error.message })
  }

  /** Ends every job; each may be started again elsewhere. */
  async close(): Promise<void> {
    this.#closing.abort(new OverloadedError('the node is stopping'))
    for (const lane of [this.#work, this.#lookUps]) lane.open()
    await Promise.all(this.#all)
  }

  /** Never rejects. */
  async #carryOut(order: JobOrder, running: RunningJob): Promise<void> {
    const { clock, log } = this.#deps
    const signal = AbortSignal.any([running.stop.signal, this.#closing.signal])
    const { jobId, tenantId, job } = order
    const lane = this.#laneOf(job)
    await lane?.enter(job.type === 'restore')
    const startedAtMs = clock.monotonic()
    let outcome: Outcome
    try {
      signal.throwIfAborted()
      outcome = { state: 'done', report: await this.#run(order, running, signal) }
      const ms = Math.round(clock.monotonic() - startedAtMs)
      log.info('job done', { job: job.type, tenant: tenantId, ms })
    } catch (error) {
      outcome = { state: 'failed', code: errorCode(error) ?? 'internal', message: errorMessage(error) }
      log.warn('job failed', { job: job.type, tenant: tenantId, error })
    }
    this.#running.delete(jobId)
    this.#outcomes.set(jobId, outcome)
    lane?.leave()
  }

  /** null: a copy has no process, and others wait for it. */
  #laneOf({ type }: TenantJob): Lane | null {
    if (type === 'warm') return null
    return type === 'points' || type === 'cut' || type === 'usage' ? this.#lookUps : this.#work
  }

  async #run(
    { jobId, tenantId, job, replicas = [] }: JobOrder,
    running: RunningJob,
    signal: AbortSignal,
  ): Promise<JobReport> {
    const report = (progress: JobProgress) => {
      running.progress = progress
    }
    const { pool, run, scratchDir, warm, clock } = this.#deps
    if (job.type === 'warm') {
      const copied = await pool.whileClosed(tenantId, () => warm(tenantId, report, signal))
      return copied ?? { databases: [] } // it is open here: nothing is warmer
    }
    const order = { tenantId, job, scratchDir: join(scratchDir, jobId), replicas }
    const start = async () => {
      signal.throwIfAborted() // closing the tenant took its time
      const deadline = new AbortController()
      const cancel = clock.setTimer(jobMsMax, () => deadline.abort(new TimeoutError(`not done within ${jobMsMax} ms`)))
      try {
        // An ordered job reports as ordered.
        return (await run(order, report, AbortSignal.any([deadline.signal, signal]))) as JobReport
      } finally {
        cancel()
      }
    }
    const isUnused = job.type === 'archive' || (job.type === 'sweep' && job.belowEpoch === null)
    if (isUnused && pool.peek(tenantId) !== null) throw new TenantInUseError(`tenant ${tenantId} is open`)
    if (!aboutTheStore.has(job.type)) await this.#shipAll(tenantId, job)
    // Who takes a history over writes to it without a fence.
    const mustBeClosed = job.type === 'restore' || (job.type === 'eject' && job.isHandedOver)
    if (!mustBeClosed) return start()
    return pool.exclusively(tenantId, async () => {
      const done = await start()
      if (job.type === 'restore') await this.#untilHeard(running, done, signal)
      return done
    })
  }

  async #untilHeard(running: RunningJob, report: JobReport, signal: AbortSignal): Promise<void> {
    const { heard } = running
    const cancel = this.#deps.clock.setTimer(unheardMsMax, heard.resolve)
    signal.addEventListener('abort', () => heard.resolve(), { once: true })
    if (signal.aborted) heard.resolve()
    running.report = report
    await heard.promise
    cancel()
  }

  /** Everything that was committed here until now belongs to the history that a job works on. */
  async #shipAll(id: TenantId, job: TenantJob): Promise<void> {
    const { pool, files, log } = this.#deps
    const open = pool.peek(id)
    if (open !== null) return open.flush()
    const epoch = job.type === 'restore' ? job.placement.epoch : (1 as Epoch)
    if (!files.mayHoldMore(id)) return
    try {
      await pool.use(id, epoch, (tenant) => tenant.flush())
    } catch (error) {
      // What cannot be opened cannot be shipped, and is a reason to go back: the next opening sets it aside.
      if (errorCode(error) !== 'corrupt_database') throw error
      log.warn('a job works without what a damaged database may hold', { tenant: id, error })
    }
  }
}
