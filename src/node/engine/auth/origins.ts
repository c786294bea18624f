// Where a record signed in from before, and the mail it gets when a place is new. PocketBase: apis/record_helpers.go.

import { type Clock, sleep } from '../../../lib/clock.ts'
import { TimeoutError } from '../../../lib/errors.ts'
import { authOriginsName } from '../collections/collection.ts'
import { formatDateTime } from '../fields/datetime.ts'
import { sendAuthAlert } from '../mails/record-mails.ts'
import type { EngineRecord } from '../records/record.ts'
import type { AuthHost } from './auth-host.ts'
import { fingerprintOf } from './random.ts'
import { newRecordOf, recordsOf } from './system-records.ts'

const originsMax = 5
/** Characters of a user agent that count. */
const userAgentMax = 200
/** A mail server that does not answer must not keep somebody from signing in. */
const alertWaitMs = 15_000

/** Notes the place of a sign-in and warns the owner of a new one; the first one ever is nobody's surprise. */
export async function noteOrigin(
  host: AuthHost,
  record: EngineRecord,
  from: { readonly ip: string; readonly userAgent: string },
): Promise<void> {
  const userAgent =
    from.userAgent.length > userAgentMax ? `${from.userAgent.slice(0, userAgentMax)}...` : from.userAgent
  const fingerprint = fingerprintOf(from.ip, userAgent)
  const origins = recordsOf(host, authOriginsName, record)
  const known = origins.find((origin) => origin.text('fingerprint') === fingerprint)
  if (known !== undefined) return host.records.save(known)
  if (origins.length > 0 && record.text('email') !== '') {
    const info = `${formatDateTime(host.clock.now())} - ${from.ip} ${userAgent}`
    await withDeadline(host.clock, sendAuthAlert(host, record, info))
  }
  for (const oldest of origins.slice(originsMax - 1)) await host.records.delete(oldest)
  const origin = newRecordOf(host, authOriginsName, record)
  origin.set('fingerprint', fingerprint)
  await host.records.save(origin)
}

async function withDeadline(clock: Clock, work: Promise<void>): Promise<void> {
  const abort = new AbortController()
  const deadline = sleep(clock, alertWaitMs, abort.signal).then(() => {
    throw new TimeoutError(`the mail was not sent within ${alertWaitMs} ms`)
  })
  try {
    await Promise.race([work, deadline])
  } finally {
    deadline.catch(() => {}) // ended by the abort below, or already reported by the race
    abort.abort(new Error('the mail was sent'))
  }
}
