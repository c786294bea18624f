// One tenant as a library: PocketBase's semantics over two SQLite files, without HTTP and without a fleet.

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Clock } from '../../lib/clock.ts'
import type { Logger } from '../../lib/obs/log.ts'
import type { MaybePromise } from '../../lib/result.ts'
import type { Rng } from '../../lib/rng.ts'
import { AuthService } from './auth/auth-service.ts'
import type { PasswordHasher } from './auth/password.ts'
import { type BackupStorage, FolderBackups, TenantBackups } from './backups/backup-storage.ts'
import { Chains } from './chains.ts'
import { CollectionStore } from './collections/collection-store.ts'
import { Database } from './db/database.ts'
import { readerPool } from './db/reader-process.ts'
import type { FileStorage } from './files/storage.ts'
import { TenantBucket } from './files/tenant-bucket.ts'
import { TenantStorage } from './files/tenant-storage.ts'
import { type OutputGate, openGate } from './output-gate.ts'
import { RealtimeBroker } from './realtime/broker.ts'
import { bindRealtime } from './realtime/publish.ts'
import { RecordStore } from './records/record-store.ts'
import { createAuxiliaryTables, createSystemCollections, createSystemTables, hasSystemTables } from './schema/fresh.ts'
import type { Settings } from './settings/settings.ts'
import { SettingsStore } from './settings/store.ts'
import { Usage } from './usage.ts'

export interface EngineOptions {
  /** Holds `data.db` and `auxiliary.db`; made when missing. */
  readonly dir: string
  readonly clock: Clock
  readonly rng: Rng
  readonly log: Logger
  readonly passwords: PasswordHasher
  /** Where files are kept unless the tenant's settings name a bucket. */
  readonly files: FileStorage
  /** The same for backups; default: `backups` in {@link dir}. */
  readonly backups?: BackupStorage
  /** See DatabaseOptions: `owner` for tenants of a fleet. */
  readonly checkpoint: 'sqlite' | 'owner'
  /** 32 characters that encrypt the settings, or null. */
  readonly encryptionKey?: string | null
  readonly gate?: OutputGate
  /** How long one read may run, ms; default: 30 s. */
  readonly readDeadlineMs?: number
  readonly isDev?: boolean
  /**
   * Whether mails and OAuth2 requests may go to private networks. Default: only where SQLite checkpoints by itself, that
   * is on a machine of one's own; never on nodes that others share.
   */
  readonly mayReachPrivate?: boolean
}

export class Engine implements AsyncDisposable {
  readonly dir: string
  readonly data: Database
  readonly aux: Database
  readonly usage: Usage
  readonly collections: CollectionStore
  readonly records: RecordStore
  readonly settingsStore: SettingsStore
  readonly chains: Chains
  readonly clock: Clock
  readonly rng: Rng
  readonly log: Logger
  readonly passwords: PasswordHasher
  readonly files: TenantStorage
  readonly backups: BackupStorage
  readonly isDev: boolean
  readonly mayReachPrivate: boolean
  readonly auth: AuthService
  readonly realtime: RealtimeBroker
  /** What leaves the node after a write passes here first. Set once, by whoever replicates the tenant. */
  gate: OutputGate
  readonly #onClose: (() => MaybePromise<void>)[] = []
  #closed = false

  constructor(
    options: EngineOptions,
    opened: {
      readonly data: Database
      readonly aux: Database
      readonly usage: Usage
      readonly collections: CollectionStore
      readonly settings: SettingsStore
    },
  ) {
    this.dir = options.dir
    this.data = opened.data
    this.aux = opened.aux
    this.usage = opened.usage
    this.collections = opened.collections
    this.settingsStore = opened.settings
    this.clock = options.clock
    this.rng = options.rng
    this.log = options.log
    this.passwords = options.passwords
    this.mayReachPrivate = options.mayReachPrivate ?? options.checkpoint === 'sqlite'
    const filesBucket = new TenantBucket(() => this.settings.s3, this)
    const backupsBucket = new TenantBucket(() => this.settings.backups.s3, this)
    this.files = new TenantStorage(options.files, filesBucket, options.log)
    this.backups = new TenantBackups(options.backups ?? new FolderBackups(join(options.dir, 'backups')), backupsBucket)
    this.isDev = options.isDev ?? false
    this.gate = options.gate ?? openGate
    this.chains = new Chains()
    this.records = new RecordStore(this)
    this.auth = new AuthService(this)
    this.realtime = new RealtimeBroker(this)
    bindRealtime(this)
    this.settingsStore.onChange(() => void this.#settingsReloaded())
    this.onClose(() => this.realtime.close())
    this.onClose(() => filesBucket.close())
    this.onClose(() => backupsBucket.close())
  }

  get settings(): Settings {
    return this.settingsStore.current
  }

  get isClosed(): boolean {
    return this.#closed
  }

  async #settingsReloaded(): Promise<void> {
    try {
      await this.chains.onSettingsReload.trigger({ app: this, next() {} }, () => {})
    } catch (error) {
      this.log.error('a handler of onSettingsReload failed', { error }) // the settings are in use already
    }
  }

  /** Runs `body` as one transaction of `data.db`; calls from inside join it. */
  transaction<T>(body: () => MaybePromise<T>): Promise<T> {
    return this.data.transaction(body)
  }

  /** Runs when the engine closes, latest first: parts that hold timers or connections end themselves here. */
  onClose(end: () => MaybePromise<void>): void {
    this.#onClose.push(end)
  }

  /** Tells handlers that the engine serves: everything that belongs to it is there. Once. */
  async serve(): Promise<void> {
    await this.chains.onBootstrap.trigger({ app: this, next() {} }, () => {})
    await this.chains.onServe.trigger({ app: this, next() {} }, () => {})
  }

  /**
   * Ends everything that hangs on the engine, then closes its databases.
   *
   * @param isRestart another engine takes its place at once.
   */
  async close(isRestart = false): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    try {
      await this.chains.onTerminate.trigger({ app: this, isRestart, next() {} }, () => {})
    } catch (error) {
      this.log.error('a handler of onTerminate failed', { error }) // it cannot keep the engine open
    }
    for (const end of this.#onClose.reverse()) await end()
    await this.data.close()
    await this.aux.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

/**
 * Opens a tenant's directory: an existing `pb_data`, or a new one with PocketBase's system collections.
 * Throws CorruptDatabaseError, or an error of the settings; then nothing stays open.
 */
export async function openEngine(options: EngineOptions): Promise<Engine> {
  mkdirSync(options.dir, { recursive: true })
  await using opened = new AsyncDisposableStack()
  const usage = new Usage()
  const open = (name: string) => {
    const database = Database.open({
      path: join(options.dir, name),
      checkpoint: options.checkpoint,
      meter: { clock: options.clock, usage },
      readers: {
        pool: readerPool(options.clock),
        clock: options.clock,
        ...(options.readDeadlineMs !== undefined && { deadlineMs: options.readDeadlineMs }),
      },
    })
    opened.defer(() => database.close())
    return database
  }
  const data = open('data.db')
  const aux = open('auxiliary.db')
  if (!hasSystemTables(data)) await createSystemTables(data, options.clock)
  await createAuxiliaryTables(aux)
  const collections = new CollectionStore({ db: data, clock: options.clock, rng: options.rng, log: options.log })
  await createSystemCollections(collections, options.rng)
  const settings = await SettingsStore.open({
    database: data,
    clock: options.clock,
    rng: options.rng,
    encryptionKey: options.encryptionKey ?? null,
  })
  opened.move()
  return new Engine(options, { data, aux, usage, collections, settings })
}
