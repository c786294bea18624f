// Shipping by us and by official Litestream: throughput and its price, lag, requests, memory. Each runs in a process of its
// own; what reached the store is judged from outside, by what lies there.

import { Database } from 'bun:sqlite'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { decodeLtx } from '../../src/replicate/ltx/decoder.ts'
import { peer } from '../../test/support/peers.ts'
import { until } from '../../test/support/wait.ts'
import type { Figure } from '../report.ts'
import type { ShipAnswer, ShipOrder } from './ship-process.ts'
import { tickIn } from './source.ts'
import { type BenchStore, descriptorsOf, residentBytes, type Started, start } from './stores.ts'

const script = join(import.meta.dir, 'ship-process.ts')
const waitMs = 120_000
const prefixOf = (name: string) => `t/${name}/data.db`

/** Our process, and its answers as they come. */
class Worker {
  readonly started: Started
  readonly answers: ShipAnswer[] = []

  constructor(order: ShipOrder) {
    this.started = start([process.execPath, script, JSON.stringify(order)], {}, (line) =>
      this.answers.push(JSON.parse(line)),
    )
  }

  async until<Type extends ShipAnswer['type']>(type: Type): Promise<Extract<ShipAnswer, { type: Type }>> {
    const found = () => this.answers.find((each) => each.type === type)
    await until(`the answer ${type}`, () => found() !== undefined || this.started.child.exitCode !== null, waitMs)
    if (found() === undefined) await this.started.ended()
    return found() as Extract<ShipAnswer, { type: Type }>
  }

  end() {
    this.started.child.stdin.end()
    return this.started.ended()
  }
}

/** Official `litestream replicate` on some databases; its first files are in the store when this resolves. */
async function replicate(dir: string, store: BenchStore, databases: readonly { path: string; prefix: string }[]) {
  const config = join(dir, 'litestream.yml')
  const dbs = databases.map(({ path, prefix }) => ({ path, replica: { url: store.url(prefix) } }))
  writeFileSync(config, JSON.stringify({ dbs })) // JSON is YAML
  return start([peer('litestream')!, 'replicate', '-config', config], store.env)
}

/** The highest TXID on level 0; 0 when there is none. */
async function newestSlot(store: BenchStore, prefix: string): Promise<number> {
  const folder = store.store.layout === 'file' ? `${prefix}/ltx/0/` : `${prefix}/0000/`
  let newest = 0
  for (let next: string | null = null; ; ) {
    const page = await store.store.list({ prefix: folder, next })
    for (const { key } of page.objects) newest = Math.max(newest, Number.parseInt(key.slice(-20, -4), 16) || 0)
    next = page.next
    if (next === null) return newest
  }
}

/** A bulk load: time until the store has all of it, and what the replication of it cost. */
export async function benchThroughput(dir: string, store: BenchStore, sizeBytes: number): Promise<Figure[]> {
  const work = { type: 'load', sizeBytes } as const
  const load = async (name: string, order: Partial<ShipOrder>) => {
    const worker = new Worker({ store: null, prefix: prefixOf(name), path: join(dir, `${name}.db`), work, ...order })
    await worker.until('ready')
    const startedAtMs = performance.now()
    return { worker, startedAtMs }
  }
  const alone = (await load('load-alone', {})).worker
  await alone.until('shipped')
  const { cpuMs: writerMs } = await alone.end()

  const ours = await load('load-ours', { store: store.config })
  await ours.worker.until('shipped')
  const oursMs = performance.now() - ours.startedAtMs
  const oursCpuMs = (await ours.worker.end()).cpuMs - writerMs
  const megabytes = sizeBytes / 1e6
  const figure = (who: string, wallMs: number, cpuMs: number): Figure[] => [
    {
      name: `${megabytes} MB written and shipped, ${store.name}: ${who}`,
      value: megabytes / (wallMs / 1e3),
      unit: 'MB/s',
    },
    {
      name: `${megabytes} MB written and shipped, ${store.name}: CPU of ${who}`,
      value: cpuMs / megabytes,
      unit: 'ms/MB',
      note: who === 'ours' ? 'above that of the same writes without a shipper' : 'of its own process',
    },
  ]
  const figures = figure('ours', oursMs, oursCpuMs)
  if (peer('litestream') === null) return figures

  const path = join(dir, 'load-theirs.db')
  const theirs = new Worker({ store: null, prefix: '', path, work: { type: 'idle' } })
  await theirs.until('ready')
  await theirs.end()
  const litestream = await replicate(dir, store, [{ path, prefix: prefixOf('load-theirs') }])
  await until('the first slot', async () => (await newestSlot(store, prefixOf('load-theirs'))) > 0, waitMs)
  const writer = new Worker({ store: null, prefix: '', path, work })
  await writer.until('ready')
  const startedAtMs = performance.now()
  await writer.until('shipped')
  litestream.child.kill('SIGTERM') // it ships what is left, then ends
  const { cpuMs } = await litestream.ended()
  const theirsMs = performance.now() - startedAtMs
  await writer.end()
  return [...figures, ...figure('Litestream', theirsMs, cpuMs)]
}

