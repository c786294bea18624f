// `/api/cp/tenants`: parse, call, translate.

import { Elysia, t } from 'elysia'
import { ackModes } from '../../ipc/messages/tenant.ts'
import type { NodeId } from '../../lib/brand.ts'
import type { AdoptionService } from '../services/adoption.ts'
import type { TenantMoves } from '../services/placement/moves.ts'
import type { CreateTenant, TenantService, TenantView, UpdateTenant } from '../services/tenants.ts'
import type { TenantActivity } from '../state/activities.ts'
import type { DrillFailure, ProvenRestore } from '../state/drills.ts'
import { standbysOf } from '../state/placements.ts'
import type { AdminAuth } from './admin-auth.ts'
import { refused } from './error-map.ts'
import { listQuery, pageOf } from './lists.ts'

const limit = t.Optional(t.Union([t.Null(), t.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })]))
const quotas = t.Object({
  storageBytesMax: limit,
  apiRequestsPerDayMax: limit,
  realtimeConnectionsMax: limit,
  queryMsMax: t.Optional(t.Integer({ minimum: 1, maximum: 3_600_000 })),
})
const email = t.String({ pattern: '^[^\\s@]{1,64}@[^\\s@]{1,190}$' })
const superuser = t.Object({ email, password: t.String({ maxLength: 512 }) })
const name = t.String({ minLength: 1, maxLength: 64 })
const host = t.String({ minLength: 1, maxLength: 253 })
const hosts = t.Array(host, { maxItems: 100 })
/** From at once to ten minutes: beyond that a bound is none. */
export const lossBoundMs = t.Optional(t.Integer({ minimum: 0, maximum: 600_000 }))
export const onStoreOutage = t.Optional(t.Union([t.Literal('spool'), t.Literal('refuse')]))
/** From an hour to the month that one an hour is kept for; null: a day, as everybody's. */
const keepPointsHours = t.Optional(t.Union([t.Null(), t.Integer({ minimum: 1, maximum: 720 })]))
const hourMs = 3_600_000
export const ackMode = t.Union(ackModes.map((mode) => t.Literal(mode)))

const createBody = t.Object({
  id: name,
  domain: t.Optional(host),
  domains: t.Optional(hosts),
  owner: t.Optional(t.Union([t.Null(), name])),
  plan: t.Optional(name),
  region: t.Optional(t.Union([t.Null(), name])),
  ackMode: t.Optional(ackMode),
  lossBoundMs,
  onStoreOutage,
  quotas: t.Optional(quotas),
  superuser: t.Optional(t.Union([t.Null(), superuser])),
})

const updateBody = t.Object({
  id: t.Optional(name),
  slug: t.Optional(name),
  domain: t.Optional(host),
  domains: t.Optional(hosts),
  status: t.Optional(t.Union([t.Literal('active'), t.Literal('suspended')])),
  plan: t.Optional(name),
  ackMode: t.Optional(ackMode),
  lossBoundMs,
  onStoreOutage,
  keepPointsHours,
  warmStandby: t.Optional(t.Boolean()),
  quotas: t.Optional(quotas),
  metadata: t.Optional(t.Record(t.String({ maxLength: 64 }), t.String({ maxLength: 1_024 }))),
})

export function tenantBody({
  handedOverAtMs,
  tenant,
  placement,
  busyWorker,
  drill,
  activity,
  keepEveryMs,
  warmStandby,
}: TenantView) {
  const { id, slug, domains, status, owner, plan, region, ackMode, limits, metadata } = tenant
  return {
    id,
    slug,
    domains,
    status,
    owner,
    plan,
    region,
    ackMode,
    lossBoundMs: tenant.lossBoundMs,
    onStoreOutage: tenant.onStoreOutage,
    keepPointsHours: keepEveryMs === null ? null : keepEveryMs / hourMs,
    warmStandby: warmStandby !== null,
    quotas: limits,
    metadata,
    handedOver: handedOverAtMs === null ? null : pocketBaseTime(handedOverAtMs),
    placement: placement && {
      nodeId: placement.nodeId,
      worker: placement.worker,
      busyWorker,
      epoch: placement.epoch,
      standbys: standbysOf(placement),
      warm: warmStandby?.place?.nodeId ?? null,
    },
    provenRestore: drill?.proven ? provenBody(drill.proven) : null,
    failedDrill: drill?.failure ? failureBody(drill.failure) : null,
    archive: activity && archiveBody(activity),
    created: pocketBaseTime(tenant.createdAtMs),
    updated: pocketBaseTime(tenant.updatedAtMs),
  }
}

/** `lastUsed` is noted once a day. */
function archiveBody({ usedAtMs, stage, stageAtMs, reopenMs }: TenantActivity) {
  return { stage, since: pocketBaseTime(stageAtMs), lastUsed: pocketBaseTime(usedAtMs), reopenMs }
}

function provenBody({ atMs, nodeId, txid, sizeBytes, restoreMs }: ProvenRestore) {
  return { at: pocketBaseTime(atMs), nodeId, txid, sizeBytes, restoreMs }
}

function failureBody({ atMs, nodeId, code, message }: DrillFailure) {
  return { at: pocketBaseTime(atMs), nodeId, code, message }
}

/** `2024-01-31 12:00:00.000Z` */
export function pocketBaseTime(atMs: number): string {
  return new Date(atMs).toISOString().replace('T', ' ')
}

const lower = (text: string) => text.toLowerCase()

