// The shape of every request of the conversations declared here, checked by the server before a handler sees it.

import {
  type Epoch,
  isNodeId,
  isSlug,
  isTenantId,
  type NodeId,
  type Slug,
  type TenantId,
  type Txid,
} from '../../lib/brand.ts'
import type { GatewayRequest, RouteKey } from './cp-gateway.ts'
import type { AwayTenant, NodeLoad, NodeOrder, NodeRequest, WorkerAddress } from './cp-node.ts'
import type { Cut, PointWish, TenantJob } from './jobs.ts'
import { isOrphanName, orphanFiles } from './orphans.ts'
import {
  anyOf,
  boolean,
  integer,
  list,
  nullable,
  number,
  object,
  oneOf,
  optional,
  record,
  type Shape,
  text,
} from './shape.ts'
import {
  ackModes,
  type Placement,
  type StandbyRef,
  type StandbySet,
  standbySetsMax,
  standbysMax,
  type TenantLimits,
  type TenantSpec,
  type WarmRef,
} from './tenant.ts'

/** A shape for each message type of a union. */
export type MessageShapes<Message extends { readonly type: string }> = {
  readonly [T in Message['type']]: Shape<Extract<Message, { readonly type: T }>>
}

/** Longest address, label or name in a message, characters. */
const nameMax = 256
const tenantId = text<TenantId>(15, isTenantId)
const slug = text<Slug>(63, isSlug)
const nodeId = text<NodeId>(63, isNodeId)
const epoch = integer<Epoch>(1, 0xffff_ffff)
const domain = text(253)
/** More worker processes than any machine has cores. */
const workersMax = 1_024
const domainsMax = 100
const labelsMax = 64

const workerUrl = text(nameMax, (url) => /^https?:\/\/[^\s/]+$/.test(url))
const worker = object<WorkerAddress>({ index: integer(0, workersMax), url: workerUrl })
/** Far above what a node lets be away at once. */
const awayMax = 1_024
const awayTenant = object<AwayTenant>({ tenantId, worker: integer(0, 2 * workersMax), url: nullable(workerUrl) })

const load = object<NodeLoad>({
  tenantsOpen: integer(),
  cpu: number(0, 1_000), // a busy interval may exceed one by rounding; it is no reason to lose a node
  memoryBytes: number(),
  diskFreeBytes: number(),
  requestsPerSecond: number(),
  replicationLagMsMax: number(),
})

const limits = object<TenantLimits>({
  storageBytesMax: nullable(number()),
  apiRequestsPerDayMax: nullable(number()),
  realtimeConnectionsMax: nullable(number()),
  queryMsMax: number(),
})

const tenant = object<TenantSpec>({
  id: tenantId,
  slug,
  domains: list(domain, domainsMax),
  status: oneOf('created', 'active', 'suspended', 'archived', 'deleted'),
  plan: text(nameMax),
  ackMode: oneOf(...ackModes),
  lossBoundMs: number(),
  onStoreOutage: oneOf('spool', 'refuse'),
  limits,
  createdAtMs: number(),
  keepEveryMs: optional(number()),
  isHandedOver: optional(boolean),
  region: optional(text(nameMax)),
  isKeptWarm: optional(boolean),
})

const ipcAddress = text(nameMax, (address) => /^(?:tcp|ipc):\/\/\S+$/.test(address))
const standbySet = object<StandbySet>({
  epoch,
  nodes: list(object<StandbyRef>({ nodeId, ipcAddress }), standbysMax),
})
const placement = object<Placement>({
  tenantId,
  nodeId,
  worker: integer(),
  epoch,
  standbySets: optional(list(standbySet, standbySetsMax)),
  replica: optional(object<{ readonly epoch: number | null }>({ epoch: nullable(integer(1, 0xffff_ffff)) })),
  warm: optional(object<WarmRef>({ nodeId, ipcAddress, worker: integer() })),
})

type Of<Message extends { readonly type: string }, T extends Message['type']> = Extract<Message, { readonly type: T }>

export const nodeShapes: MessageShapes<NodeRequest> = {
  'node.register': object<Of<NodeRequest, 'node.register'>>({
    type: oneOf('node.register'),
    nodeId,
    incarnation: text(nameMax),
    ipcAddress,
    workers: list(worker, workersMax),
    tenantsMax: integer(),
    version: text(nameMax),
    featureLevel: integer(),
    region: text(nameMax),
    zone: text(nameMax),
    labels: record(text(nameMax), labelsMax),
  }),
  'node.heartbeat': object<Of<NodeRequest, 'node.heartbeat'>>({
    type: oneOf('node.heartbeat'),
    nodeId,
    incarnation: text(nameMax),
    workers: list(worker, workersMax),
    load,
    draining: boolean,
    away: optional(list(awayTenant, awayMax)),
  }),
  'placement.get': object<Of<NodeRequest, 'placement.get'>>({ type: oneOf('placement.get'), nodeId, tenantId }),
  'replica.moved': object<Of<NodeRequest, 'replica.moved'>>({ type: oneOf('replica.moved'), nodeId, tenantId, epoch }),
  'placement.fenced': object<Of<NodeRequest, 'placement.fenced'>>({
    type: oneOf('placement.fenced'),
    nodeId,
    tenantId,
    epoch,
    seenEpoch: epoch,
  }),
  'placement.sealed': object<Of<NodeRequest, 'placement.sealed'>>({
    type: oneOf('placement.sealed'),
    nodeId,
    tenantId,
    epoch,
  }),
}

