// Asks a node for a job until it is done. Asking again is all that a lost reply, a restarted worker or a busy node needs.

import type { JobProgress, JobReports, TenantJob } from '../../ipc/messages/jobs.ts'
import type { NodeId, TenantId } from '../../lib/brand.ts'
import { type Clock, sleep } from '../../lib/clock.ts'
import { AppError, errorMessage } from '../../lib/errors.ts'
import type { Logger } from '../../lib/obs/log.ts'
import type { StateReader } from '../state/state.ts'
import type { Orders } from './orders.ts'

/** What the job itself ended with; `code` is its own. */
export class TenantJobError extends AppError {
  readonly code: string
  constructor(code: string, message: string) {
    super(message)
    this.code = code
  }
}

/** One question, ms: it is answered at once, or asked again of wherever the node is by then. */
const orderMs = 2_000
/** Between two questions, ms: short jobs are answered soon, long ones cost little. */
const askAgainMsMin = 50
const askAgainMsMax = 1_000

export interface JobDeps {
  readonly state: Pick<StateReader, 'replicas'>
  readonly orders: Orders
  readonly clock: Clock
  readonly log: Logger
}

/**
 * Resolves with what the job reports. Rejects with TenantJobError when it failed, and with the signal's reason; a node that
 * does not answer is asked again until then.
 *
 * @param where looked up before each question: the tenant may have moved.
 */
export async function runTenantJob<T extends TenantJob['type']>(
  { state, orders, clock, log }: JobDeps,
  question: {
    readonly jobId: string
    readonly tenantId: TenantId
    readonly where: () => { readonly nodeId: NodeId; readonly job: Extract<TenantJob, { readonly type: T }> } | null
  },
  options: { readonly signal: AbortSignal; readonly onProgress?: (progress: JobProgress) => void },
): Promise<JobReports[T]> {
  const { jobId, tenantId, where } = question
  const { signal, onProgress } = options
  for (let pauseMs = askAgainMsMin; ; pauseMs = Math.min(askAgainMsMax, pauseMs * 2)) {
    signal.throwIfAborted()
    const place = where()
    if (place !== null) {
      try {
        const job: TenantJob = place.job
        // A sweep is about the paths themselves.
        const about = job.type === 'fork' ? [tenantId, job.source] : job.type === 'sweep' ? [] : [tenantId]
        const replicas = about.flatMap((id) => {
          const replica = state.replicas.get(id)
          return replica === undefined || replica.epoch === 0 ? [] : [replica]
        })
        const order = {
          type: 'job.run',
          jobId,
          tenantId,
          job,
          ...(replicas.length > 0 && { replicas }),
        } as const
        const answer = await orders.give<'job.run'>(place.nodeId, order, orderMs)
        if (answer.state === 'done') return answer.report as JobReports[T]
        if (answer.state === 'failed') throw new TenantJobError(answer.code, answer.message)
        onProgress?.(answer.progress)
      } catch (error) {
        if (error instanceof TenantJobError) throw error
        log.warn('node was not heard about a job', { node: place.nodeId, tenant: tenantId, error: errorMessage(error) })
      }
    }
    await sleep(clock, pauseMs, signal)
  }
}
