// A real member of the control plane in this process, over HTTP and ZeroMQ, whose nodes a test plays over the same IPC that
// real ones use.

import { afterAll, afterEach } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ControlPlane, SweepPolicy } from '../../src/cp/config.ts'
import { openRpcClient } from '../../src/ipc/client.ts'
import { gatewayConversation, nodeConversation, orderConversation } from '../../src/ipc/conversation.ts'
import { RpcRefusal } from '../../src/ipc/errors.ts'
import { clusterSecrets } from '../../src/ipc/keys.ts'
import type { NodeOrder, OrderReplies } from '../../src/ipc/messages/cp-node.ts'
import type { TenantJob } from '../../src/ipc/messages/jobs.ts'
import { type Handlers, openRpcServer } from '../../src/ipc/server.ts'
import { openMessaging } from '../../src/ipc/zmq/context.ts'
import type { NodeId, TenantId } from '../../src/lib/brand.ts'
import { systemClock as clock } from '../../src/lib/clock.ts'
import type { MemoryObjectStore } from '../../src/lib/object-store/memory.ts'
import { noReading } from '../../src/lib/object-store/metered.ts'
import { type Logger, silentLogger as log } from '../../src/lib/obs/log.ts'
import { openMember } from './member.ts'
import { testClusterSecret } from './node-config.ts'

const secrets = clusterSecrets(testClusterSecret)

/** A node that is silent for so long is down, ms: only where a test stops one, since a busy machine is silent, too. */
export const downAfterMs = 1_500

export interface StartOptions {
  readonly objectStore?: MemoryObjectStore
  readonly log?: Logger
  readonly downAfterMs?: number
  readonly sweep?: Partial<SweepPolicy>
}

/** How often a node fails before it does what it is told, and what it answers to jobs. */
export interface Behaviour {
  readonly failCreates?: number
  readonly failUpdates?: number
  readonly failOpens?: number
  readonly unshipped?: number
  /** Called before the answer. */
  readonly onRelease?: () => void
  readonly job?: (job: TenantJob) => OrderReplies['job.run'] | null
}

/** What tests read of answers to go on with; what an answer lacks is undefined, and fails the comparison. */
export interface Answer {
  readonly id: string
  readonly slug: string
  readonly email: string
  readonly status: string
  readonly state: string
  readonly token: string
  readonly name: string
  readonly setupUrl: string
  readonly keepPointsHours: number | null
  readonly tenants: number
  readonly placement: { readonly nodeId: string; readonly epoch: number; readonly standbys: readonly string[] }
  readonly archive: { readonly reopenMs: number | null }
  readonly tenant: Answer
  readonly items: readonly Answer[]
  readonly data: unknown
  readonly error: unknown
  readonly report: unknown
  readonly requests: unknown
}

type Closing = (() => unknown)[]

/** For one test file, at its top: everything that is opened is closed after each test, newest first. */
export function playedFleet() {
  const close: Closing = []
  afterEach(async () => {
    for (const each of close.splice(0).reverse()) await each()
  })
  const root = mkdtempSync(join(tmpdir(), 'pf-cp-'))
  afterAll(() => rmSync(root, { recursive: true, force: true }))
  return {
    folder: () => mkdtempSync(join(root, 'member-')),
    start: async (dir: string, { downAfterMs = 60_000, ...options }: StartOptions = {}): Promise<ControlPlane> => {
      const member = await openMember(dir, {
        ...options,
        storeLocation: { kind: 'file', dir: '/srv/objects' },
        archive: { infrequentAfterDays: 7, archiveAfterDays: 90, infrequentClass: 'IA', archiveClass: 'GIR' },
        timings: { heartbeatMs: 50, degradedAfterMs: downAfterMs / 2, downAfterMs, reconcileMs: 100, orderMs: 3_000 },
      })
      close.push(() => member[Symbol.asyncDispose]())
      return member
    },
    playNode: (member: Pick<ControlPlane, 'ipcAddress'>, id: string, behave: Behaviour = {}) =>
      playNode(close, member, id, behave),
    /** What a gateway asks. */
    openRoutes: (member: ControlPlane) => {
      const messaging = openMessaging({ role: 'gateway', secrets, log })
      close.push(() => messaging.close())
      const conversation = gatewayConversation
      const connect = member.ipcAddress
      return openRpcClient({ messaging, clock, log, conversation, connect, serverRole: 'control-plane' })
    },
  }
}

