// What tenants cost that nobody uses: a real node with real workers over an S3 server that counts what arrives. Tenants are
// made, written to and left alone; then the store is watched from outside.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import PocketBase from 'pocketbase'
import { clusterSecrets } from '../../src/ipc/keys.ts'
import type { NodeId, TenantId } from '../../src/lib/brand.ts'
import { systemClock as clock } from '../../src/lib/clock.ts'
import { newTenantId } from '../../src/lib/id.ts'
import { silentLogger as log } from '../../src/lib/obs/log.ts'
import { systemRng as rng } from '../../src/lib/rng.ts'
import { openTenantNode } from '../../src/node/supervisor.ts'
import { FakeFleetControl } from './fake-fleet-control.ts'
import { nodeConfig, testClusterSecret as secret } from './node-config.ts'
import { openFiles, processTree } from './processes.ts'
import { S3Double } from './s3-double.ts'
import { until } from './wait.ts'

const nodeId = 'node-idle' as NodeId
const password = 'a-long-password'
/** Tenants made at the same time. */
const makersMax = 8
/** Tenants that are opened again after the watch. */
const askedMax = 50
/** So long without a request is what comes after the last work of closing, ms. */
const aloneMs = 1_000

export interface IdleOptions {
  readonly dir: string
  readonly tenants: number
  readonly idleMs: number
  /** From the last write to the begin of the watch, at least. */
  readonly restMs: number
  /** How long the store is watched. */
  readonly watchMs: number
  readonly onStep?: (line: string) => void
}

export interface IdleOutcome {
  readonly tenants: number
  /** At the store, from the first tenant to the begin of the watch. */
  readonly requestsBefore: number
  /** During the watch, by operation: none, if all is well. */
  readonly requestsWatched: Readonly<Record<string, number>>
  readonly tenantsOpen: number
  /** Descriptors of the workers below their folder of tenants, and all of them before the first tenant and after. */
  readonly tenantDescriptors: number
  readonly descriptorsBefore: number
  readonly descriptorsAfter: number
  /** CPU time of the workers during the watch: a timer for each tenant would show. */
  readonly watchedCpuMs: number
  readonly rssBytes: number
  /** Tenants that were asked afterwards, and those that answered with what was written. */
  readonly asked: number
  readonly answered: number
}

export async function watchIdleTenants(options: IdleOptions): Promise<IdleOutcome> {
  const { dir, tenants, idleMs, restMs, watchMs, onStep = () => {} } = options
  await using store = await S3Double.start()
  await using control = new FakeFleetControl(clusterSecrets(secret))
  await using opened = new AsyncDisposableStack()
  const node = await openTenantNode(
    nodeConfig(
      {
        id: nodeId,
        dir,
        controlPlane: control.url,
        objectStore: {
          kind: 's3',
          endpoint: store.endpoint,
          region: store.region,
          bucket: store.bucket,
          prefix: '',
          credentials: { accessKeyId: store.accessKey, secretAccessKey: store.secretKey },
        },
      },
      { tenantsMax: tenants + 1, idleMs, evictMs: 24 * 3_600_000 },
    ),
    { clock, rng, log },
  )
  opened.defer(() => node.close())
  await until('the node to announce its worker', () => control.heartbeats.get(nodeId)?.workers.length === 1)
  const url = node.workers[0]!.url
  const pid = await until('the worker', () => workerPid(dir))
  const descriptorsBefore = openFiles(pid)!.length
  const passwordHash = (await Bun.password.hash(password, { algorithm: 'bcrypt', cost: 4 })).replace('$2b$', '$2a$')
  const ids: TenantId[] = []
  const clientOf = (id: TenantId) => {
    const client = new PocketBase(url)
    client.autoCancellation(false)
    client.beforeSend = (to, sent) => ({ url: to, options: { ...sent, fetch: control.fetchOf(id, 1) } })
    return client
  }
  const make = async () => {
    const id = newTenantId(rng)
    ids.push(id)
    const placed = control.place(id, nodeId, 1)
    const superuser = { email: 'root@example.com', passwordHash }
    await control.order(nodeId, { type: 'tenant.create', ...placed, superuser })
    const client = clientOf(id)
    await client.collection('_superusers').authWithPassword(superuser.email, password)
    await client.collections.create({
      name: 'notes',
      type: 'base',
      fields: [{ name: 'text', type: 'text' }],
      listRule: '',
      createRule: '',
    })
    await client.collection('notes').create({ text: id })
  }
  const lane = async () => {
    while (ids.length < tenants) {
      await make()
      if (ids.length % 100 === 0) onStep(`${ids.length} tenants written to`)
    }
  }
  await Promise.all(Array.from({ length: makersMax }, lane))
  const leftAtMs = performance.now()
  const load = () => control.heartbeats.get(nodeId)!.load
  await until('the tenants to rest', () => load().tenantsOpen === 0, Math.max(restMs, idleMs) + 120_000)
  onStep(`all rest after ${Math.round(performance.now() - leftAtMs)} ms`)
  await until('the time of rest', () => performance.now() - leftAtMs >= restMs, restMs + 10_000)
  // What closing them left to the upkeep is done first, however long it takes here.
  let seen = ''
  let seenAtMs = performance.now()
  await until('the store to be left alone', () => {
    const now = JSON.stringify([...store.counts])
    if (now !== seen) seenAtMs = performance.now()
    seen = now
    return performance.now() - seenAtMs >= aloneMs
  })
  const counts = new Map(store.counts)
  const cpuBeforeMs = cpuMs(pid)
  const watchFromMs = performance.now()
  await until('the end of the watch', () => performance.now() - watchFromMs >= watchMs, watchMs + 10_000)
  const requestsWatched: Record<string, number> = {}
  for (const [operation, count] of store.counts)
    if (count !== (counts.get(operation) ?? 0)) requestsWatched[operation] = count - (counts.get(operation) ?? 0)
  const found = openFiles(pid)!
  const outcome = {
    tenants,
    requestsBefore: [...counts.values()].reduce((sum, count) => sum + count, 0),
    requestsWatched,
    tenantsOpen: load().tenantsOpen,
    tenantDescriptors: found.filter((target) => target.startsWith(join(dir, 'tenants'))).length,
    descriptorsBefore,
    descriptorsAfter: found.length,
    watchedCpuMs: cpuMs(pid) - cpuBeforeMs,
    rssBytes: rssBytes(pid),
  }
  onStep('watched')
  const asked = ids.filter((_, at) => at % Math.ceil(ids.length / askedMax) === 0)
  let answered = 0
  for (const id of asked) {
    const page = await clientOf(id).collection('notes').getList(1, 1)
    if (page.items[0]?.['text'] === id) answered++
  }
  return { ...outcome, asked: asked.length, answered }
}

/** The engine worker of a node whose supervisor is this process. */
function workerPid(dir: string): number | null {
  const workers = processTree(process.pid).filter(({ argv }) => argv.at(-1) === 'worker')
  for (const { pid } of workers) if (openFiles(pid)?.some((target) => target.startsWith(dir))) return pid
  return null
}

function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10 // ticks of 10 ms
}

function rssBytes(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1_024
}
