// `/api/cp/tenants/{id}/restore-points`, `/restore`, `/fork`, `/export`, `/eject`, `/archive`, `/resume`, `/operations/{operation}`: parse, call, translate.

import { Elysia, t } from 'elysia'
import { grantLifetimeMs, platformExportPath, signGrant } from '../../ipc/messages/grant.ts'
import type { JobReports, PointWish } from '../../ipc/messages/jobs.ts'
import type { Txid } from '../../lib/brand.ts'
import { errorCode, errorMessage } from '../../lib/errors.ts'
import type { ControlPlaneConfig } from '../config.ts'
import type { ArchiveService } from '../services/archive.ts'
import { ejectCommands } from '../services/eject-commands.ts'
import type { OperationService, OperationView } from '../services/operations.ts'
import type { TimeTravel } from '../services/time-travel.ts'
import { ApiError, refused } from './error-map.ts'
import type { GrantDeps } from './grants.ts'
import { ackMode, lossBoundMs, onStoreOutage, pocketBaseTime, tenantBody } from './tenants.ts'

export interface TimeTravelRoutesDeps extends GrantDeps {
  readonly timeTravel: TimeTravel
  readonly operations: OperationService
  readonly archive: ArchiveService
  readonly store: Pick<ControlPlaneConfig, 'storeLocation' | 'objectPrefix'>
}

/** Points that are listed with their times, each one small read of the store. */
const latestDefault = 20
const latestMax = 1_000

const moment = {
  at: t.Optional(t.Union([t.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }), t.String({ maxLength: 40 })])),
  txid: t.Optional(t.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER })),
}
const name = t.String({ minLength: 1, maxLength: 64 })
const host = t.String({ minLength: 1, maxLength: 253 })

/** A time with its zone, as ISO 8601 and PocketBase write it, or ms since the Unix epoch. */
export function parseMoment(value: string | number): number | null {
  if (typeof value === 'number') return value
  if (!/^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)$/.test(value)) return null
  const atMs = Date.parse(value.replace(' ', 'T'))
  return Number.isFinite(atMs) && atMs >= 0 ? atMs : null
}

function wishOf({
  at,
  txid,
}: {
  readonly at?: string | number | undefined
  readonly txid?: number | undefined
}): PointWish {
  if (at !== undefined && txid !== undefined) throw badMoment('Give a time or a TXID, not both.')
  if (txid !== undefined) return { type: 'txid', txid: txid as Txid }
  if (at === undefined) return { type: 'latest' }
  const atMs = parseMoment(at)
  if (atMs === null)
    throw badMoment('Must be a time with its zone, such as 2026-01-31T12:00:00Z, or milliseconds since 1970.')
  return { type: 'time', atMs }
}

function badMoment(message: string): ApiError {
  return new ApiError(400, message, { at: { code: 'invalid_moment', message } })
}

/** What a person named cannot be gone back to: their request is at fault, and the message says what there is. */
async function naming<T>(work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    if (errorCode(error) !== 'no_such_point') throw error
    const message = errorMessage(error)
    throw new ApiError(400, `There is no such moment: ${message}.`, { at: { code: 'no_such_point', message } })
  }
}

export function operationBody(view: OperationView) {
  const { id, tenantId, kind, state, progress, startedAtMs, endedAtMs, report, error } = view
  return {
    id,
    tenant: tenantId,
    kind,
    state,
    progress,
    started: pocketBaseTime(startedAtMs),
    ended: endedAtMs === null ? null : pocketBaseTime(endedAtMs),
    report: report && reportBody(report),
    error,
  }
}

function reportBody(report: NonNullable<OperationView['report']>) {
  if (!('cut' in report)) {
    if (!('isHandedOver' in report)) return report
    return { ...report, databases: report.databases.map(({ atMs, ...each }) => ({ ...each, at: isoTime(atMs) })) }
  }
  const { cut, ...rest } = report
  return { cut: { at: isoTime(cut.atMs), data: cut.data, hooks: cut.hooks, auxiliary: cut.auxiliary }, ...rest }
}

/** With all its digits: it may be given back to mean the same moment. */
function isoTime(atMs: number): string {
  return new Date(atMs).toISOString()
}

function pointsBody({ ranges, latest }: JobReports['points']) {
  return {
    ranges: ranges.map(({ fromMs, toMs, fromTxid, toTxid, pointsCount, resolution }) => ({
      from: isoTime(fromMs),
      to: isoTime(toMs),
      fromTxid,
      toTxid,
      points: pointsCount,
      resolution,
    })),
    latest: latest.map(({ txid, atMs }) => ({ txid, at: isoTime(atMs) })),
  }
}

