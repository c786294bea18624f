// One cell of the matrix: a database of some page size, size and life, shipped in some ack mode, then restored at its TXIDs
// by us and by the official programs. All must give the same bytes, and the bytes of the source wherever its hash is known.

import { Database as Sqlite } from 'bun:sqlite'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Txid } from '../../src/lib/brand.ts'
import { systemClock } from '../../src/lib/clock.ts'
import type { ObjectStore } from '../../src/lib/object-store/object-store.ts'
import { openObjectStore } from '../../src/lib/object-store/open.ts'
import { silentLogger } from '../../src/lib/obs/log.ts'
import { type Rng, seededRng } from '../../src/lib/rng.ts'
import { getSlot, listLtx, ltxKey } from '../../src/replicate/ltx-store.ts'
import { acksMinOf, StandbyCouncil, type StandbyNode } from '../../src/replicate/standby-council.ts'
import { StandbyStream } from '../../src/replicate/standby-stream.ts'
import { localStandby } from '../support/local-standby.ts'
import { type Minio, startMinio } from '../support/minio.ts'
import { Owner, prefix, restoredHash } from './histories.ts'
import { type OfficialReplica, officialHash, officialHashAt, run, txidText } from './official.ts'

export const pageSizes = [512, 4_096, 65_536] as const
export const workloads = ['plain', 'vacuum', 'auto-vacuum', 'blobs', 'schema'] as const
export const acks = ['async', 'sync', 'quorum'] as const
export const sizes = { empty: 0, page: 1, small: 200_000, '100 MB': 100e6, '1.1 GiB': 1.1 * 2 ** 30 } as const

export interface Cell {
  readonly pageSize: (typeof pageSizes)[number]
  readonly size: keyof typeof sizes
  readonly workload: (typeof workloads)[number]
  readonly ack: (typeof acks)[number]
}

export interface MatrixPeers {
  readonly litestream: string
  readonly ltx: string
  /** null: only the directory layout. */
  readonly minio: string | null
}

/** States that are looked at in a cell: the newest always, of others so many. */
export interface MatrixEffort {
  readonly txidsMax: number
  readonly timesMax: number
}

/** One transaction above this is no longer usual, bytes. */
const loadBytesMax = 16 << 20

export function nameOf({ pageSize, size, workload, ack }: Cell): string {
  return `${pageSize} B pages, ${size}, ${workload}, ${ack}`
}

/** A single step of each kind of life. `t` has an id and a blob. */
const steps: Readonly<Record<Cell['workload'], (owner: Owner, rng: Rng) => Promise<unknown>>> = {
  async plain({ db }, rng) {
    await db.transaction(() => {
      for (let i = rng.below(5); i >= 0; i--) db.run('INSERT INTO t (v) VALUES (?)', [rng.bytes(1 + rng.below(3_000))])
      db.run('UPDATE t SET v = ? WHERE id % 7 = ?', [rng.bytes(50), rng.below(7)])
      if (rng.below(4) === 0) db.run('DELETE FROM t WHERE id % 3 = ?', [rng.below(3)])
    })
  },
  async vacuum(owner, rng) {
    await steps.plain(owner, rng)
    if (rng.below(3) > 0) return
    await owner.db.transaction(() => owner.db.run('DELETE FROM t WHERE id % 2 = 0'))
    // SQLite vacuums outside transactions only, so on a connection of its own; the next commit makes it known.
    const raw = new Sqlite(owner.db.path)
    raw.run('PRAGMA wal_autocheckpoint = 0')
    raw.run('VACUUM')
    raw.close()
    await owner.insert('behind the vacuum')
  },
  async 'auto-vacuum'({ db }, rng) {
    const isShrinking = rng.below(3) === 0
    await db.transaction(() => {
      if (isShrinking) db.run('DELETE FROM t WHERE id > ?', [rng.below(20)])
      else db.run('INSERT INTO t (v) VALUES (?)', [rng.bytes(rng.below(60_000))])
    })
  },
  async blobs({ db, position }, rng) {
    const { pageSize } = position
    await db.transaction(() => {
      db.run('INSERT INTO t (v) VALUES (?)', [rng.bytes(rng.below(30) * Math.min(pageSize, 8_192))])
      db.run('INSERT INTO t (v) VALUES (zeroblob(?))', [rng.below(20) * pageSize])
      if (rng.below(3) === 0) db.run('UPDATE t SET v = zeroblob(10) WHERE id = (SELECT max(id) - 2 FROM t)')
    })
  },
  async schema({ db }, rng) {
    const n = rng.below(6)
    await db.transaction(() => {
      db.exec(`DROP TABLE IF EXISTS s${n}`)
      db.exec(`CREATE TABLE s${n} (a, b UNIQUE, c DEFAULT 'x')`)
      for (let row = 0; row < 20; row++) db.run(`INSERT INTO s${n} (a, b) VALUES (?, ?)`, [row, rng.bytes(40)])
      db.exec(`CREATE INDEX i${n} ON s${n} (a)`)
      if (rng.below(2) === 0) db.exec(`ALTER TABLE s${n} ADD COLUMN d`)
      if (rng.below(3) === 0) db.exec(`DROP INDEX i${n}`)
    })
  },
}

