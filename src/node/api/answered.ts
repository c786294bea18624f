// What the activity log and metrics hear of each request.

import type { RequestEvent } from './request-event.ts'

/** What happened to a request, for the activity log and metrics. */
export interface Answered {
  readonly event: RequestEvent
  readonly status: number
  readonly durationMs: number
  /** What was thrown, for answers that are errors; else null. */
  readonly error: unknown
}
