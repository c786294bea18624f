// What one tenant notices of another one on the same worker: its latencies at a low, fixed rate, alone and beside a tenant
// that runs endless queries, writes in a loop, or tells hundreds of realtime clients of each write.
//
// Rounds alternate between alone and beside, and the medians of the rounds are compared: on a machine of few cores the
// generators of load and whatever else runs move the figures too.

import { loadavg } from 'node:os'
import type PocketBase from 'pocketbase'
import type { Figure } from '../report.ts'
import { createTenant, superuser, withFleet } from './fleet-bench.ts'
import { encodeRequest, type LoadReport, load, startLoad } from './http-load.ts'
import { sseLoad } from './sse-load.ts'
import { type Target, workerTarget } from './worker-target.ts'

export interface NeighbourSize {
  readonly rows: number
  /** Of the tenant that makes trouble. */
  readonly busyRows: number
  readonly rounds: number
  readonly windowMs: number
  readonly realtimeClients: number
  /** How long queries whose clients have gone may still run, ms: their deadline. */
  readonly queriesEndMs: number
}

export const fullNeighbours: NeighbourSize = {
  rows: 2_000,
  busyRows: 200_000,
  rounds: 5,
  windowMs: 5_000,
  realtimeClients: 300,
  queriesEndMs: 31_000,
}
export const smokeNeighbours: NeighbourSize = {
  rows: 20,
  busyRows: 30_000,
  rounds: 1,
  windowMs: 500,
  realtimeClients: 5,
  queriesEndMs: 0,
}

/** A tenant's p99 may rise by so much beside another one, %. */
const p99Target = 10
/** Requests a second of each kind that the quiet tenant gets. */
const victimRate = 50
/** Time for the trouble to begin before it is measured, ms. */
const warmUpMs = 1_500

const quantile = (values: readonly number[], q: number) => {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? 0
}
const median = (values: readonly number[]) => quantile(values, 0.5)

const fallsShort =
  'generators, readers and the fleet share the cores, and a request waits for whatever its thread has begun'

const kinds = ['view', 'list', 'create'] as const
type Kind = (typeof kinds)[number]
type Window = Readonly<Record<Kind, LoadReport>>
/** Makes trouble until it is stopped. */
type Trouble = () => Promise<{ stop(): Promise<void> }>

export async function benchNeighbours(size: NeighbourSize): Promise<Figure[]> {
  return withFleet([], async (fleet, dir) => {
    const targets: Target[] = []
    const tokens: string[] = []
    for (const [slug, rows] of [
      ['quiet', size.rows],
      ['busy', size.busyRows],
    ] as const) {
      const tenant = await createTenant(fleet, slug)
      targets.push(await workerTarget(fleet, dir, slug, tenant))
      tokens.push(await seed(fleet.sdk(slug), rows))
    }
    const [quiet, busy] = targets as [Target, Target]
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

    const troubles: Readonly<Record<string, { readonly make: Trouble; readonly restMs: number }>> = {
      'endless queries': { make: () => endlessQueries(busy, tokens[1]!), restMs: size.queriesEndMs },
      'a write loop of 32 clients': { make: () => writeLoop(busy), restMs: 0 },
      [`a realtime storm to ${size.realtimeClients} clients`]: {
        make: () => realtimeStorm(busy, size.realtimeClients),
        restMs: 0,
      },
    }
    const figures: Figure[] = []
    for (const [name, { make, restMs }] of Object.entries(troubles)) {
      const alone: Window[] = []
      const beside: Window[] = []
      for (let round = 0; round < size.rounds; round++) {
        alone.push(await measure())
        const trouble = await make()
        await Bun.sleep(warmUpMs)
        beside.push(await measure())
        await trouble.stop()
        await Bun.sleep(restMs)
      }
      figures.push(...compare(name, alone, beside, size.rounds))
    }
    return figures
  })
}

function compare(name: string, alone: readonly Window[], beside: readonly Window[], rounds: number): Figure[] {
  return kinds.flatMap((kind) =>
    (['p50Ms', 'p99Ms'] as const).map((key) => {
      const before = median(alone.map((each) => each[kind][key]))
      const after = median(beside.map((each) => each[kind][key]))
      const spread = `${quantile(
        alone.map((each) => each[kind][key]),
        0,
      ).toFixed(2)} to ${quantile(
        alone.map((each) => each[kind][key]),
        1,
      ).toFixed(2)}`
      const value = (after / Math.max(before, 0.001) - 1) * 100
      const target =
        key === 'p50Ms' ? '' : `; target below ${p99Target} %${value < p99Target ? '' : `, falls short: ${fallsShort}`}`
      const note = `${before.toFixed(2)} ms alone (${spread}), ${after.toFixed(2)} ms beside; medians of ${rounds} rounds, machine load ${loadavg()[0]!.toFixed(1)}${target}`
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
async function endlessQueries(target: Target, token: string): ReturnType<Trouble> {
  const encode = (method: string, path: string, body?: unknown) =>
    encodeRequest({ method, path, host: target.name, headers: { ...target.headers, authorization: token }, body })
  const requests = [
    encode('POST', '/api/sql', { query: 'SELECT count(*) FROM posts a, posts b WHERE a.title > b.title' }),
    encode('GET', '/api/collections/pairs/records?filter=title%3D%22none%22&skipTotal=1'),
    encode('GET', `${posts}?filter=${encodeURIComponent('title ~ "none" || title ~ "nothing"')}`),
    encode('GET', `${posts}?sort=title&perPage=500`),
  ]
  const running = await Promise.all(
    requests.map((request) =>
      startLoad({ ...target, connections: 2, durationMs: 600_000, rate: 0, requests: [request] }),
    ),
  )
  return { stop: async () => void (await Promise.all(running.map((each) => each.stop()))) }
}

async function writeLoop(target: Target): ReturnType<Trouble> {
  const request = encodeRequest({
    method: 'POST',
    path: posts,
    host: target.name,
    headers: target.headers,
    body: { title: 'written in a loop', n: 7 },
  })
  return startLoad({ ...target, connections: 32, durationMs: 600_000, rate: 0, requests: [request] })
}

async function realtimeStorm(target: Target, clients: number): ReturnType<Trouble> {
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
  )
  await Promise.race([connected.promise, ended])
  return {
    async stop() {
      stop.abort()
      await ended
    },
  }
}