/** Ships the cell's life into the store; the hash of every state that is known for sure. */
async function live(
  cell: Cell,
  store: ObjectStore,
  rng: Rng,
  { stepsCount, dir }: { readonly stepsCount: number; readonly dir: string },
): Promise<Map<Txid, string>> {
  const hashes = new Map<Txid, string>()
  const isAsync = cell.ack === 'async'
  const options = { pageSize: cell.pageSize, autoVacuum: cell.workload === 'auto-vacuum' }
  const isBare = cell.size === 'empty' || cell.size === 'page'
  await using owner = await Owner.create(store, { ...options, isBare, delayMs: isAsync ? 2 : 60_000 })
  const note = async () => {
    await owner.flush()
    hashes.set(owner.shipper.txid, owner.hash())
  }
  await note()
  if (cell.size === 'page') await owner.db.transaction(() => owner.db.exec('CREATE VIEW v AS SELECT 1'))
  if (isBare) {
    await note()
    return hashes
  }
  const pages = () => owner.db.get<{ count: number }>('SELECT page_count AS count FROM pragma_page_count')!.count
  while (pages() * cell.pageSize < sizes[cell.size]) {
    const bytes = Math.min(loadBytesMax, sizes[cell.size])
    await owner.db.transaction(() => {
      for (let row = 0; row < bytes / 20_000; row++)
        owner.db.run('INSERT INTO t (v) VALUES (?)', [row % 2 === 0 ? rng.bytes(20_000) : 'text '.repeat(4_000)])
    })
    await owner.flush()
  }
  await note()
  if (cell.ack === 'quorum') {
    await owner.close()
    await liveWithStandby(cell, store, rng, { stepsCount, standby: localStandby(dir), hashes })
    return hashes
  }
  for (let step = 0; step < stepsCount; step++) {
    await steps[cell.workload](owner, rng)
    if (!isAsync || rng.below(3) === 0) await note()
  }
  await note()
  // Whoever takes over adds a seal, which changes nothing.
  await owner.close()
  await using heir = await Owner.open(store, 2)
  hashes.set(heir.shipper.txid, heir.hash())
  return hashes
}

/** An owner that is acknowledged by a standby and dies with commits that the store never had; its heir seals with them. */
async function liveWithStandby(
  cell: Cell,
  store: ObjectStore,
  rng: Rng,
  options: { readonly stepsCount: number; readonly standby: StandbyNode; readonly hashes: Map<Txid, string> },
): Promise<void> {
  const { stepsCount, standby, hashes } = options
  const open = (epoch: number, council: StandbyCouncil) =>
    Owner.open(store, epoch, { recover: (tail, writer, at) => council.recover(tail, writer, at) })
  const council = new StandbyCouncil({ sets: [], own: [standby], log: silentLogger })
  await using owner = await open(2, council)
  const stream = new StandbyStream(owner.db, owner.shipper, {
    clock: systemClock,
    log: silentLogger,
    peers: council.peers(owner.position.writer),
    acksMin: acksMinOf(1),
    firstSeq: council.firstSeq,
    onLost: () => {
      throw new Error('the standby was lost')
    },
  })
  for (let step = 0; step < stepsCount; step++) {
    await steps[cell.workload](owner, rng)
    await stream.waitStored(owner.db.commitSeq)
    if (step >= stepsCount / 2) continue // from here on the store gets nothing
    await owner.flush()
    hashes.set(owner.shipper.txid, owner.hash())
  }
  const acknowledged = owner.hash()
  await owner.abandon()
  const successor = new StandbyCouncil({ sets: [{ epoch: 2, nodes: [standby] }], own: [], log: silentLogger })
  await using heir = await open(3, successor)
  if (heir.hash() !== acknowledged) throw new Error(`${nameOf(cell)}: acknowledged commits were lost`)
  hashes.set(heir.shipper.txid, acknowledged)
}

