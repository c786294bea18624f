// What one tenant notices of another one of the same worker: its latencies at a low, fixed rate, alone and beside a tenant
// that runs endless queries, writes in a loop, tells hundreds of realtime clients of each write, or lists in a loop.
//
// The trouble begins on the worker of both; where it is of a kind that makes the fleet move its tenant to a worker for busy
// ones, it is measured from then on, and follows it there. Windows alternate between alone and beside, so that what else
// runs on the machine, which moves slowly, meets both; the figure is the ratio of their medians. With five pairs, the
// median of many pairs lies between the lowest and the highest ratio with a confidence of 94 %. The generators of the
// trouble share the cores with the servers and are no part of what is measured: they run at the lowest priority. A row
// against nobody shows what the method itself does.

import { loadavg } from 'node:os'
import type PocketBase from 'pocketbase'
import type { Fleet } from '../../test/support/fleet.ts'
import { processTree, signal } from '../../test/support/processes.ts'
import { quantile } from '../quantile.ts'
import type { Figure } from '../report.ts'
import { createTenant, superuser, withFleet } from './fleet-bench.ts'
import { encodeRequest, type LoadReport, load, startLoad } from './http-load.ts'
import { sseLoad } from './sse-load.ts'
import { type Target, workerTarget } from './worker-target.ts'

export interface NeighbourSize {
  readonly rows: number
  /** Of the tenant that makes trouble. */
  readonly busyRows: number
  /** Pairs of windows, alone and beside. */
  readonly rounds: number
  readonly windowMs: number
  /** How long the trouble may go on until its tenant has moved, ms. */
  readonly moveMs: number
  readonly realtimeClients: number
}

export const fullNeighbours: NeighbourSize = {
  rows: 2_000,
  busyRows: 200_000,
  rounds: 5,
  windowMs: 4_000,
  moveMs: 60_000,
  realtimeClients: 300,
}
export const smokeNeighbours: NeighbourSize = {
  rows: 20,
  busyRows: 30_000,
  rounds: 1,
  windowMs: 300,
  moveMs: 0,
  realtimeClients: 5,
}

/** A tenant's p99 may rise by so much beside another one, %. */
const p99Target = 10
/** Requests a second of each kind that the quiet tenant gets. */
const victimRate = 120
/** Time for the trouble to begin before it is measured, ms. */
const warmUpMs = 1_000
/** Of windows in which the tenant moved and the trouble lost it. */
const repeatsMax = 5
/** Whatever makes trouble, behind everything that serves. */
const launcher = ['nice', '-n', '19']

const median = (values: readonly number[]) => quantile(values, 0.5)

const fallsShort = 'a request waits for whatever its thread or its core has begun'

const queries = 'endless queries'
const kinds = ['view', 'list', 'create'] as const
type Kind = (typeof kinds)[number]
type Window = Readonly<Record<Kind, LoadReport>>
interface Running {
  stop(): Promise<void>
  /** It has ended by itself; missing: it cannot. */
  isOver?(): boolean
}
/** At the worker of its placement. */
interface BusyTarget extends Target {
  readonly tenantId: string
}
/** Makes trouble until it is stopped. */
type Trouble = (target: Target) => Promise<Running>

