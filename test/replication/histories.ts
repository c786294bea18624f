// What the replication tests share: a real Database with a history in a store, and how to look at both.

import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Txid } from '../../src/lib/brand.ts'
import { type Clock, systemClock } from '../../src/lib/clock.ts'
import type { ObjectStore } from '../../src/lib/object-store/object-store.ts'
import { createLogger } from '../../src/lib/obs/log.ts'
import { type Rng, seededRng } from '../../src/lib/rng.ts'
import { Database } from '../../src/node/engine/db/database.ts'
import type { DamagedFileError, FencedError } from '../../src/replicate/errors.ts'
import { createHistory, type HistoryPosition, type OpenedHistory, openHistory } from '../../src/replicate/history.ts'
import type { HistoryManifest } from '../../src/replicate/history-manifest.ts'
import type { HistoryLocation } from '../../src/replicate/ltx-store.ts'
import { restoreDatabase } from '../../src/replicate/restore.ts'
import type { Recover } from '../../src/replicate/seal.ts'
import { Shipper } from '../../src/replicate/shipper.ts'
import { HistoryUpkeep, type UpkeepRunner } from '../../src/replicate/upkeep.ts'

export const prefix = 't/abc/data.db'
export const deadlineMs = 20_000
const quiet = createLogger({ level: 'error', format: 'text', now: () => 0, sink: { write() {} } })

export interface OwnerOptions {
  /** Of shipping; long unless told, so that tests say when. */
  readonly delayMs?: number
  readonly clock?: Clock
  /** Merges and deletes when due. */
  readonly runner?: UpkeepRunner
  readonly manifest?: HistoryManifest | null
  /** In place of writing the WAL through to the disk. */
  readonly syncFile?: (path: string) => Promise<void>
  readonly onDamaged?: (error: DamagedFileError) => void
}

/** An owner of the history: its own folder, its own connections. */
export class Owner implements AsyncDisposable {
  readonly dir: string
  readonly at: HistoryLocation
  readonly rng: Rng
  db: Database
  shipper: Shipper
  position: HistoryPosition
  /** Only with a runner. */
  upkeep: HistoryUpkeep | null = null
  fencedBy: FencedError | null = null

  private constructor(
    at: HistoryLocation,
    dir: string,
    rng: Rng,
    db: Database,
    position: HistoryPosition,
    options: OwnerOptions,
  ) {
    const { clock = systemClock, runner, manifest = null } = options
    if (runner !== undefined)
      this.upkeep = new HistoryUpkeep(position, manifest, { clock, log: quiet, runner, onChange: () => {} })
    this.at = at
    this.dir = dir
    this.rng = rng
    this.db = db
    this.position = position
    this.shipper = Shipper.attach(db, position, {
      clock,
      rng,
      log: quiet,
      shipDelayMs: options.delayMs ?? 60_000,
      onFenced: (error) => {
        this.fencedBy = error
      },
      onShipped: (file, commit) => this.upkeep?.shipped(file, commit),
      ...(options.syncFile && { syncFile: options.syncFile }),
    })
  }

  static async create(
    store: ObjectStore,
    options: {
      readonly pageSize?: number
      readonly autoVacuum?: boolean
      readonly isBare?: boolean
    } & OwnerOptions = {},
  ): Promise<Owner> {
    const dir = mkdtempSync(join(tmpdir(), 'pf-owner-'))
    const path = join(dir, 'data.db')
    if (options.pageSize !== undefined || options.autoVacuum) await preparePages(path, options)
    const db = Database.open({ path, checkpoint: 'owner' })
    if (!options.isBare) await db.transaction(() => db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)'))
    const at = { store, prefix }
    const rng = seededRng(1)
    const position = await createHistory(at, db, { epoch: 1, clock: options.clock ?? systemClock, rng })
    return new Owner(at, dir, rng, db, position, options)
  }

  /** A takeover; `dir` is that of an earlier owner on the same node, or a fresh one. */
  static async open(
    store: ObjectStore,
    epoch: number,
    options: { readonly dir?: string; readonly recover?: Recover } & OwnerOptions = {},
  ): Promise<Owner & { readonly origin: OpenedHistory['origin'] }> {
    const dir = options.dir ?? mkdtempSync(join(tmpdir(), 'pf-owner-'))
    const path = join(dir, 'data.db')
    const rng = seededRng(epoch * 7_919)
    const { recover, onDamaged, manifest = null } = options
    const told = { ...(recover && { recover }), ...(onDamaged && { onDamaged }), manifest: async () => manifest }
    const clock = options.clock ?? systemClock
    const position = await openHistory({ store, prefix }, path, { epoch, clock, rng, ...told })
    const db = Database.open({ path, checkpoint: 'owner' })
    db.quickCheck()
    const owner = new Owner({ store, prefix }, dir, rng, db, position, options)
    return Object.assign(owner, { origin: position.origin })
  }

  async insert(value: string | Uint8Array): Promise<number> {
    await this.db.transaction(() => this.db.run('INSERT INTO t (v) VALUES (?)', [value]))
    return this.db.commitSeq
  }

  flush(): Promise<void> {
    return this.shipper.flush(deadlineMs)
  }

  values(): string[] {
    return this.db.all<{ v: string }>('SELECT v FROM t ORDER BY id').map((row) => row.v)
  }

  /** Of the file as after a complete checkpoint. */
  hash(): string {
    return sha256(this.db.image())
  }

  /** The upkeep has done what was due. */
  async kept(): Promise<HistoryUpkeep> {
    await this.upkeep!.settled()
    return this.upkeep!
  }

  /** Closes as a killed process leaves things: nothing is shipped, the WAL keeps its frames. */
  async abandon(): Promise<void> {
    this.upkeep?.close()
    await this.shipper.close({ deadlineMs: 0 })
    await this.db.close()
  }

  async close(): Promise<boolean> {
    this.upkeep?.close()
    const shipped = await this.shipper.close({ deadlineMs })
    await this.db.close()
    return shipped
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.abandon()
    rmSync(this.dir, { recursive: true, force: true })
  }
}

/** Page size and auto-vacuum can only be set before the WAL mode. */
async function preparePages(
  path: string,
  options: { readonly pageSize?: number; readonly autoVacuum?: boolean },
): Promise<void> {
  const { Database: Sqlite } = await import('bun:sqlite')
  const raw = new Sqlite(path, { create: true })
  if (options.pageSize !== undefined) raw.run(`PRAGMA page_size = ${options.pageSize}`)
  if (options.autoVacuum) raw.run('PRAGMA auto_vacuum = FULL')
  raw.run('VACUUM')
  raw.close()
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** The hash of what our own restore makes of the history. */
export async function restoredHash(at: HistoryLocation, target: Txid | null): Promise<string> {
  const dir = mkdtempSync(join(tmpdir(), 'pf-restored-'))
  try {
    const path = join(dir, 'data.db')
    await restoreDatabase(at, path, { target })
    return sha256(await Bun.file(path).bytes())
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}
