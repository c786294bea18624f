// Cron jobs, for superusers. PocketBase: apis/cron.go.

import { cronsOf } from '../engine/crons/system-jobs.ts'
import { requireSuperuser } from './auth-guards.ts'
import { notFound } from './error-map.ts'
import type { RequestEvent } from './request-event.ts'
import type { Route } from './router.ts'

function list(event: RequestEvent): Response | Promise<Response> {
  requireSuperuser(event)
  // An app's own by name, then the built-in ones as they were made.
  const rank = (id: string) => (id.startsWith('__pb') ? '\uffff' : id)
  const jobs = cronsOf(event.engine)
    .jobs.map(({ id, expression }) => ({ id, expression }))
    .sort((a, b) => (rank(a.id) === rank(b.id) ? 0 : rank(a.id) < rank(b.id) ? -1 : 1))
  return event.json(200, jobs)
}

/** Starts a job and answers at once; it reports its own errors. */
function run(event: RequestEvent): Response | Promise<Response> {
  requireSuperuser(event)
  if (cronsOf(event.engine).runNow(event.param('id')) === null) throw notFound('Missing or invalid cron job.')
  return event.noContent()
}

export const cronRoutes: readonly Route[] = [
  { method: 'GET', path: '/api/crons', limit: 'path', handle: list },
  { method: 'POST', path: '/api/crons/:id', limit: 'path', handle: run },
]