export async function benchNeighbours(size: NeighbourSize): Promise<Figure[]> {
  return withFleet([], async (fleet, dir) => {
    const targets: BusyTarget[] = []
    const tokens: string[] = []
    for (const [slug, rows] of [
      ['quiet', size.rows],
      ['busy', size.busyRows],
    ] as const) {
      const tenant = await createTenant(fleet, slug)
      targets.push({ ...(await workerTarget(fleet, dir, slug, tenant)), tenantId: tenant.id })
      tokens.push(await seed(fleet.sdk(slug), rows))
    }
    const [quiet, busy] = targets as [BusyTarget, BusyTarget]
    const requests = (await victimRequests(quiet)) satisfies Record<Kind, readonly string[]>
    const measure = async (): Promise<Window> => {
      const reports = await Promise.all(
        kinds.map((kind) =>
          load({
            host: quiet.host,
            port: quiet.port,
            connections: 2,
            durationMs: size.windowMs,
            rate: victimRate,
            requests: requests[kind],
            expect: { status: '200' },
          }),
        ),
      )
      for (const report of reports)
        if (report.errors + report.unexpected > 0)
          throw new Error(`the quiet tenant was refused: ${JSON.stringify(report)}`)
      return Object.fromEntries(kinds.map((kind, i) => [kind, reports[i]!])) as unknown as Window
    }
    await measure() // the first one warms up

    const troubles: Readonly<Record<string, Trouble>> = {
      nobody: async () => ({ stop: async () => {} }),
      [queries]: (target) => endlessQueries(target, tokens[1]!, fleet),
      'a write loop of 32 clients': writeLoop,
      [`a realtime storm to ${size.realtimeClients} clients`]: (target) => realtimeStorm(target, size.realtimeClients),
      'a list loop of 32 clients': listLoop,
    }
    const figures: Figure[] = []
    for (const [name, make] of Object.entries(troubles)) {
      // Queries that take long keep their tenant where it is; what they kept it from may rest for some seconds.
      if (name !== 'nobody' && name !== queries) await settle(fleet, busy, make, size.moveMs)
      const pairs: Pair[] = []
      let wasAway = false
      for (let repeats = 0; pairs.length < size.rounds; ) {
        const alone = await measure()
        const target = await targetNow(fleet, busy)
        const trouble = await make(target)
        await Bun.sleep(warmUpMs)
        const beside = await measure()
        const isOver = trouble.isOver?.() ?? false
        await trouble.stop()
        const isSame = (await targetNow(fleet, busy)).port === target.port
        if (!isSame && ++repeats <= repeatsMax) continue
        if (!isSame) throw new Error(`the busy tenant moved ${repeats} times beside ${name}`)
        if (isOver) throw new Error(`${name} ended before it was measured`)
        wasAway = target.port !== busy.port
        pairs.push({ alone, beside })
      }
      figures.push(...compare(name, pairs, wasAway))
    }
    return figures
  })
}

interface Pair {
  readonly alone: Window
  readonly beside: Window
}

/** Makes trouble until the fleet has moved the tenant, for a while. */
async function settle(fleet: Fleet, busy: BusyTarget, make: Trouble, moveMs: number): Promise<void> {
  if (moveMs === 0) return
  const from = await targetNow(fleet, busy)
  if (from.port !== busy.port) return
  const trouble = await make(from)
  const endMs = performance.now() + moveMs
  while (performance.now() < endMs && (await targetNow(fleet, busy)).port === busy.port) await Bun.sleep(250)
  await trouble.stop()
}

/** Where the busy tenant is served now: by its worker, or by one for busy tenants. */
async function targetNow(fleet: Fleet, home: BusyTarget): Promise<Target> {
  const response = await fetch(`${fleet.url}/api/cp/nodes`, {
    headers: { authorization: `Bearer ${fleet.adminToken}` },
  })
  if (!response.ok) throw new Error(`the control plane answered ${response.status} to a list of nodes`)
  const { items } = (await response.json()) as {
    items: { away: { tenantId: string; url: string | null }[] }[]
  }
  const url = items[0]?.away.find(({ tenantId }) => tenantId === home.tenantId)?.url
  return typeof url === 'string' ? { ...home, port: Number(new URL(url).port) } : home
}

function compare(name: string, pairs: readonly Pair[], isAway: boolean): Figure[] {
  return kinds.flatMap((kind) =>
    (['p50Ms', 'p99Ms'] as const).map((key) => {
      const ratios = pairs.map(({ alone, beside }) => beside[kind][key] / Math.max(alone[kind][key], 0.001))
      const more = (ratio: number) => (ratio - 1) * 100
      const [low, high] = [more(quantile(ratios, 0)), more(quantile(ratios, 1))]
      const [before, after] = (['alone', 'beside'] as const).map((side) =>
        median(pairs.map((pair) => pair[side][kind][key])),
      )
      const value = more(after! / Math.max(before!, 0.001))
      const target =
        key === 'p50Ms' || name === 'nobody'
          ? ''
          : `; target below ${p99Target} %${value < p99Target ? '' : `, falls short: ${fallsShort}`}`
      const place = name === 'nobody' ? '' : isAway ? ', moved to a worker for busy tenants' : ', on the same worker'
      const note = `${before!.toFixed(2)} ms alone, ${after!.toFixed(2)} ms beside; medians of ${pairs.length} windows each, pairs from ${low.toFixed(0)} to ${high.toFixed(0)} %${place}; machine load ${loadavg()[0]!.toFixed(1)}${target}`
      return { name: `${kind} ${key.slice(0, 3)} beside ${name}`, value, unit: '% more', note }
    }),
  )
}

