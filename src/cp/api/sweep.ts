// `/api/cp/sweep`: what nobody needs any more, and its deletion.

import { Elysia, t } from 'elysia'
import type { AuditLog } from '../services/audit.ts'
import type { Leftover, SweepRound, SweepService } from '../services/sweep.ts'
import type { AdminAuth } from './admin-auth.ts'
import { listQuery, pageOf } from './lists.ts'
import { pocketBaseTime } from './tenants.ts'

function leftoverBody({ tenantId, slug, kind, phase, dueAtMs, objects, bytes }: Leftover) {
  return { tenant: tenantId, slug, kind, phase, due: dueAtMs === null ? null : pocketBaseTime(dueAtMs), objects, bytes }
}

function roundBody({ isDryRun, startedAtMs, endedAtMs, steps, uploadsEnded }: SweepRound) {
  return {
    dryRun: isDryRun,
    started: pocketBaseTime(startedAtMs),
    ended: endedAtMs === null ? null : pocketBaseTime(endedAtMs),
    steps: steps.map(({ tenantId, ...step }) => ({ tenant: tenantId, ...step })),
    uploadsEnded,
  }
}

export interface SweepRoutesDeps {
  readonly sweep: SweepService
  readonly audit: AuditLog
  readonly auth: AdminAuth
}

export const sweepRoutes = ({ sweep, audit, auth }: SweepRoutesDeps) =>
  new Elysia({ prefix: '/api/cp/sweep' })
    .get(
      '/',
      ({ query }) => ({
        ...pageOf(sweep.leftovers().map(leftoverBody), query, ['tenant', 'slug']),
        lastRound: sweep.last && roundBody(sweep.last),
      }),
      { query: listQuery },
    )
    .post(
      '/',
      async ({ body, request, status }) => {
        const isDryRun = body?.dryRun ?? false
        // What is refused is not done, and not on record.
        if (!isDryRun && !sweep.isUnderWay)
          await audit.note(auth.actorOf(request), { action: 'sweep.run', target: 'fleet' })
        return status(202, roundBody(sweep.begin(isDryRun)))
      },
      { body: t.Optional(t.Object({ dryRun: t.Optional(t.Boolean()) })) },
    )
