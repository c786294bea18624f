// A database that is written to, in a process of its own; with a store, our shipper sends it there. Orders come as JSON in
// argv, answers are JSON lines. It ends when its input does.

import { readFileSync } from 'node:fs'
import { systemClock } from '../../src/lib/clock.ts'
import type { ObjectStore } from '../../src/lib/object-store/object-store.ts'
import { openObjectStore } from '../../src/lib/object-store/open.ts'
import { createLogger } from '../../src/lib/obs/log.ts'
import { systemRng } from '../../src/lib/rng.ts'
import { Database } from '../../src/node/engine/db/database.ts'
import { createHistory } from '../../src/replicate/history.ts'
import { Shipper } from '../../src/replicate/shipper.ts'
import { createPosts, insertPost, PostMaker, rowsPerTransaction, tickText } from './source.ts'

export interface ShipOrder {
  /** null: nobody ships; or official Litestream does, from outside. */
  readonly store: Parameters<typeof openObjectStore>[0] | null
  readonly prefix: string
  readonly path: string
  readonly work: /** Transactions of 2,000 rows until the database has so many bytes. */
    | { readonly type: 'load'; readonly sizeBytes: number }
    /** One small commit every so often. */
    | { readonly type: 'ticks'; readonly intervalMs: number; readonly count: number }
    | { readonly type: 'idle' }
    /** So many databases open and attached; then all of them closed, as tenants at rest are. */
    | { readonly type: 'many'; readonly openCount: number; readonly closedCount: number }
}

/** Each is one line of output. */
export type ShipAnswer =
  /** The schema is there and, with a store, shipped; the work begins. */
  | { readonly type: 'ready' }
  /** The work is done and in the store. */
  | { readonly type: 'shipped' }
  /** Wall clock times of the commits, ms. */
  | { readonly type: 'ticks'; readonly atMs: readonly number[] }
  | {
      readonly type: 'many'
      readonly openBytes: number
      readonly openDescriptors: number
      readonly closedBytes: number
      readonly closedDescriptors: number
    }

const log = createLogger({
  level: 'error',
  format: 'text',
  now: () => 0,
  sink: { write: (line) => console.error(line) },
})
const deps = { clock: systemClock, rng: systemRng, log, onFenced: () => undefined }
const deadlineMs = 120_000

function answer(line: ShipAnswer): void {
  console.log(JSON.stringify(line))
}

async function attach(store: ObjectStore, prefix: string, db: Database): Promise<Shipper> {
  const position = await createHistory({ store, prefix }, db, { epoch: 1, clock: systemClock, rng: systemRng })
  return Shipper.attach(db, position, deps)
}

const order: ShipOrder = JSON.parse(process.argv[2]!)
const store = order.store === null ? null : await openObjectStore(order.store)
const { work, path, prefix } = order

function descriptors(): number {
  return [...new Bun.Glob('*').scanSync({ cwd: '/proc/self/fd', onlyFiles: false })].length
}

function residentNow(): number {
  Bun.gc(true)
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? 0) * 1_024
}

async function inputEnd(): Promise<void> {
  for await (const _ of Bun.stdin.stream());
}

async function many(openCount: number, closedCount: number): Promise<void> {
  const to = store!
  /** What a node keeps of a tenant at rest. */
  const known = new Map<string, { readonly path: string; readonly txid: number }>()
  let open: { readonly name: string; readonly db: Database; readonly shipper: Shipper }[] = []
  const closeAll = async () => {
    for (const { name, db, shipper } of open) {
      await shipper.close({ deadlineMs })
      await db.close()
      known.set(name, { path: `${path}/${name}`, txid: shipper.txid })
    }
    open = []
  }
  const openOne = async (index: number) => {
    const name = `${index}.db`
    const db = Database.open({ path: `${path}/${name}`, checkpoint: 'owner' })
    await db.transaction(() => db.run('CREATE TABLE notes (id INTEGER PRIMARY KEY, title TEXT)'))
    const shipper = await attach(to, `t/${index}/data.db`, db)
    await db.transaction(() => db.run("INSERT INTO notes (title) VALUES ('one')"))
    await shipper.flush(deadlineMs)
    open.push({ name, db, shipper })
  }
  for (let index = 0; index < openCount; index++) await openOne(index)
  const openBytes = residentNow()
  const openDescriptors = descriptors()
  await closeAll()
  for (let index = openCount; index < closedCount; index++) {
    await openOne(index)
    if (open.length === 100) await closeAll()
  }
  await closeAll()
  if (known.size !== Math.max(openCount, closedCount)) throw new Error(`${known.size} databases are known`)
  answer({ type: 'many', openBytes, openDescriptors, closedBytes: residentNow(), closedDescriptors: descriptors() })
}

async function one(): Promise<void> {
  const db = Database.open({ path, checkpoint: 'owner' })
  await db.transaction(() => db.exec(createPosts))
  await db.transaction(() => db.exec('CREATE TABLE IF NOT EXISTS ticks (id INTEGER PRIMARY KEY, v TEXT)'))
  await db.transaction(() => db.run("INSERT OR REPLACE INTO ticks VALUES (1, '')"))
  const shipper = store === null ? null : await attach(store, prefix, db)
  answer({ type: 'ready' })
  if (work.type === 'load') {
    const posts = new PostMaker()
    const pages = () => db.get<{ count: number }>('SELECT page_count AS count FROM pragma_page_count')!.count
    while (pages() * 4_096 < work.sizeBytes)
      await db.transaction(() => {
        for (let row = 0; row < rowsPerTransaction; row++) db.run(insertPost, posts.next())
      })
  } else if (work.type === 'ticks') {
    const atMs: number[] = []
    for (let tick = 1; tick <= work.count; tick++) {
      await db.transaction(() => db.run('UPDATE ticks SET v = ?', [tickText(tick)]))
      atMs.push(performance.timeOrigin + performance.now())
      await Bun.sleep(work.intervalMs)
    }
    answer({ type: 'ticks', atMs })
  }
  if (shipper !== null) await shipper.flush(deadlineMs)
  answer({ type: 'shipped' })
  await inputEnd()
  await shipper?.close({ deadlineMs })
  if (shipper !== null) await db.close()
}

if (work.type === 'many') await many(work.openCount, work.closedCount)
else await one()
process.exit(0)