/** Throws where anything differs; `stepsCount` transactions besides the load. */
export async function runCell(
  cell: Cell,
  options: {
    readonly seed: number
    readonly stepsCount: number
    readonly effort: MatrixEffort
    readonly peers: MatrixPeers
    readonly server: Minio | null
  },
): Promise<{ readonly txids: number; readonly restores: number }> {
  const { seed, effort, peers, server, stepsCount } = options
  const rng = seededRng(seed)
  const dir = mkdtempSync(join(tmpdir(), 'pf-matrix-'))
  try {
    const base = `m${seed}`
    const store = await openObjectStore(
      server === null ? { kind: 'file', dir: join(dir, 'objects') } : s3Config(server, base),
    )
    const hashes = await live(cell, store, rng, { stepsCount, dir: join(dir, 'standby') })
    const at = { store, prefix }
    const replica: OfficialReplica = {
      litestream: peers.litestream,
      url:
        server === null
          ? `file://${join(dir, 'objects', prefix)}`
          : `s3://${server.bucket}/${base}/${prefix}?endpoint=${server.endpoint}&forcePathStyle=true&region=us-east-1`,
      env:
        server === null
          ? {}
          : { LITESTREAM_ACCESS_KEY_ID: server.accessKey, LITESTREAM_SECRET_ACCESS_KEY: server.secretKey },
    }
    const files = await listLtx(at)
    const slots = files.filter(({ level }) => level === 0).map(({ maxTxid }) => maxTxid)
    await verifyAll(at, files, peers.ltx, dir)
    const newest = Math.max(...slots) as Txid
    const wanted = hashes.get(newest)
    let restores = 0
    const same = async (what: string, expected: string | undefined, ...given: Promise<string>[]) => {
      for (const hash of await Promise.all(given)) {
        restores++
        if (hash !== (expected ?? (await given[0]!))) throw new Error(`${nameOf(cell)}: ${what} differs`)
      }
    }
    const output = () => join(dir, `${restores}-${rng.below(2 ** 32)}.db`)
    await same('latest', wanted, restoredHash(at, null), officialHash(replica, output(), ['-integrity-check', 'full']))
    for (const txid of shuffled(slots, rng).slice(0, effort.txidsMax)) {
      const official = officialHash(replica, output(), ['-txid', txidText(txid)])
      await same(`TXID ${txid}`, hashes.get(txid), restoredHash(at, txid), official)
    }
    // With a URL the official tool refuses times from the newest file on.
    for (const txid of shuffled(
      slots.filter((each) => each < newest),
      rng,
    ).slice(0, effort.timesMax)) {
      const { header } = (await getSlot(at, txid))!
      const official = officialHashAt(replica, output(), header.timestampMs)
      await same(`the time of TXID ${txid}`, hashes.get(txid), restoredHash(at, txid), official)
    }
    await store.close()
    return { txids: slots.length, restores }
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

function shuffled<T>(items: readonly T[], rng: Rng): T[] {
  const rest = [...items]
  return items.map(() => rest.splice(rng.below(rest.length), 1)[0]!)
}

/** `ltx verify` on every file. */
async function verifyAll(
  at: { readonly store: ObjectStore; readonly prefix: string },
  files: Awaited<ReturnType<typeof listLtx>>,
  ltx: string,
  dir: string,
): Promise<void> {
  const paths: string[] = []
  for (const file of files) {
    const path = join(dir, `${file.level}-${txidText(file.minTxid)}-${txidText(file.maxTxid)}.ltx`)
    await Bun.write(path, await at.store.get(ltxKey(at, file)))
    paths.push(path)
  }
  await run([ltx, 'verify', ...paths])
  for (const path of paths) rmSync(path)
}

function s3Config(server: Minio, base: string) {
  return {
    kind: 's3',
    endpoint: server.endpoint,
    region: 'us-east-1',
    bucket: server.bucket,
    prefix: base,
    credentials: { accessKeyId: server.accessKey, secretAccessKey: server.secretKey },
  } as const
}

/** All cells; the largest databases only live plainly, and in one mode. */
export function allCells(): Cell[] {
  const cells: Cell[] = []
  for (const size of ['empty', 'page', 'small', '100 MB', '1.1 GiB'] as const)
    for (const pageSize of pageSizes)
      for (const workload of size === 'empty' || size === 'page' || size === '1.1 GiB'
        ? (['plain'] as const)
        : workloads)
        for (const ack of size === 'small' ? acks : (['sync'] as const)) cells.push({ pageSize, size, workload, ack })
  return cells
}

/** `bun run test:long matrix`: `rounds` cells, from the small to the large ones; small ones also on MinIO. */
export async function runMatrix(options: {
  readonly seed: number
  readonly rounds: number
  readonly peers: MatrixPeers
  readonly onRound: (line: string) => void
}): Promise<{ readonly cells: number; readonly restores: number }> {
  const { seed, rounds, peers, onRound } = options
  const dir = mkdtempSync(join(tmpdir(), 'pf-matrix-minio-'))
  let restores = 0
  let done = 0
  try {
    await using server = peers.minio === null ? null : await startMinio(peers.minio, dir)
    for (const cell of allCells().slice(0, rounds)) {
      const isLarge = sizes[cell.size] > 1e6
      const shared = { stepsCount: isLarge ? 4 : 20, peers }
      const effort = isLarge ? { txidsMax: 1, timesMax: 1 } : { txidsMax: 1_000, timesMax: 8 }
      restores += (await runCell(cell, { ...shared, effort, seed: seed + 2 * done, server: null })).restores
      if (!isLarge && server !== null) {
        const some = { txidsMax: 6, timesMax: 3 }
        restores += (await runCell(cell, { ...shared, effort: some, seed: seed + 2 * done + 1, server })).restores
      }
      onRound(`${nameOf(cell)}: ${restores} restores so far, ${++done}/${rounds}`)
    }
    return { cells: done, restores }
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}
