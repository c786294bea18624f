// One log entry per request, as the tenant's settings want it. PocketBase: apis/middlewares.go, activityLogger.

import { errorMessage } from '../../../lib/errors.ts'
import { logLevel, logsOf } from '../../engine/logs/log-store.ts'
import type { Answered } from '../answered.ts'
import { ApiError } from '../error-map.ts'

/** Characters that are kept of what a client sends. */
const urlMax = 3_000
const headerMax = 2_000
const methodMax = 50

export function logRequest({ event, status, durationMs, error }: Answered): void {
  const { engine, request } = event
  const { logs } = engine.settings
  if (logs.maxDays === 0 || engine.isClosed) return
  const level = error === null ? logLevel.info : logLevel.error
  if (level < logs.minLevel) return
  if (error === null && (event.isSecretPath || event.keepsLease || event.path.startsWith('/api/logs'))) return
  const method = event.method.slice(0, methodMax)
  // A secret stands in the address itself: an authorisation code, say.
  const url = event.isSecretPath
    ? event.path
    : `${event.path}${event.rawQuery === '' ? '' : `?${event.rawQuery}`}`.slice(0, urlMax)
  const data: Record<string, unknown> = {
    type: 'request',
    execTime: Math.round(durationMs * 1_000_000) / 1_000_000,
    url,
    method,
    status,
    referer: (request.headers.get('referer') ?? '').slice(0, headerMax),
    userAgent: (request.headers.get('user-agent') ?? '').slice(0, headerMax),
    auth: event.auth?.collection.name ?? '',
  }
  if (event.auth !== null && logs.logAuthId) data['authId'] = event.auth.id
  if (logs.logIP) {
    data['userIP'] = event.realIp
    data['remoteIP'] = event.lease.remoteAddress
  }
  if (error !== null) {
    data['error'] = errorMessage(error)
    data['details'] = error instanceof ApiError ? error.data : {}
  }
  logsOf(engine).add({ level, message: `${method} ${readable(url)}`, data, atMs: engine.clock.now() })
}

function readable(url: string): string {
  try {
    return decodeURIComponent(url)
  } catch {
    return url // malformed escapes stay as they were sent
  }
}