function patchOf(body: typeof updateBody.static): UpdateTenant {
  const slug = body.slug ?? body.id
  const domains = body.domains ?? (body.domain === undefined ? undefined : [body.domain])
  return {
    ...(slug !== undefined && { slug: lower(slug) }),
    ...(domains !== undefined && { domains: domains.map(lower) }),
    ...(body.status !== undefined && { status: body.status }),
    ...(body.plan !== undefined && { plan: body.plan }),
    ...(body.ackMode !== undefined && { ackMode: body.ackMode }),
    ...(body.lossBoundMs !== undefined && { lossBoundMs: body.lossBoundMs }),
    ...(body.onStoreOutage !== undefined && { onStoreOutage: body.onStoreOutage }),
    ...(body.keepPointsHours !== undefined && {
      keepEveryMs: body.keepPointsHours === null ? null : body.keepPointsHours * hourMs,
    }),
    ...(body.warmStandby !== undefined && { warmStandby: body.warmStandby }),
    ...(body.quotas !== undefined && { limits: body.quotas }),
    ...(body.metadata !== undefined && { metadata: body.metadata }),
  }
}

function creationOf(body: typeof createBody.static): CreateTenant {
  const { id, domain, domains, quotas: limits, ...rest } = body
  const hostNames = [...(domain === undefined ? [] : [domain]), ...(domains ?? [])].map(lower)
  return { ...rest, slug: lower(id), domains: [...new Set(hostNames)], ...(limits !== undefined && { limits }) }
}

export interface TenantRoutesDeps {
  readonly tenants: TenantService
  readonly moves: TenantMoves
  readonly adoption: AdoptionService
  readonly auth: AdminAuth
}

export const tenantRoutes = ({ tenants, moves, adoption, auth }: TenantRoutesDeps) => {
  const bodyOf = (reference: string) => {
    const found = tenants.find(reference)
    if (found === null) throw refused('not_found')
    return tenantBody(found)
  }
  const update = async (context: {
    readonly params: { readonly id: string }
    readonly body: typeof updateBody.static
    readonly request: Request
  }) => {
    const changed = await tenants.update(context.params.id, patchOf(context.body), auth.actorOf(context.request))
    if (!changed.ok) throw refused(changed.error)
    return tenantBody(changed.value)
  }
  return new Elysia({ prefix: '/api/cp/tenants' })
    .post(
      '/',
      async ({ body, request, status }) => {
        const made = await tenants.create(creationOf(body), auth.actorOf(request))
        if (!made.ok) throw refused(made.error)
        const { setupUrl } = made.value
        return status(201, { ...tenantBody(made.value), ...(setupUrl !== null && { setupUrl }) })
      },
      { body: createBody },
    )
    .get(
      '/',
      ({ query }) => {
        const isWanted = ({ tenant, placement }: TenantView) =>
          (query.status === undefined || tenant.status === query.status) &&
          (query.owner === undefined || tenant.owner === query.owner) &&
          (query.plan === undefined || tenant.plan === query.plan) &&
          (query.node === undefined || placement?.nodeId === query.node)
        return pageOf(tenants.list().filter(isWanted).map(tenantBody), query, ['id', 'slug', 'domains'])
      },
      { query: listQuery },
    )
    .post(
      '/adopt',
      async ({ body, request }) => {
        const adopted = await adoption.adopt(body.reference, body.acceptLoss === true, auth.actorOf(request))
        if (!adopted.ok) throw refused(adopted.error)
        return bodyOf(adopted.value)
      },
      { body: t.Object({ reference: name, acceptLoss: t.Optional(t.Boolean()) }) },
    )
    .get('/:id', ({ params }) => bodyOf(params.id))
    .put('/:id', update, { body: updateBody })
    .patch('/:id', update, { body: updateBody })
    .delete('/:id', async ({ params, request, status }) => {
      const deleted = await tenants.delete(params.id, auth.actorOf(request))
      if (!deleted.ok) throw refused(deleted.error)
      return status(204, undefined)
    })
    .post(
      '/:id/migrate',
      async ({ params, body, request }) => {
        const target = (body?.node as NodeId | undefined) ?? null
        const moved = await moves.migrate(params.id, target, auth.actorOf(request))
        if (!moved.ok) throw refused(moved.error)
        return bodyOf(params.id)
      },
      { body: t.Optional(t.Object({ node: t.Optional(name) })) },
    )
    .post(
      '/:id/force-takeover',
      async ({ params, request }) => {
        const forced = await moves.forceTakeover(params.id, auth.actorOf(request))
        if (!forced.ok) throw refused(forced.error)
        return bodyOf(params.id)
      },
      // The acceptance is part of the request, so that nobody loses data by a slip.
      { body: t.Object({ acceptLoss: t.Literal(true) }) },
    )
    .post(
      '/:id/take-back',
      async ({ params, request }) => {
        const taken = await tenants.takeBack(params.id, auth.actorOf(request))
        if (!taken.ok) throw refused(taken.error)
        return bodyOf(params.id)
      },
      // Two programs that write one history lose writes: nobody may get there by a slip.
      { body: t.Object({ otherHasStopped: t.Literal(true) }) },
    )
    .post(
      '/:id/superusers',
      async ({ params, body, request }) => {
        const changed = await tenants.upsertSuperuser(params.id, body, auth.actorOf(request))
        if (!changed.ok) throw refused(changed.error)
        return { email: body.email, created: changed.value.created }
      },
      { body: superuser },
    )
}
