// What every job on a tenant's history is given.

import type { JobProgress } from '../../ipc/messages/jobs.ts'
import type { Clock } from '../../lib/clock.ts'
import type { ObjectStore } from '../../lib/object-store/object-store.ts'
import type { Rng } from '../../lib/rng.ts'

export interface JobContext {
  readonly store: ObjectStore
  readonly objectPrefix: string
  readonly clock: Clock
  readonly rng: Rng
  /** Empty at the start, this job's alone; whoever runs the job removes it. */
  readonly scratchDir: string
  readonly signal: AbortSignal
  readonly report: (progress: JobProgress) => void
}
