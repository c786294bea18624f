// An operation of the fleet, watched until its end. It goes on by itself when the one who watches goes away.

import { type Clock, sleep } from '../lib/clock.ts'
import { CliError } from './cli-error.ts'
import type { ApiClient } from './client.ts'
import { exitFailed } from './exit-codes.ts'

export interface OperationBody<Report> {
  readonly id: string
  readonly tenant: string
  readonly kind: string
  readonly state: 'running' | 'done' | 'failed'
  readonly progress: { readonly step: string; readonly done: number; readonly total: number | null }
  readonly report: Report | null
  readonly error: { readonly code: string; readonly message: string } | null
}

/** Between two looks, ms. */
const lookEveryMsMin = 100
const lookEveryMsMax = 1_000

/** Resolves with the report; throws CliError with what the operation failed with. */
export async function followOperation<Report>(
  client: ApiClient,
  started: OperationBody<Report>,
  clock: Clock,
): Promise<Report> {
  const isShown = process.stderr.isTTY === true
  let operation = started
  try {
    for (
      let pauseMs = lookEveryMsMin;
      operation.state === 'running';
      pauseMs = Math.min(lookEveryMsMax, pauseMs * 1.5)
    ) {
      await sleep(clock, pauseMs)
      operation = await client.request<OperationBody<Report>>(
        'GET',
        `/api/cp/tenants/${started.tenant}/operations/${started.id}`,
      )
      if (isShown) process.stderr.write(`\r\x1b[K${progressLine(operation)}`)
    }
  } finally {
    if (isShown) process.stderr.write('\r\x1b[K')
  }
  if (operation.state === 'done' && operation.report !== null) return operation.report
  throw new CliError(
    `${operation.kind} failed: ${operation.error?.message ?? 'the fleet does not say why'}`,
    exitFailed,
  )
}

function progressLine({ kind, progress: { step, done, total } }: OperationBody<unknown>): string {
  return `${kind}: ${step}${total === null ? '' : ` (${done} of ${total})`}`
}
