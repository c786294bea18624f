// An engine on a fresh directory, for tests that need one without HTTP.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Clock, systemClock } from '../../src/lib/clock.ts'
import { silentLogger } from '../../src/lib/obs/log.ts'
import { systemRng } from '../../src/lib/rng.ts'
import type { TenantHost, TenantLease } from '../../src/node/api/tenant-host.ts'
import { PasswordQueue } from '../../src/node/engine/auth/password.ts'
import { type Engine, type EngineOptions, openEngine } from '../../src/node/engine/engine.ts'
import { LocalStorage } from '../../src/node/engine/files/local-storage.ts'
import { EngineRecord } from '../../src/node/engine/records/record.ts'

export interface TestEngine extends AsyncDisposable {
  readonly engine: Engine
  readonly dir: string
}

/** Closed and removed by `await using`. */
export async function openTestEngine(
  options: Partial<EngineOptions> & { readonly clock?: Clock } = {},
): Promise<TestEngine> {
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), 'pf-engine-'))
  const engine = await openEngine({
    clock: systemClock,
    rng: systemRng,
    log: silentLogger,
    passwords: new PasswordQueue().lane(),
    files: new LocalStorage(join(dir, 'storage')),
    checkpoint: 'sqlite',
    ...options,
    dir,
  })
  return {
    engine,
    dir,
    async [Symbol.asyncDispose]() {
      await engine.close()
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

/** Where an API gets this one engine, however often it asks; for requests without a server. */
export function hostOf(engine: Engine): TenantHost {
  const lease: TenantLease = { engine, remoteAddress: '127.0.0.1', scheme: 'http', release() {} }
  return { acquire: () => lease }
}

/** Saves a record of an auth collection. */
export async function saveUser(
  engine: Engine,
  collection: string,
  values: Readonly<Record<string, unknown>>,
): Promise<EngineRecord> {
  const record = EngineRecord.blank(engine.collections.require(collection))
  for (const [name, value] of Object.entries({ password: 'password123', ...values })) record.set(name, value)
  await engine.records.save(record)
  return record
}

/** Changes options of an auth collection, and makes its passwords cheap. */
export async function setAuthOptions(
  engine: Engine,
  name: string,
  options: Readonly<Record<string, unknown>>,
): Promise<void> {
  const { data } = engine.collections.require(name)
  const fields = data.fields.map((field) => (field.type === 'password' ? { ...field, cost: 4 } : field))
  await engine.collections.save({ ...data, fields, auth: { ...data.auth!, ...options } as typeof data.auth })
}