/** Requests with an admin's token, or without. */
export const api =
  (member: Pick<ControlPlane, 'httpUrl'>, token: string | null) =>
  async (method: string, path: string, body?: unknown) => {
    const response = await fetch(member.httpUrl + path, {
      method,
      headers: { ...(token && { authorization: `Bearer ${token}` }), 'content-type': 'application/json' },
      ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    })
    const text = await response.text()
    return { status: response.status, body: (text === '' ? null : JSON.parse(text)) as Answer }
  }

/** A node that does what it is told and writes it down. */
async function playNode(close: Closing, member: Pick<ControlPlane, 'ipcAddress'>, id: string, behave: Behaviour) {
  const messaging = openMessaging({ role: 'node', secrets, log })
  close.push(() => messaging.close())
  const orders: NodeOrder[] = []
  const server = openRpcServer({ messaging, clock, log, bind: 'tcp://127.0.0.1:0', allow: ['control-plane'] })
  let failures = behave.failCreates ?? 0
  let failOpens = behave.failOpens ?? 0
  let unshipped = behave.unshipped ?? 0
  let failUpdates = behave.failUpdates ?? 0
  const handlers: Handlers<NodeOrder, OrderReplies> = {
    'tenant.create': (order) => {
      orders.push(order)
      if (failures-- > 0) throw new Error('no disk')
      return { created: true, setupPath: order.superuser ? null : '/_/#/pbinstal/token' }
    },
    'tenant.release': (order) => {
      orders.push(order)
      behave.onRelease?.()
      if (unshipped-- > 0) throw new RpcRefusal('tail_not_shipped', 'commits are here alone')
      return { released: true }
    },
    'tenant.update': (order) => {
      orders.push(order)
      if (failUpdates-- > 0) throw new Error('busy')
      return { ok: true }
    },
    'superuser.upsert': (order) => {
      orders.push(order)
      return { created: true }
    },
    'tenant.open': (order) => {
      orders.push(order)
      if (failOpens-- > 0) throw new Error('too few standbys answer')
      return { opened: true }
    },
    'tenant.meter': () => ({ sinceMs: 1_700_000_000_000, reading: { ...noReading, bytesSent: 7 } }),
    'job.run': (order) => {
      if (order.job.type === 'warm') return { state: 'done', report: { databases: [] } }
      orders.push(order)
      const progress = { step: 'waiting', done: 0, total: null }
      return behave.job?.(order.job) ?? { state: 'running', progress }
    },
    'job.stop': (order) => {
      orders.push(order)
      return { stopped: true }
    },
    'orphan.list': () => ({
      orphans: [
        {
          name: 'abcdefghij12345-1700000000000',
          tenantId: 'abcdefghij12345' as TenantId,
          takenAtMs: 1_700_000_000_000,
          files: [{ name: 'data.db-wal', sizeBytes: 600_000 }],
        },
      ],
    }),
    'orphan.read': ({ from, to }) => ({ bytes: new Uint8Array(Math.max(0, Math.min(to, 600_000) - from)).fill(7) }),
    'orphan.remove': () => {
      throw new RpcRefusal('orphan_not_found', 'there is none')
    },
    'node.drain': (order) => {
      orders.push(order)
      return { draining: true }
    },
  }
  server.serve(orderConversation, handlers)
  const client = openRpcClient({
    messaging,
    clock,
    log,
    conversation: nodeConversation,
    connect: member.ipcAddress,
    serverRole: 'control-plane',
  })
  const nodeId = id as NodeId
  const workers = [0, 1].map((index) => ({ index, url: `http://127.0.0.1:${9000 + index}` }))
  const load = {
    tenantsOpen: 0,
    cpu: 0,
    memoryBytes: 1,
    diskFreeBytes: 1,
    requestsPerSecond: 0,
    replicationLagMsMax: 0,
  }
  await client.request(
    {
      type: 'node.register',
      nodeId,
      incarnation: id,
      ipcAddress: server.address,
      workers,
      tenantsMax: 100,
      version: '1',
      featureLevel: 1,
      region: 'local',
      zone: 'local',
      labels: {},
    },
    { deadlineMs: 5_000 },
  )
  const beat = setInterval(() => {
    client
      .request(
        { type: 'node.heartbeat', nodeId, incarnation: id, workers, load, draining: false },
        { deadlineMs: 1_000 },
      )
      .catch(() => {})
  }, 40)
  let isStopped = false
  const stop = () => {
    if (isStopped) return
    isStopped = true
    clearInterval(beat)
    client.close()
    server.close()
  }
  close.push(stop)
  return { orders, client, stop, nodeId }
}