/** From a commit to the file in the store that holds it, seen from outside. In a directory, where looking costs nothing. */
export async function benchLag(dir: string, store: BenchStore, count: number): Promise<Figure[]> {
  const work = { type: 'ticks', intervalMs: 37, count } as const // not a divisor of anybody's interval
  const measure = async (name: string, order: ShipOrder, end: () => Promise<unknown>, worker = new Worker(order)) => {
    const folder = join(dir, 'objects', order.prefix, 'ltx/0')
    const seen = new Map<string, number>()
    const arrivals: { readonly tick: number; readonly atMs: number }[] = []
    let isDone = false
    const watch = (async () => {
      while (!isDone) {
        for (const file of existsSync(folder) ? readdirSync(folder) : [])
          if (file.endsWith('.ltx') && !seen.has(file)) seen.set(file, performance.timeOrigin + performance.now())
        await Bun.sleep(2)
      }
    })()
    const { atMs } = await worker.until('ticks')
    await worker.until('shipped')
    await end()
    isDone = true
    await watch
    for (const [file, at] of [...seen].sort())
      decodeLtx(readFileSync(join(folder, file)), () => (_, page) => {
        const tick = tickIn(page)
        if (tick > 0) arrivals.push({ tick, atMs: at })
      })
    const lags = atMs.map((commitMs, i) => {
      const arrival = arrivals.find(({ tick }) => tick > i)
      if (arrival === undefined) throw new Error(`${name}: tick ${i + 1} of ${count} is nowhere`)
      return arrival.atMs - commitMs
    })
    lags.sort((a, b) => a - b)
    const quantile = (q: number) => lags[Math.min(lags.length - 1, Math.floor(lags.length * q))]!
    return [
      { name: `lag from commit to object: p50, ${name}`, value: quantile(0.5), unit: 'ms', note: `${count} commits` },
      { name: `lag from commit to object: p99, ${name}`, value: quantile(0.99), unit: 'ms' },
    ]
  }
  const order = { store: store.config, prefix: prefixOf('lag-ours'), path: join(dir, 'lag-ours.db'), work }
  const ours = new Worker(order)
  const figures = await measure('ours', order, () => ours.end(), ours)
  if (peer('litestream') === null) return figures
  const path = join(dir, 'lag-theirs.db')
  const prefix = prefixOf('lag-theirs')
  const idle = new Worker({ store: null, prefix, path, work: { type: 'idle' } })
  await idle.until('ready')
  await idle.end()
  const litestream = await replicate(dir, store, [{ path, prefix }])
  await until('the first slot', async () => (await newestSlot(store, prefix)) > 0, waitMs)
  const writer = new Worker({ store: null, prefix, path, work })
  const stop = async () => {
    litestream.child.kill('SIGTERM')
    await litestream.ended()
    await writer.end()
  }
  return [...figures, ...(await measure('Litestream', { store: null, prefix, path, work }, stop, writer))]
}

