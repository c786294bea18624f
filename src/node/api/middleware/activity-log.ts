// One log entry per request, as the tenant's settings want it. PocketBase: apis/middlewares.go, activityLogger.

import { errorMessage } from '../../../lib/errors.ts'
import { JsonText, toJson, toSortedJson } from '../../engine/json/json-text.ts'
import { logLevel, logsOf } from '../../engine/logs/log-store.ts'
import type { Answered } from '../answered.ts'
import { ApiError } from '../error-map.ts'

/** Characters that are kept of what a client sends. */
const urlMax = 3_000
const headerMax = 2_000
const methodMax = 50
/** What was wrong may name what was sent, whole. */
const errorMax = 3_000
const detailsMax = 10_000

export function logRequest({ event, status, durationMs, error }: Answered): void {
  const { engine, request } = event
  const { logs } = engine.settings
  if (logs.maxDays === 0 || engine.isClosed) return
  const level = error === null ? logLevel.info : logLevel.error
  if (level < logs.minLevel) return
  if (error === null && (event.isSecretPath || event.isQuiet || event.keepsLease || event.path.startsWith('/api/logs')))
    return
  const method = event.method.slice(0, methodMax)
  // A secret stands in the address itself: an authorisation code, say.
  const url = event.isSecretPath
    ? event.path
    : `${event.path}${event.rawQuery === '' ? '' : `?${event.rawQuery}`}`.slice(0, urlMax)
  const { headers } = request
  // Keys in their order: most requests are logged.
  const data = toJson({
    auth: event.auth?.collection.name ?? '',
    authId: event.auth !== null && logs.logAuthId ? event.auth.id : undefined,
    details: error === null ? undefined : detailsOf(error),
    error: error === null ? undefined : errorMessage(error).slice(0, errorMax),
    execTime: Math.round(durationMs * 1_000_000) / 1_000_000,
    method,
    referer: (headers.get('referer') ?? '').slice(0, headerMax),
    remoteIP: logs.logIP ? event.lease.remoteAddress : undefined,
    status,
    type: 'request',
    url,
    userAgent: (headers.get('user-agent') ?? '').slice(0, headerMax),
    userIP: logs.logIP ? event.realIp : undefined,
  })
  logsOf(engine).add({ level, message: `${method} ${readable(url)}`, data, atMs: engine.clock.now() })
}

function detailsOf(error: unknown): JsonText {
  const text = toSortedJson(error instanceof ApiError ? error.data : {})
  return new JsonText(text.length <= detailsMax ? text : toSortedJson({ omittedCharacters: text.length }))
}

function readable(url: string): string {
  if (!url.includes('%')) return url
  try {
    return decodeURIComponent(url)
  } catch {
    return url // malformed escapes stay as they were sent
  }
}
