// A new tenant: three databases, their first slots, its first superuser. May be repeated after any failure: what an
// earlier attempt has shipped is taken over, and `data.db`, which is shipped last, proves that all of it is there.

import { rm } from 'node:fs/promises'
import type { Placement, TenantSpec } from '../../ipc/messages/tenant.ts'
import { noStandbys } from '../../ipc/standby-record.ts'
import { alphanumeric, randomText } from '../../lib/id.ts'
import { NeverShippedError } from '../../replicate/errors.ts'
import { createHistory, openHistory } from '../../replicate/history.ts'
import type { HistoryManifest } from '../../replicate/history-manifest.ts'
import { firstManifest } from '../../replicate/upkeep.ts'
import { findByEmail } from '../engine/auth/lookup.ts'
import { createInstallerPath } from '../engine/auth/superusers.ts'
import { superusersName } from '../engine/collections/collection.ts'
import type { Database } from '../engine/db/database.ts'
import type { Engine } from '../engine/engine.ts'
import { PasswordValue } from '../engine/fields/value.ts'
import { EngineRecord } from '../engine/records/record.ts'
import { locate } from './cut.ts'
import { openHooksDatabase } from './hooks-db.ts'
import { noFacts, writeManifest } from './manifest.ts'
import { openFleetEngine, type TenantDeps } from './open-tenant.ts'
import { type DatabaseName, databaseNames } from './tenant-files.ts'

export interface FirstSuperuser {
  readonly email: string
  /** bcrypt. */
  readonly passwordHash: string
}

/** As long as PocketBase makes them. */
const tokenKeyLength = 50

/**
 * Makes the databases of a tenant and PUTs slot 1 of each, or finds that it exists.
 *
 * @returns false when it existed already: then open it, and do there what is left.
 */
export async function createTenant(
  spec: TenantSpec,
  placement: Placement,
  superuser: FirstSuperuser | null,
  deps: TenantDeps,
): Promise<{ readonly existed: boolean; readonly setupPath: string | null }> {
  const { files, clock, rng } = deps
  const { epoch } = placement
  const history = { epoch, clock, rng }
  const histories = { ...deps, tenantId: spec.id }
  await files.markDirty(spec.id)
  const shipped = new Set<DatabaseName>()
  const begun: { [Name in DatabaseName]?: HistoryManifest } = {}
  const begin = async (name: DatabaseName, database: Database) => {
    begun[name] = firstManifest(await createHistory(locate(histories, name), database, history))
  }
  const noFactsYet = { ...noFacts, standbys: noStandbys }
  for (const name of databaseNames) if (await takeOver(name)) shipped.add(name)
  if (shipped.has('data.db')) return { existed: true, setupPath: null }

  const hooks = await openHooksDatabase(files.path(spec.id, 'hooks.db'))
  try {
    if (!shipped.has('hooks.db')) await begin('hooks.db', hooks)
  } finally {
    await hooks.close()
  }
  await using engine = await openFleetEngine(spec, deps)
  if (superuser !== null) await putSuperuser(engine, superuser)
  const setupPath = superuser === null ? await createInstallerPath(engine) : null
  if (!shipped.has('auxiliary.db')) await begin('auxiliary.db', engine.aux)
  await writeManifest(deps, { tenant: spec, facts: noFactsYet, updatedAtMs: clock.now() })
  await begin('data.db', engine.data)
  // Only now is it known where the histories stand. Without this they would be listed at the first opening.
  const hooksFact = begun['hooks.db'] === undefined ? null : { anyEnabled: false, txid: begun['hooks.db'].tail.txid }
  await writeManifest(deps, {
    tenant: spec,
    facts: { ...noFactsYet, databases: begun, hooks: hooksFact },
    updatedAtMs: clock.now(),
  })
  return { existed: false, setupPath }

  /** What an earlier attempt shipped is the truth; local files without a history are remains of one that did not. */
  async function takeOver(name: DatabaseName): Promise<boolean> {
    const path = files.path(spec.id, name)
    try {
      await openHistory(locate(histories, name), path, history)
      return true
    } catch (error) {
      if (!(error instanceof NeverShippedError)) throw error
      for (const suffix of ['', '-wal', '-shm', '-replica']) await rm(path + suffix, { force: true })
      return false
    }
  }
}

/**
 * Creates a superuser, or gives the one with this address another password, by its hash: the clear text never leaves
 * the control plane.
 *
 * @returns whether it was created.
 */
export async function putSuperuser(engine: Engine, { email, passwordHash }: FirstSuperuser): Promise<boolean> {
  const collection = engine.collections.require(superusersName)
  const found = findByEmail(engine, collection, email)
  const record = found ?? EngineRecord.blank(collection)
  record.set('email', email)
  record.setRaw('password', new PasswordValue(passwordHash))
  record.setRaw('tokenKey', randomText(engine.rng, tokenKeyLength, alphanumeric)) // signs out whoever knew the old one
  await engine.records.save(record)
  return found === null
}