const email = text(nameMax)
/** bcrypt's text form has 60 characters. */
const passwordHash = text(100)

const txid = integer<Txid>(1)
/** What is listed with its time in one answer. */
const pointsMax = 1_000

const wish = anyOf<PointWish>(
  object<Of<PointWish, 'latest'>>({ type: oneOf('latest') }),
  object<Of<PointWish, 'time'>>({ type: oneOf('time'), atMs: integer() }),
  object<Of<PointWish, 'txid'>>({ type: oneOf('txid'), txid }),
)
const cut = object<Cut>({ atMs: integer(), data: txid, hooks: txid, auxiliary: txid })

const jobId = text(nameMax, (id) => /^[a-z0-9-]+$/.test(id))
const job = anyOf<TenantJob>(
  object<Of<TenantJob, 'points'>>({ type: oneOf('points'), latestMax: integer(0, pointsMax) }),
  object<Of<TenantJob, 'cut'>>({ type: oneOf('cut'), wish }),
  object<Of<TenantJob, 'preview'>>({ type: oneOf('preview'), wish }),
  object<Of<TenantJob, 'restore'>>({ type: oneOf('restore'), placement, cut }),
  object<Of<TenantJob, 'archive'>>({
    type: oneOf('archive'),
    stage: oneOf('infrequent', 'archived'),
    storageClass: nullable(text(64)),
  }),
  object<Of<TenantJob, 'usage'>>({ type: oneOf('usage') }),
  object<Of<TenantJob, 'eject'>>({ type: oneOf('eject'), isHandedOver: boolean }),
  object<Of<TenantJob, 'drill'>>({ type: oneOf('drill') }),
  object<Of<TenantJob, 'sweep'>>({
    type: oneOf('sweep'),
    belowEpoch: nullable(integer(1, 0xffff_ffff)),
    knownEpoch: integer(0, 0xffff_ffff),
    unchangedSinceMs: integer(),
    isDryRun: boolean,
  }),
  object<Of<TenantJob, 'warm'>>({ type: oneOf('warm'), worker: integer(0, workersMax) }),
  object<Of<TenantJob, 'fork'>>({ type: oneOf('fork'), tenant, placement, source: tenantId, cut }),
)

export const orderShapes: MessageShapes<NodeOrder> = {
  'tenant.create': object<Of<NodeOrder, 'tenant.create'>>({
    type: oneOf('tenant.create'),
    tenant,
    placement,
    superuser: nullable(object<{ readonly email: string; readonly passwordHash: string }>({ email, passwordHash })),
  }),
  'tenant.release': object<Of<NodeOrder, 'tenant.release'>>({ type: oneOf('tenant.release'), tenantId, epoch }),
  'tenant.update': object<Of<NodeOrder, 'tenant.update'>>({ type: oneOf('tenant.update'), tenant, placement }),
  'superuser.upsert': object<Of<NodeOrder, 'superuser.upsert'>>({
    type: oneOf('superuser.upsert'),
    tenantId,
    email,
    passwordHash,
  }),
  'job.run': object<Of<NodeOrder, 'job.run'>>({
    type: oneOf('job.run'),
    jobId,
    tenantId,
    job,
    replicas: optional(list(object<{ readonly tenantId: TenantId; readonly epoch: number }>({ tenantId, epoch }), 2)),
  }),
  'job.stop': object<Of<NodeOrder, 'job.stop'>>({ type: oneOf('job.stop'), jobId, tenantId }),
  'tenant.open': object<Of<NodeOrder, 'tenant.open'>>({ type: oneOf('tenant.open'), tenantId, epoch }),
  'orphan.list': object<Of<NodeOrder, 'orphan.list'>>({ type: oneOf('orphan.list') }),
  'orphan.read': object<Of<NodeOrder, 'orphan.read'>>({
    type: oneOf('orphan.read'),
    name: text(nameMax, isOrphanName),
    file: oneOf(...orphanFiles),
    from: integer(),
    to: integer(),
  }),
  'orphan.remove': object<Of<NodeOrder, 'orphan.remove'>>({
    type: oneOf('orphan.remove'),
    name: text(nameMax, isOrphanName),
  }),
  'tenant.meter': object<Of<NodeOrder, 'tenant.meter'>>({ type: oneOf('tenant.meter'), tenantId }),
  'node.drain': object<Of<NodeOrder, 'node.drain'>>({ type: oneOf('node.drain') }),
}

const routeKey = anyOf<RouteKey>(
  object<Extract<RouteKey, { readonly kind: 'slug' }>>({ kind: oneOf('slug'), slug: text(63) }),
  object<Extract<RouteKey, { readonly kind: 'domain' }>>({ kind: oneOf('domain'), domain }),
  object<Extract<RouteKey, { readonly kind: 'reference' }>>({ kind: oneOf('reference'), reference: text(63) }),
)

export const gatewayShapes: MessageShapes<GatewayRequest> = {
  'route.resolve': object<GatewayRequest>({ type: oneOf('route.resolve'), key: routeKey }),
}
