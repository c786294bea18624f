// Whether the API answers; superusers also learn how their address arrives. PocketBase: apis/health.go.

import type { MaybePromise } from '../../lib/result.ts'
import { isBackupRunning } from '../engine/backups/running.ts'
import type { RequestEvent } from './request-event.ts'
import type { Route } from './router.ts'

/** Headers that a proxy in front would add; seeing one hints that the setting for trusted proxies is missing. */
const proxyHeaders = ['CF-Connecting-IP', 'Fly-Client-IP', 'X-Forwarded-For', 'X-Real-IP']

function health(event: RequestEvent): MaybePromise<Response> {
  if (!event.isSuperuser) return event.json(200, { message: 'API is healthy.', code: 200, data: {} })
  const names = [...event.engine.settings.trustedProxy.headers, ...proxyHeaders]
  const possibleProxyHeader = names.find((name) => (event.request.headers.get(name) ?? '') !== '') ?? ''
  const data = { canBackup: !isBackupRunning(event.engine), possibleProxyHeader, realIP: event.realIp }
  return event.json(200, { message: 'API is healthy.', code: 200, data })
}

export const healthRoutes: readonly Route[] = [{ method: 'GET', path: '/api/health', limit: 'path', handle: health }]