export const timeTravelRoutes = ({
  timeTravel,
  operations,
  archive,
  tenants,
  store,
  audit,
  auth,
  secrets,
  clock,
}: TimeTravelRoutesDeps) =>
  new Elysia({ prefix: '/api/cp/tenants' })
    .get(
      '/:id/restore-points',
      async ({ params, query }) => {
        const found = await timeTravel.points(params.id, query.latest ?? latestDefault)
        if (!found.ok) throw refused(found.error)
        return pointsBody(found.value)
      },
      { query: t.Object({ latest: t.Optional(t.Numeric({ minimum: 0, maximum: latestMax })) }) },
    )
    .post(
      '/:id/restore',
      async ({ params, body, request, status }) => {
        const wish = wishOf(body)
        if (wish.type === 'latest') throw badMoment('Name the moment to go back to: a time or a TXID.')
        const started = body.dryRun
          ? timeTravel.preview(params.id, wish)
          : await naming(timeTravel.restore(params.id, wish, auth.actorOf(request)))
        if (!started.ok) throw refused(started.error)
        return status(202, operationBody(started.value))
      },
      { body: t.Object({ ...moment, dryRun: t.Optional(t.Boolean()) }) },
    )
    .post(
      '/:id/fork',
      async ({ params, body, request, status }) => {
        const { id, domain, region, ackMode, lossBoundMs, onStoreOutage } = body
        const started = await naming(
          timeTravel.fork(
            params.id,
            wishOf(body),
            {
              slug: id.toLowerCase(),
              ...(domain !== undefined && { domains: [domain.toLowerCase()] }),
              ...(region !== undefined && { region }),
              ...(ackMode !== undefined && { ackMode }),
              ...(lossBoundMs !== undefined && { lossBoundMs }),
              ...(onStoreOutage !== undefined && { onStoreOutage }),
            },
            auth.actorOf(request),
          ),
        )
        if (!started.ok) throw refused(started.error)
        const { tenant, operation } = started.value
        const made = tenants.find(tenant.id)
        return status(202, { tenant: made && tenantBody(made), operation: operationBody(operation) })
      },
      {
        body: t.Object({
          ...moment,
          id: name,
          domain: t.Optional(host),
          region: t.Optional(name),
          ackMode: t.Optional(ackMode),
          lossBoundMs,
          onStoreOutage,
        }),
      },
    )
    .post(
      '/:id/export',
      async ({ params, body, request }) => {
        const found = tenants.find(params.id)
        const admin = auth.adminOf(request)
        if (found === null || admin === null) throw refused('not_found')
        if (found.tenant.status !== 'active') throw refused('not_active')
        const { id, slug } = found.tenant
        const cut = await naming(timeTravel.cut(id, wishOf(body)))
        const details = { at: isoTime(cut.atMs) }
        await audit.note(auth.actorOf(request), { action: 'tenant.export', target: id, targetName: slug, details })
        const expiresAtMs = clock.now() + grantLifetimeMs
        const query = new URLSearchParams({
          at: String(cut.atMs),
          data: String(cut.data),
          auxiliary: String(cut.auxiliary),
        })
        return {
          tenant: id,
          at: isoTime(cut.atMs),
          path: `${platformExportPath}?${query}`,
          grant: signGrant(secrets, { tenantId: id, action: 'export', admin: admin.id, expiresAtMs }),
          expires: isoTime(expiresAtMs),
        }
      },
      { body: t.Object(moment) },
    )
    .post(
      '/:id/eject',
      async ({ params, body, request, status }) => {
        const found = tenants.find(params.id)
        if (found === null) throw refused('not_found')
        const wish = wishOf(body)
        const atMs = wish.type === 'time' ? wish.atMs : null
        const { storeLocation, objectPrefix } = store
        const { directory } = body
        const { id } = found.tenant
        const commands = ejectCommands({
          location: storeLocation,
          objectPrefix,
          tenantId: id,
          replicaEpoch: found.replicaEpoch,
          directory,
          atMs,
        })
        const started = await timeTravel.eject(id, body.handOver ?? false, auth.actorOf(request))
        if (!started.ok) throw refused(started.error)
        return status(202, { tenant: id, ...commands, operation: operationBody(started.value) })
      },
      {
        body: t.Object({
          at: moment.at,
          directory: t.String({ minLength: 1, maxLength: 4_096, pattern: '^/[^\\x00-\\x1f]*$' }),
          handOver: t.Optional(t.Boolean()),
        }),
      },
    )
    .post('/:id/archive', async ({ params, request, status }) => {
      const started = await archive.archive(params.id, auth.actorOf(request))
      if (!started.ok) throw refused(started.error)
      return status(202, operationBody(started.value))
    })
    .post('/:id/resume', async ({ params, request }) => {
      const resumed = await archive.resume(params.id, auth.actorOf(request))
      if (!resumed.ok) throw refused(resumed.error)
      const found = tenants.find(params.id)
      if (found === null) throw refused('not_found')
      return tenantBody(found)
    })
    .delete('/:id/operations', async ({ params, request, status }) => {
      const found = tenants.find(params.id)
      if (found === null || !(await operations.cancel(found.tenant.id, auth.actorOf(request))))
        throw refused('not_found')
      return status(204, undefined)
    })
    .get('/:id/operations/:operation', ({ params }) => {
      const tenant = tenants.find(params.id)
      const view = tenant && operations.get(tenant.tenant.id, params.operation)
      if (view === null) throw refused('not_found')
      return operationBody(view)
    })
