// The SQL console, for superusers. PocketBase: apis/sql.go.

import { lengthBetween, required } from '../engine/settings/checks.ts'
import { runSql, SqlConsoleError, sqlLengthMax } from '../engine/sql/console.ts'
import { check, readBody, readTexts } from './auth-forms.ts'
import { requireSuperuser } from './auth-guards.ts'
import { badRequest } from './error-map.ts'
import type { RequestEvent } from './request-event.ts'
import type { Route } from './router.ts'

async function run(event: RequestEvent): Promise<Response> {
  requireSuperuser(event)
  const { engine } = event
  const { query } = readTexts(await readBody(event), 'query')
  check(
    { query: [query, required, lengthBetween(0, sqlLengthMax)] },
    'An error occurred while validating the submitted data.',
  )
  try {
    const result = await runSql(engine.data, engine.clock, query)
    if (result.columns.length === 0) engine.collections.reload() // the schema may have changed
    return event.json(200, result)
  } catch (error) {
    if (!(error instanceof SqlConsoleError)) throw error
    throw badRequest(`Failed to execute query. Raw error:\n${error.message}`)
  }
}

export const sqlRoutes: readonly Route[] = [{ method: 'POST', path: '/api/sql', limit: 'path', handle: run }]
