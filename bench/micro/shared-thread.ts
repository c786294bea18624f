// What one tenant notices of another one on the same thread, in processor time of one process: other processes of the
// machine, the kernel's scheduling and the network are left out, so the figures hold on a busy machine too.
//
// A request's time runs from when it was due to its answer. While the thread is held by others, a due request waits.

import { systemClock } from '../../src/lib/clock.ts'
import { TenantApi } from '../../src/node/api/app.ts'
import { createCollection } from '../../src/node/engine/collections/manage.ts'
import type { Engine } from '../../src/node/engine/engine.ts'
import { openTestEngine } from '../../test/support/engine.ts'
import { quantile } from '../quantile.ts'
import type { Figure } from '../report.ts'

export interface ThreadSize {
  readonly rows: number
  /** Processor time of one window, ms. */
  readonly windowMs: number
  readonly rounds: number
  readonly writers: number
  readonly realtimeClients: number
}

export const fullThread: ThreadSize = { rows: 2_000, windowMs: 1_500, rounds: 4, writers: 32, realtimeClients: 300 }
export const smokeThread: ThreadSize = { rows: 20, windowMs: 100, rounds: 1, writers: 2, realtimeClients: 3 }

/** Between two requests of the quiet tenant, processor ms at most. */
const gapMsMax = 5
/** Writers that make the realtime storm. */
const stormWriters = 4

const posts = '/api/collections/posts/records'
const kinds = ['view', 'list', 'create'] as const
type Kind = (typeof kinds)[number]
type Samples = Record<Kind, number[]>

const processorMs = () => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1_000
}
const turn = () => new Promise<void>((resolve) => void setImmediate(resolve))
const idOf = (i: number) => String(i).padStart(15, '0')

async function fill(engine: Engine, rows: number): Promise<void> {
  const rules = { listRule: '', viewRule: '', createRule: '' }
  const fields = [
    { name: 'title', type: 'text' },
    { name: 'n', type: 'number' },
  ]
  await createCollection(engine, { name: 'posts', type: 'base', ...rules, fields })
  await engine.transaction(() => {
    for (let i = 0; i < rows; i++)
      engine.data.run('INSERT INTO posts (id, title, n) VALUES (?, ?, ?)', [idOf(i), `post ${i}`.padEnd(70, 'x'), i])
  })
}

const create = (host: string) =>
  new Request(`http://${host}${posts}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"title":"written","n":7}',
  })

/** Writes in a loop until it is told to stop. @returns what ends it. */
function startWriters(api: TenantApi, count: number): () => Promise<void> {
  let isOver = false
  const write = async () => {
    while (!isOver) {
      await (await api.answer(create('busy'), null)).text()
      await turn() // as an answer goes out and the next request comes in
    }
  }
  const writers = Array.from({ length: count }, write)
  return async () => {
    isOver = true
    await Promise.all(writers)
  }
}

/** Clients that read whatever comes. @returns what sends them away. */
function startListeners(engine: Engine, count: number): () => Promise<void> {
  const read = async (stream: ReadableStream<Uint8Array>) => {
    for await (const _ of stream);
  }
  const clients = Array.from({ length: count }, () => {
    const client = engine.realtime.connect('', () => {})
    if (client === null) throw new Error('too many clients')
    client.subscribe('posts/*')
    return { client, reading: read(client.stream!) }
  })
  return async () => {
    for (const { client } of clients) client.close()
    await Promise.all(clients.map((each) => each.reading))
  }
}

/** Asks as the quiet tenant for a while. */
async function ask(api: TenantApi, { windowMs, rows }: ThreadSize, samples: Samples): Promise<void> {
  const requestOf = (kind: Kind, i: number) => {
    if (kind === 'create') return create('quiet')
    return new Request(`http://quiet${posts}${kind === 'list' ? '?perPage=30' : `/${idOf(i % rows)}`}`)
  }
  const endMs = processorMs() + windowMs
  let dueMs = processorMs()
  let asked = 0
  const running = new Set<Promise<void>>()
  const send = async (kind: Kind, sentDueMs: number) => {
    const response = await api.answer(requestOf(kind, asked), null)
    await response.text()
    if (response.status !== 200) throw new Error(`the quiet tenant was answered ${response.status}`)
    samples[kind].push(processorMs() - sentDueMs)
  }
  while (processorMs() < endMs) {
    await turn()
    for (; dueMs <= processorMs(); dueMs += 1 + ((asked * 7) % gapMsMax)) {
      const sent = send(kinds[asked++ % kinds.length]!, dueMs)
      running.add(sent)
      void sent.finally(() => running.delete(sent))
    }
  }
  await Promise.all(running)
}

/** Latencies of a quiet tenant in one process with a busy one, ms of processor time. */
export async function benchSharedThread(size: ThreadSize): Promise<Figure[]> {
  await using quiet = await openTestEngine()
  await using busy = await openTestEngine()
  for (const { engine } of [quiet, busy]) await fill(engine, size.rows)
  const engines: Readonly<Record<string, Engine>> = { quiet: quiet.engine, busy: busy.engine }
  const acquire = (request: Request) => ({
    engine: engines[new URL(request.url).hostname]!,
    remoteAddress: '127.0.0.1',
    scheme: 'http' as const,
    release() {},
  })
  const api = new TenantApi({ host: { acquire } })
  const troubles: Readonly<Record<string, () => (() => Promise<void>)[]>> = {
    alone: () => [],
    [`beside ${size.writers} writers`]: () => [startWriters(api, size.writers)],
    [`beside writes to ${size.realtimeClients} realtime clients`]: () => [
      startWriters(api, stormWriters),
      startListeners(busy.engine, size.realtimeClients),
    ],
  }
  const none = (): Samples => ({ view: [], list: [], create: [] })
  await ask(api, size, none()) // the first one warms up
  const samples = new Map(Object.keys(troubles).map((name) => [name, none()]))
  for (let round = 0; round < size.rounds; round++)
    for (const [name, make] of Object.entries(troubles)) {
      const ends = make()
      await ask(api, size, samples.get(name)!)
      for (const end of ends) await end()
      await new Promise<void>((resolve) => void systemClock.setTimer(0, resolve))
    }
  return [...samples].flatMap(([name, of]) =>
    kinds.map((kind) => {
      const at = (q: number) => quantile(of[kind], q)
      const note = `p95 ${at(0.95).toFixed(2)}, p99 ${at(0.99).toFixed(2)} ms; ${of[kind].length} requests`
      return { name: `${kind} ${name}, p50 in processor time`, value: at(0.5), unit: 'ms', note }
    }),
  )
}
