// Goal: handlers see only messages of the declared shape. Method: one good message of each kind, then the same with each
// of its fields, at any depth, missing or of another type.

import { expect, test } from 'bun:test'
import fc from 'fast-check'
import { gatewayShapes, nodeShapes, orderShapes } from './shapes.ts'
import { standbyShapes } from './standby.ts'

const tenant = {
  id: 'abcdefghij12345',
  slug: 'acme',
  domains: ['shop.example'],
  status: 'active',
  plan: 'micro',
  ackMode: 'async',
  lossBoundMs: 5_000,
  onStoreOutage: 'spool',
  limits: { storageBytesMax: null, apiRequestsPerDayMax: 1_000, realtimeConnectionsMax: null, queryMsMax: 1_000 },
  createdAtMs: 1,
}
const placement = { tenantId: tenant.id, nodeId: 'node-1', worker: 0, epoch: 1 }
const opening = { tenantId: tenant.id, epoch: 1, incarnation: 7 }
const cut = { atMs: 1_700_000_000_000, data: 5, hooks: 1, auxiliary: 2 }
const workers = [{ index: 0, url: 'http://127.0.0.1:4000' }]
const load = {
  tenantsOpen: 1,
  cpu: 0.5,
  memoryBytes: 1,
  diskFreeBytes: 1,
  requestsPerSecond: 0.1,
  replicationLagMsMax: 0,
}
const good: readonly { readonly type: string; readonly [field: string]: unknown }[] = [
  {
    type: 'node.register',
    nodeId: 'node-1',
    incarnation: 'x',
    ipcAddress: 'tcp://127.0.0.1:5557',
    workers,
    tenantsMax: 200,
    version: '0.1.0',
    featureLevel: 1,
    region: '',
    zone: '',
    labels: { disk: 'ssd' },
  },
  { type: 'node.heartbeat', nodeId: 'node-1', incarnation: 'x', workers, load, draining: false },
  {
    type: 'node.heartbeat',
    nodeId: 'node-1',
    incarnation: 'x',
    workers,
    load,
    draining: false,
    away: [
      { tenantId: tenant.id, worker: 2, url: 'http://127.0.0.1:9000' },
      { tenantId: tenant.id, worker: 3, url: null },
    ],
  },
  { type: 'placement.get', nodeId: 'node-1', tenantId: tenant.id },
  { type: 'placement.fenced', nodeId: 'node-1', tenantId: tenant.id, epoch: 1, seenEpoch: 2 },
  { type: 'placement.sealed', nodeId: 'node-1', tenantId: tenant.id, epoch: 2 },
  { type: 'tenant.create', tenant, placement, superuser: { email: 'a@b.example', passwordHash: 'x'.repeat(60) } },
  { type: 'tenant.release', tenantId: tenant.id, epoch: 1 },
  { type: 'tenant.update', tenant, placement },
  {
    type: 'tenant.update',
    tenant: { ...tenant, keepEveryMs: 3_600_000, isHandedOver: true },
    placement: {
      ...placement,
      standbySets: [{ epoch: 1, nodes: [{ nodeId: 'node-2', ipcAddress: 'tcp://127.0.0.1:5557' }] }],
      replica: { epoch: 1 },
      warm: { nodeId: 'node-3', ipcAddress: 'tcp://127.0.0.1:5557', worker: 1 },
    },
  },
  { type: 'superuser.upsert', tenantId: tenant.id, email: 'a@b.example', passwordHash: 'x' },
  { type: 'orphan.list' },
  { type: 'orphan.read', name: `${tenant.id}-17`, file: 'data.db', from: 0, to: 9 },
  { type: 'orphan.remove', name: `${tenant.id}-17` },
  { type: 'node.drain' },
  { type: 'job.run', jobId: 'a-1', tenantId: tenant.id, job: { type: 'points', latestMax: 10 } },
  { type: 'job.run', jobId: 'a-1', tenantId: tenant.id, job: { type: 'cut', wish: { type: 'time', atMs: 5 } } },
  { type: 'job.run', jobId: 'a-1', tenantId: tenant.id, job: { type: 'preview', wish: { type: 'txid', txid: 5 } } },
  { type: 'job.run', jobId: 'a-1', tenantId: tenant.id, job: { type: 'restore', placement, cut } },
  { type: 'job.stop', jobId: 'a-1', tenantId: tenant.id },
  { type: 'tenant.meter', tenantId: tenant.id },
  { type: 'tenant.open', tenantId: tenant.id, epoch: 3 },
  { type: 'replica.moved', nodeId: 'node-1', tenantId: tenant.id, epoch: 3 },
  {
    type: 'job.run',
    jobId: 'a-1',
    tenantId: tenant.id,
    job: { type: 'archive', stage: 'infrequent', storageClass: 'STANDARD_IA' },
  },
  { type: 'job.run', jobId: 'a-1', tenantId: tenant.id, job: { type: 'usage' } },
  { type: 'job.run', jobId: 'a-1', tenantId: tenant.id, job: { type: 'eject', isHandedOver: false } },
  { type: 'job.run', jobId: 'a-1', tenantId: tenant.id, job: { type: 'drill' } },
  { type: 'job.run', jobId: 'a-1', tenantId: tenant.id, job: { type: 'warm', worker: 1 } },
  ...[null, 4].map((belowEpoch) => ({
    type: 'job.run',
    jobId: 'a-1',
    tenantId: tenant.id,
    job: { type: 'sweep', belowEpoch, knownEpoch: 0, unchangedSinceMs: 1_700_000_000_000, isDryRun: false },
  })),
  {
    type: 'job.run',
    jobId: 'a-1',
    tenantId: tenant.id,
    job: { type: 'fork', tenant, placement, source: tenant.id, cut },
  },
  { type: 'standby.promise', ...opening },
  {
    type: 'standby.append',
    ...opening,
    seq: 2,
    chainSeq: 2,
    baseTxid: 1,
    offset: 0,
    totalBytes: 3,
    bytes: new Uint8Array(3),
  },
  { type: 'standby.read', ...opening, from: 0, to: 9 },
  { type: 'standby.release', ...opening },
  { type: 'standby.follow', tenantId: tenant.id, epoch: 1, worker: 0, databases: ['data.db', 'auxiliary.db'] },
  { type: 'route.resolve', key: { kind: 'slug', slug: 'acme' } },
  { type: 'route.resolve', key: { kind: 'domain', domain: 'shop.example' } },
  { type: 'route.resolve', key: { kind: 'reference', reference: 'acme' } },
]

