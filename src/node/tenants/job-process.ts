// A job's process, both ends: configuration as the first line of standard input, which is also its life line; progress and
// the outcome as JSON lines on standard output.

import { mkdir, rm } from 'node:fs/promises'
import { constants, setPriority } from 'node:os'
import type { JobProgress } from '../../ipc/messages/jobs.ts'
import type { TenantId } from '../../lib/brand.ts'
import { endInput, sendInput } from '../../lib/child-input.ts'
import { systemClock } from '../../lib/clock.ts'
import { childEnvironment } from '../../lib/config/child-environment.ts'
import { AppError, errorCode, errorMessage, type WireError } from '../../lib/errors.ts'
import { readLifeLine } from '../../lib/life-line.ts'
import { parseBoundedLines } from '../../lib/lines.ts'
import { MeteredObjectStore, type MeterReading } from '../../lib/object-store/metered.ts'
import { type ObjectStoreConfig, openObjectStore } from '../../lib/object-store/open.ts'
import { systemRng } from '../../lib/rng.ts'
import { endWithParent } from '../../lib/scheduling.ts'
import { selfCommand } from '../../lib/self-command.ts'
import { runJob, type WorkerJob, type WorkerJobReport } from './job-runner.ts'
import { type ReplicaPath, storeOnPaths } from './replica-path.ts'

/** Runs one job to its end; rejects with an error whose `code` says what kind it is. */
export type RunJob = (
  order: {
    readonly tenantId: TenantId
    readonly job: WorkerJob
    readonly scratchDir: string
    /** Histories that lie on the path of an epoch. */
    readonly replicas?: readonly ReplicaPath[]
    /** What a job that succeeds left there is the caller's. */
    readonly keepsScratch?: boolean
  },
  report: (progress: JobProgress) => void,
  signal: AbortSignal,
) => Promise<WorkerJobReport>

/** Plain data: it crosses a pipe, and holds the store's secret. */
interface JobConfig {
  readonly objectStore: ObjectStoreConfig
  readonly objectPrefix: string
  readonly tenantId: TenantId
  readonly job: WorkerJob
  readonly scratchDir: string
  readonly replicas: readonly ReplicaPath[]
}

type JobLine =
  | { readonly type: 'progress'; readonly progress: JobProgress }
  /** Last but one. */
  | { readonly type: 'meter'; readonly reading: MeterReading }
  | { readonly type: 'done'; readonly report: WorkerJobReport }
  | { readonly type: 'failed'; readonly error: WireError }

/** Longest line: a preview of every collection that a tenant may have is far below. */
const lineCharsMax = 8 * 1024 * 1024
/** Progress is told at most this often, ms; files may be copied by the thousand a second. */
const progressEveryMs = 100

/** What the job's process threw, or that it ended without a word. */
export class JobFailedError extends AppError {
  readonly code: string
  constructor(code: string, message: string) {
    super(message)
    this.code = code
  }
}

/** Runs jobs as children of this process. */
export function jobRunnerIn(
  { objectStore, objectPrefix }: { readonly objectStore: ObjectStoreConfig; readonly objectPrefix: string },
  /** Told what each job asked of the store. */
  onMeter: (tenantId: TenantId, reading: MeterReading) => void,
  command: readonly string[] = selfCommand(['job']),
): RunJob {
  return async ({ tenantId, job, scratchDir, replicas = [], keepsScratch = false }, report, signal) => {
    await rm(scratchDir, { recursive: true, force: true })
    await mkdir(scratchDir, { recursive: true, mode: 0o700 })
    const child = Bun.spawn([...command], { stdin: 'pipe', stdout: 'pipe', stderr: 'inherit', env: childEnvironment() })
    const onAbort = () => child.kill('SIGKILL')
    signal.addEventListener('abort', onAbort, { once: true })
    if (signal.aborted) onAbort()
    // No more than a job needs: the cluster's secret is none of it.
    const config: JobConfig = { objectStore, objectPrefix, tenantId, job, scratchDir, replicas }
    let isKept = false
    try {
      await sendInput(child.stdin, `${JSON.stringify(config)}\n`).catch(() => {}) // it has ended, without an outcome
      let outcome: JobLine | null = null
      await parseBoundedLines(child.stdout, lineCharsMax, (line) => {
        const said = JSON.parse(line) as JobLine // this very program, of the same version
        if (said.type === 'progress') report(said.progress)
        else if (said.type === 'meter') onMeter(tenantId, said.reading)
        else outcome = said
      })
      await endInput(child.stdin) // its life line
      await child.exited
      signal.throwIfAborted()
      const done = reportOf(outcome, child)
      isKept = keepsScratch
      return done
    } finally {
      signal.removeEventListener('abort', onAbort)
      child.kill('SIGKILL')
      if (!isKept) await rm(scratchDir, { recursive: true, force: true })
    }
  }
}

function reportOf(
  outcome: JobLine | null,
  { exitCode, signalCode }: { readonly exitCode: number | null; readonly signalCode: string | number | null },
): WorkerJobReport {
  if (outcome?.type === 'done') return outcome.report
  if (outcome?.type === 'failed') throw new JobFailedError(outcome.error.code, outcome.error.message)
  throw new JobFailedError('job_ended', `the job's process ended without an outcome (${signalCode ?? exitCode})`)
}

/** The child: does the one job that its first line describes, and ends with its parent. */
export async function runJobProcess(): Promise<void> {
  endWithParent() // in the middle of a statement it would not see its life line end
  const { config, ended } = await readLifeLine()
  const { objectStore, objectPrefix, tenantId, job, scratchDir, replicas } = config as JobConfig // written by our own worker
  void ended.then(() => process.exit(1))
  // Requests come first, unless they wait for this.
  if (job.type !== 'restore' && job.type !== 'move-replica') setPriority(constants.priority.PRIORITY_BELOW_NORMAL)
  const [clock, rng] = [systemClock, systemRng]
  const metered = new MeteredObjectStore(await openObjectStore(objectStore, { clock, rng }))
  const store = storeOnPaths(metered, objectPrefix, replicas)
  let toldAtMs = Number.NEGATIVE_INFINITY
  let step = ''
  const report = (progress: JobProgress) => {
    const nowMs = clock.monotonic()
    if (progress.step === step && nowMs - toldAtMs < progressEveryMs) return
    toldAtMs = nowMs
    step = progress.step
    say({ type: 'progress', progress })
  }
  const signal = new AbortController().signal // whoever wants this to end kills the process
  let outcome: JobLine
  try {
    const context = { store, objectPrefix, clock, rng, scratchDir, signal, report }
    outcome = { type: 'done', report: await runJob(tenantId, job, context) }
  } catch (error) {
    // A mistake of our own has no code, and a stack that somebody should see.
    if (errorCode(error) === undefined) process.stderr.write(`job: ${error instanceof Error ? error.stack : error}\n`)
    outcome = { type: 'failed', error: { code: errorCode(error) ?? 'internal', message: errorMessage(error) } }
  }
  const meter: JobLine = { type: 'meter', reading: metered.reading }
  await Bun.write(Bun.stdout, `${JSON.stringify(meter)}\n${JSON.stringify(outcome)}\n`)
  await store.close()
  process.exit(0)
}

function say(line: JobLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}
