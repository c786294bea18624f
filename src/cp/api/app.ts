// The HTTP app of a member: authentication first, then routes, and every failure in PocketBase's shape.

import { Elysia, ValidationError } from 'elysia'
import { recordId } from '../../lib/id.ts'
import type { Logger } from '../../lib/obs/log.ts'
import { systemRng } from '../../lib/rng.ts'
import type { AdminService } from '../services/admins.ts'
import type { AuditLog } from '../services/audit.ts'
import type { CostService } from '../services/costs.ts'
import type { DrillService } from '../services/drills.ts'
import type { OrphanService } from '../services/orphans.ts'
import type { SweepService } from '../services/sweep.ts'
import { adminRoutes } from './admins.ts'
import { auditRoutes } from './audit.ts'
import { costRoutes } from './costs.ts'
import { drillRoutes } from './drills.ts'
import { answerOfError, type ErrorBody, errorResponse } from './error-map.ts'
import { grantRoutes } from './grants.ts'
import { nodeRoutes } from './nodes.ts'
import { type OperationsDeps, operationRoutes } from './operations.ts'
import { orphanRoutes } from './orphans.ts'
import { sweepRoutes } from './sweep.ts'
import { type TenantRoutesDeps, tenantRoutes } from './tenants.ts'
import { type TimeTravelRoutesDeps, timeTravelRoutes } from './time-travel.ts'

/** No request of this API is larger; imports go straight to the worker. */
export const bodyBytesMax = 1024 * 1024
/** Beyond this the server cuts a body off without a word of ours: for those that hide their length. */
const serverBodyBytesMax = 16 * bodyBytesMax
/** Fields named in one validation error. */
const fieldErrorsMax = 20

export interface AppDeps extends OperationsDeps, TimeTravelRoutesDeps, TenantRoutesDeps {
  readonly admins: AdminService
  readonly costs: CostService
  readonly drills: DrillService
  readonly orphans: OrphanService
  readonly sweep: SweepService
  readonly audit: AuditLog
  readonly log: Logger
}

export function controlPlaneApp(deps: AppDeps) {
  const { auth, log, admins, nodes } = deps
  return new Elysia({ serve: { maxRequestBodySize: serverBodyBytesMax } })
    .onRequest(
      ({ request, server }) => auth.check(request, server?.requestIP(request)?.address ?? '') ?? checkBody(request),
    )
    .onError({ as: 'global' }, ({ error, code, request }) => {
      if (code === 'VALIDATION')
        return errorResponse(400, 'Something went wrong while processing your request.', fieldErrors(error))
      if (code === 'PARSE') return errorResponse(400, 'The body is not valid JSON.')
      if (code === 'NOT_FOUND') return errorResponse(404, "The requested resource wasn't found.")
      const answer = answerOfError(error)
      if (answer !== null) return answer
      const reference = recordId(systemRng)
      log.error('request failed', { reference, path: new URL(request.url).pathname, error })
      return errorResponse(500, `Something went wrong while processing your request (${reference}).`)
    })
    .use(operationRoutes(deps))
    .use(tenantRoutes(deps))
    .use(timeTravelRoutes(deps))
    .use(costRoutes(deps.costs))
    .use(drillRoutes(deps.drills))
    .use(orphanRoutes(deps.orphans, auth))
    .use(auditRoutes(deps.audit))
    .use(sweepRoutes(deps))
    .use(grantRoutes(deps))
    .use(nodeRoutes(nodes, auth))
    .use(adminRoutes('/api/cluster/admins', admins, auth))
    .use(adminRoutes('/api/cp/admins', admins, auth))
}

function checkBody({ headers, body }: Request): Response | undefined {
  if (body === null) return undefined
  if (Number(headers.get('content-length') ?? 0) > bodyBytesMax)
    return errorResponse(413, `The body may have ${bodyBytesMax} bytes.`)
  const type = headers.get('content-type')
  if (type !== null && !/^application\/(?:[\w.-]+\+)?json\b/i.test(type.trim()))
    return errorResponse(415, 'The body must be JSON, with the content type application/json.')
  return undefined
}

function fieldErrors(error: unknown): ErrorBody['data'] {
  if (!(error instanceof ValidationError)) return {}
  const data: Record<string, { code: string; message: string }> = {}
  for (const detail of error.all.slice(0, fieldErrorsMax)) {
    const { path, message } = detail as { readonly path?: string; readonly message?: string }
    const field = (path ?? '').replace(/^\//, '').replaceAll('/', '.') || error.type
    data[field] ??= { code: 'validation_invalid_value', message: message ?? 'Invalid value.' }
  }
  return data
}
