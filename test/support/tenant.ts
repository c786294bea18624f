// A tenant of a fleet without its processes: an engine that replicates into a store in memory, and jobs run in place.

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { JobReports, TenantJob } from '../../src/ipc/messages/jobs.ts'
import type { Placement, TenantSpec } from '../../src/ipc/messages/tenant.ts'
import type { Epoch, NodeId, Slug, TenantId } from '../../src/lib/brand.ts'
import { type Clock, systemClock } from '../../src/lib/clock.ts'
import { newTenantId } from '../../src/lib/id.ts'
import { MemoryObjectStore } from '../../src/lib/object-store/memory.ts'
import type { ObjectStore } from '../../src/lib/object-store/object-store.ts'
import { silentLogger } from '../../src/lib/obs/log.ts'
import { systemRng } from '../../src/lib/rng.ts'
import { PasswordQueue } from '../../src/node/engine/auth/password.ts'
import { FileCache } from '../../src/node/engine/files/file-cache.ts'
import { UploadedFile } from '../../src/node/engine/files/uploaded-file.ts'
import { EngineRecord } from '../../src/node/engine/records/record.ts'
import { createTenant } from '../../src/node/tenants/create-tenant.ts'
import { runJob } from '../../src/node/tenants/job-runner.ts'
import { openTenant, type TenantDeps } from '../../src/node/tenants/open-tenant.ts'
import type { OpenTenant } from '../../src/node/tenants/pool.ts'
import { StandbyClients } from '../../src/node/tenants/standby-clients.ts'
import { TenantFiles } from '../../src/node/tenants/tenant-files.ts'
import { UpkeepHere } from './upkeep-here.ts'

export function specOfTest(id: TenantId): TenantSpec {
  return {
    id,
    slug: `t-${id}` as Slug,
    domains: [],
    status: 'active',
    plan: 'micro',
    ackMode: 'async',
    lossBoundMs: 5_000,
    onStoreOutage: 'spool',
    limits: { storageBytesMax: null, apiRequestsPerDayMax: null, realtimeConnectionsMax: null, queryMsMax: 1_000 },
    createdAtMs: 1,
  }
}

/** One node's folder and store; tenants are made, opened and worked on one by one. */
export class TenantBench implements AsyncDisposable {
  readonly dir: string
  readonly deps: TenantDeps
  readonly clock: Clock
  readonly upkeep: UpkeepHere
  readonly #open = new Set<OpenTenant>()
  #scratches = 0
  #epoch = 0

  private constructor(store: ObjectStore, clock: Clock, fileCache: FileCache, dir: string) {
    this.dir = dir
    this.clock = clock
    this.upkeep = new UpkeepHere(store, clock)
    this.deps = {
      clock,
      rng: systemRng,
      log: silentLogger,
      store,
      objectPrefix: 'pf',
      files: new TenantFiles(dir, clock),
      fileCache,
      passwords: new PasswordQueue(),
      upkeep: this.upkeep,
      onUpkeepDue: () => {},
      onCronDue: () => {},
      isDev: false,
      leaseLostMs: () => 0,
      standbys: new StandbyClients({
        open: () => {
          throw new Error('no standbys here')
        },
        clock: systemClock,
        log: silentLogger,
      }),
      onSealed: () => {},
      onStandbyLost: () => {},
      onOpened: () => {},
    }
  }

  static async start(store: ObjectStore = new MemoryObjectStore(), clock: Clock = systemClock): Promise<TenantBench> {
    const dir = mkdtempSync(join(tmpdir(), 'pf-tenants-'))
    const fileCache = await FileCache.open({ dir: join(dir, 'cache'), bytesMax: 1 << 20 })
    return new TenantBench(store, clock, fileCache, dir)
  }

  get store(): ObjectStore {
    return this.deps.store
  }

  placement(tenantId: TenantId): Placement {
    return { tenantId, nodeId: 'node-1' as NodeId, worker: 0, epoch: ++this.#epoch as Epoch }
  }

  /** A new tenant with one superuser, open. */
  async create(): Promise<OpenTenant> {
    const id = newTenantId(systemRng)
    const passwordHash = await Bun.password.hash('password123', { algorithm: 'bcrypt', cost: 4 })
    await createTenant(specOfTest(id), this.placement(id), { email: 'root@example.com', passwordHash }, this.deps)
    return this.open(id)
  }

  async open(id: TenantId): Promise<OpenTenant> {
    const tenant = await openTenant(specOfTest(id), this.placement(id), this.deps)
    this.#open.add(tenant)
    return tenant
  }

  async close(tenant: OpenTenant): Promise<void> {
    this.#open.delete(tenant)
    await tenant.close()
  }

  /** Runs a job here, as its process would. */
  async job<T extends Exclude<TenantJob['type'], 'warm'>>(
    tenantId: TenantId,
    job: Extract<TenantJob, { readonly type: T }>,
  ): Promise<JobReports[T]> {
    const { store, objectPrefix, rng } = this.deps
    const scratchDir = join(this.dir, `scratch-${++this.#scratches}`)
    mkdirSync(scratchDir)
    try {
      const signal = new AbortController().signal
      const context = { store, objectPrefix, clock: this.clock, rng, scratchDir, signal, report: () => {} }
      return (await runJob(tenantId, job, context)) as JobReports[T]
    } finally {
      rmSync(scratchDir, { recursive: true, force: true })
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const tenant of this.#open) await tenant.close()
    this.upkeep[Symbol.dispose]()
    rmSync(this.dir, { recursive: true, force: true })
  }
}

export async function addCollection(tenant: OpenTenant, name: string, withFile = false): Promise<void> {
  const { createCollection } = await import('../../src/node/engine/collections/manage.ts')
  await createCollection(tenant.engine, {
    name,
    type: 'base',
    fields: [
      { name: 'title', type: 'text' },
      ...(withFile ? [{ name: 'photos', type: 'file', maxSelect: 5, maxSize: 1_000_000 }] : []),
    ],
  })
}

export async function addRecord(
  tenant: OpenTenant,
  collection: string,
  title: string,
  files: readonly string[] = [],
): Promise<EngineRecord> {
  const record = EngineRecord.blank(tenant.engine.collections.require(collection))
  record.set('title', title)
  if (files.length > 0) record.set('photos', files.map(upload))
  await tenant.engine.records.save(record)
  return record
}

/** Its stored name ends as it was given. */
function upload(text: string): UploadedFile {
  const bytes = new TextEncoder().encode(text)
  const name = `${crypto.randomUUID()}.txt`
  return new UploadedFile({
    originalName: name,
    name,
    sizeBytes: bytes.length,
    contentType: 'text/plain',
    content: { bytes },
  })
}

export function titles(tenant: OpenTenant, collection: string): string[] {
  return tenant.engine.data
    .all<{ title: string }>(`SELECT title FROM ${collection} ORDER BY title`)
    .map((row) => row.title)
}
