// `/api/cp/tenants/{id}/drill`: parse, call, translate.

import { Elysia } from 'elysia'
import type { DrillService } from '../services/drills.ts'
import { refused } from './error-map.ts'
import { operationBody } from './time-travel.ts'

export const drillRoutes = (drills: DrillService) =>
  new Elysia({ prefix: '/api/cp/tenants' }).post('/:id/drill', ({ params, status }) => {
    const started = drills.start(params.id)
    if (!started.ok) throw refused(started.error)
    return status(202, operationBody(started.value))
  })