/** A collection of posts, filled by one statement. @returns a superuser's token. */
async function seed(client: PocketBase, rows: number): Promise<string> {
  await client.collection('_superusers').authWithPassword(superuser.email, superuser.password)
  const rules = { listRule: '', viewRule: '', createRule: '' }
  await client.collections.create({
    name: 'posts',
    type: 'base',
    ...rules,
    fields: [
      { name: 'title', type: 'text' },
      { name: 'n', type: 'number' },
    ],
  })
  await client.send('/api/sql', {
    method: 'POST',
    body: {
      query: `INSERT INTO posts (id, title, n) WITH RECURSIVE i (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i LIMIT ${rows})
        SELECT printf('r%014d', n), 'post ' || n || hex(randomblob(40)), n FROM i`,
    },
  })
  await client.collections.create({
    name: 'pairs',
    type: 'view',
    listRule: '',
    viewRule: '',
    viewQuery: 'SELECT (a.id || b.id) AS id, a.n AS n, b.title AS title FROM posts a, posts b',
  })
  return client.authStore.token
}

const posts = '/api/collections/posts/records'

async function victimRequests(target: Target): Promise<Record<Kind, string[]>> {
  const encode = (method: string, path: string, body?: unknown) =>
    encodeRequest({ method, path, host: target.name, headers: target.headers, body })
  return {
    view: Array.from({ length: 20 }, (_, i) => encode('GET', `${posts}/r${String(i + 1).padStart(14, '0')}`)),
    list: [encode('GET', `${posts}?perPage=30&sort=-@rowid`)],
    create: [encode('POST', posts, { title: 'written', n: 1 })],
  }
}

/** Two of each kind at a time; each would run for longer than any deadline. */
async function endlessQueries(target: Target, token: string, fleet: Fleet): Promise<Running> {
  const encode = (method: string, path: string, body?: unknown) =>
    encodeRequest({ method, path, host: target.name, headers: { ...target.headers, authorization: token }, body })
  const requests = [
    encode('POST', '/api/sql', { query: 'SELECT count(*) FROM posts a, posts b WHERE a.title > b.title' }),
    encode('GET', '/api/collections/pairs/records?filter=title%3D%22none%22&skipTotal=1'),
    encode('GET', `${posts}?filter=${encodeURIComponent('title ~ "none" || title ~ "nothing"')}`),
    encode('GET', `${posts}?sort=title&perPage=500`),
  ]
  const running = await Promise.all(requests.map((request) => loop(target, request, 2)))
  return {
    async stop() {
      await Promise.all(running.map((each) => each.stop()))
      // Those whose clients have gone would run on until their deadline.
      for (const { pid, argv } of processTree(fleet.pid)) if (argv.at(-1) === 'reader') signal(pid, 'SIGKILL')
    },
  }
}

function loop(target: Target, request: string, connections: number): Promise<Running> {
  return startLoad({ ...target, connections, durationMs: 600_000, rate: 0, requests: [request] }, launcher)
}

function writeLoop(target: Target): Promise<Running> {
  const { name: host, headers } = target
  const body = { title: 'written in a loop', n: 7 }
  return loop(target, encodeRequest({ method: 'POST', path: posts, host, headers, body }), 32)
}

function listLoop(target: Target): Promise<Running> {
  const { name: host, headers } = target
  return loop(target, encodeRequest({ method: 'GET', path: `${posts}?perPage=30&sort=-@rowid`, host, headers }), 32)
}

async function realtimeStorm(target: Target, clients: number): Promise<Running> {
  const stop = new AbortController()
  const connected = Promise.withResolvers<void>()
  const ended = sseLoad(
    {
      ...target,
      clients,
      topics: ['posts/*'],
      tokens: [],
      create: { path: posts, body: { title: 'x'.repeat(200) } },
      eventsMax: 1_000_000,
      durationMs: 600_000,
    },
    () => connected.resolve(),
    stop.signal,
    launcher,
  )
  // Where the tenant moves, its clients are sent away and the storm ends; the next one begins at the other worker.
  let isOver = false
  const over = ended
    .catch(() => null)
    .finally(() => {
      isOver = true
    })
  await Promise.race([connected.promise, over])
  return {
    isOver: () => isOver,
    async stop() {
      stop.abort()
      await over
    },
  }
}
