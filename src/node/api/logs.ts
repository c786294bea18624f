// The tenant's logs, for superusers. PocketBase: apis/logs.go.

import { FilterError } from '../engine/filter/resolver.ts'
import { findLog, listLogs, logStats } from '../engine/logs/log-query.ts'
import { perPageDefault, perPageMax } from '../engine/records/list.ts'
import { requireSuperuser } from './auth-guards.ts'
import { badRequest, notFound } from './error-map.ts'
import { booleanParameter, integerParameter } from './query-parameters.ts'
import type { RequestEvent } from './request-event.ts'
import type { Route } from './router.ts'

async function list(event: RequestEvent): Promise<Response> {
  requireSuperuser(event)
  const { engine, query } = event
  const perPage = integerParameter(event, 'perPage')
  const asked = {
    page: Math.max(1, integerParameter(event, 'page')),
    perPage: perPage <= 0 ? perPageDefault : Math.min(perPage, perPageMax),
    skipTotal: booleanParameter(event, 'skipTotal'),
    filter: query.get('filter') ?? '',
    sort: query.get('sort') ?? '',
  }
  return event.json(200, await orBadRequest(() => listLogs(engine.aux, asked, engine.clock.now())))
}

async function stats(event: RequestEvent): Promise<Response> {
  requireSuperuser(event)
  const { engine } = event
  const filter = event.query.get('filter') ?? ''
  return event.json(
    200,
    await orBadRequest(() => logStats(engine.aux, filter, engine.clock.now()), 'Invalid filter format.'),
  )
}

function view(event: RequestEvent): Response | Promise<Response> {
  requireSuperuser(event)
  const log = findLog(event.engine.aux, event.param('id'))
  if (log === null) throw notFound()
  return event.json(200, log)
}

async function orBadRequest<T>(body: () => Promise<T>, message?: string): Promise<T> {
  try {
    return await body()
  } catch (error) {
    if (error instanceof FilterError) throw badRequest(message)
    throw error
  }
}

export const logRoutes: readonly Route[] = [
  { method: 'GET', path: '/api/logs', limit: 'path', handle: list },
  { method: 'GET', path: '/api/logs/stats', limit: 'path', handle: stats },
  { method: 'GET', path: '/api/logs/:id', limit: 'path', handle: view },
]