/** What an hour costs in requests: of a database that nobody writes to, and of one with a commit a second. */
export async function benchRequests(dir: string, store: BenchStore, measuredMs: number): Promise<Figure[]> {
  const perHour = async (): Promise<number> => {
    const sum = async () => Object.values((await store.requests())!).reduce((a, b) => a + b, 0)
    await Bun.sleep(settleMs) // what a start costs is no part of an hour
    const before = await sum()
    await Bun.sleep(measuredMs)
    return ((await sum()) - before) * (3_600_000 / measuredMs)
  }
  const figures: Figure[] = []
  const settleMs = measuredMs / 3
  const note = `measured over ${measuredMs / 1e3} s, by the server, ${settleMs / 1e3} s after the start`
  const idle = { type: 'idle' } as const
  const busy = { type: 'ticks', intervalMs: 1_000, count: Math.ceil((1.4 * measuredMs) / 1_000) + 5 } as const
  const name = (what: string, who: string) => `requests an hour, ${what}: ${who}`
  for (const [what, work] of [
    ['idle', idle],
    ['a commit a second', busy],
  ] as const) {
    const path = join(dir, `requests-${work.type}-ours.db`)
    const ours = new Worker({ store: store.config, prefix: prefixOf(`requests-${work.type}-ours`), path, work })
    await ours.until('ready')
    if (work === idle) await ours.until('shipped')
    figures.push({ name: name(what, 'ours'), value: await perHour(), unit: 'requests/h', note })
    ours.started.child.kill('SIGKILL')
    await ours.started.child.exited
  }
  if (peer('litestream') === null) return figures
  for (const [what, work] of [
    ['idle', idle],
    ['a commit a second', busy],
  ] as const) {
    const path = join(dir, `requests-${work.type}-theirs.db`)
    const prefix = prefixOf(`requests-${work.type}-theirs`)
    const writer = new Worker({ store: null, prefix, path, work })
    await writer.until('ready')
    const litestream = await replicate(dir, store, [{ path, prefix }])
    await until('the first slot', async () => (await newestSlot(store, prefix)) > 0, waitMs)
    figures.push({ name: name(what, 'Litestream'), value: await perHour(), unit: 'requests/h', note })
    litestream.child.kill('SIGKILL')
    await litestream.child.exited
    writer.started.child.kill('SIGKILL')
    await writer.started.child.exited
  }
  return figures
}

export interface ManySize {
  readonly openCount: number
  readonly closedCount: number
  /** What official Litestream gets; it keeps all of them open. */
  readonly theirCount: number
}

/** Memory and descriptors with very many databases. */
export async function benchMany(dir: string, store: BenchStore, size: ManySize): Promise<Figure[]> {
  const folder = join(dir, 'many')
  mkdirSync(folder)
  const { openCount, closedCount, theirCount } = size
  const work = { type: 'many', openCount, closedCount } as const
  const worker = new Worker({ store: store.config, prefix: '', path: folder, work })
  const { openBytes, openDescriptors, closedBytes, closedDescriptors } = await worker.until('many')
  await worker.end()
  const rest = closedCount.toLocaleString('en')
  const figures: Figure[] = [
    { name: `memory, ${openCount} databases open and attached: ours`, value: openBytes / 1e6, unit: 'MB' },
    {
      name: `descriptors, ${openCount} databases open and attached: ours`,
      value: openDescriptors,
      unit: 'descriptors',
    },
    { name: `memory, ${rest} databases attached and at rest: ours`, value: closedBytes / 1e6, unit: 'MB' },
    {
      name: `descriptors, ${rest} databases attached and at rest: ours`,
      value: closedDescriptors,
      unit: 'descriptors',
    },
  ]
  if (peer('litestream') === null) return figures
  const databases = Array.from({ length: theirCount }, (_, i) => {
    const path = join(folder, `theirs-${i}.db`)
    const db = new Database(path, { create: true })
    db.run('PRAGMA journal_mode = WAL')
    db.run('CREATE TABLE notes (id INTEGER PRIMARY KEY, title TEXT)')
    db.run("INSERT INTO notes (title) VALUES ('one')")
    db.close()
    return { path, prefix: `many/${i}/data.db` }
  })
  const litestream = await replicate(dir, store, databases)
  const { pid } = litestream.child
  const last = databases.at(-1)!
  const isThere = async () => {
    for (const { prefix } of databases.slice(-20)) if ((await newestSlot(store, prefix)) === 0) return false
    return (await newestSlot(store, last.prefix)) > 0
  }
  await until('all first slots', isThere, waitMs)
  figures.push(
    { name: `memory, ${theirCount} databases: Litestream`, value: residentBytes(pid) / 1e6, unit: 'MB' },
    { name: `descriptors, ${theirCount} databases: Litestream`, value: descriptorsOf(pid), unit: 'descriptors' },
  )
  litestream.child.kill('SIGKILL')
  await litestream.child.exited
  return figures
}