const shapes = { ...nodeShapes, ...orderShapes, ...gatewayShapes, ...standbyShapes } as Record<
  string,
  (value: unknown) => boolean
>
/** Missing in messages of older peers, or where there is no such thing. */
const mayMiss = /\.(?:away|keepEveryMs|isHandedOver|standbySets|replica|warm)$/
const isGood = (message: unknown) => shapes[(message as { type: string }).type]!(message)

/** Every way to break one field, wherever it is; entries of `labels` and of lists may go, and what `mayMiss`: those stay. */
function* broken(value: unknown, path = ''): Generator<readonly [path: string, value: unknown]> {
  if (typeof value !== 'object' || value === null) return
  for (const [key, field] of Object.entries(value)) {
    const at = `${path}.${key}`
    const put = (changed: unknown) =>
      Array.isArray(value) ? value.with(Number(key), changed) : { ...value, [key]: changed }
    if (at !== '.type') {
      yield [at, put(Symbol.for('wrong'))]
      if (!Array.isArray(value) && !at.startsWith('.labels.') && !mayMiss.test(at))
        yield [`${at} missing`, put(undefined)]
    }
    for (const [inner, changed] of broken(field, at)) yield [inner, put(changed)]
  }
}

test('every type of message has a good one here', () => {
  expect(new Set(good.map(({ type }) => type))).toEqual(new Set(Object.keys(shapes)))
})

test('good messages pass, with fields of a newer version too', () => {
  for (const message of good) {
    expect(isGood(message)).toBe(true)
    expect(isGood({ ...message, later: 1 })).toBe(true)
  }
})

test('a message with any field missing or of another type does not', () => {
  for (const message of good)
    for (const [path, changed] of broken(message))
      expect([message.type, path, isGood(changed)]).toEqual([message.type, path, false])
})

test('identifiers that could leave their place do not', () => {
  const order = { type: 'tenant.release', tenantId: tenant.id, epoch: 1 }
  for (const id of ['../etc/passwd', '', 'ABCDEFGHIJ12345', 'abcdefghij1234/', 'a'.repeat(16)])
    expect(isGood({ ...order, tenantId: id })).toBe(false)
  for (const epoch of [0, -1, 1.5, 2 ** 32, Number.NaN]) expect(isGood({ ...order, epoch })).toBe(false)
  const update = { type: 'tenant.update', tenant, placement }
  expect(isGood({ ...update, tenant: { ...tenant, slug: 'a/b' } })).toBe(false)
})

test('anything else is an answer, never an exception', () => {
  fc.assert(
    fc.property(fc.anything(), (value) => {
      for (const shape of Object.values(shapes)) expect(shape(value)).toBe(false)
    }),
  )
})
