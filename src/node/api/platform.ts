// What the fleet itself does to a tenant, on the grant of a cluster admin: take over an existing app. Files come first,
// one by one, so that an interrupted import goes on where it stopped; the database comes last and in one transaction.

import { randomUUID } from 'node:crypto'
import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { ClusterSecrets } from '../../ipc/keys.ts'
import { type GrantAction, grantScheme, platformImportPath, verifyGrant } from '../../ipc/messages/grant.ts'
import { type RouteHeaderKeys, routeHeaderName, verifyRouteHeader } from '../../ipc/messages/route-header.ts'
import { errorMessage } from '../../lib/errors.ts'
import { ObjectExistsError } from '../../lib/object-store/object-store.ts'
import { CorruptDatabaseError, Database } from '../engine/db/database.ts'
import { contentTypeOf } from '../engine/files/content-type.ts'
import { UploadedFile } from '../engine/files/uploaded-file.ts'
import { createSystemCollections } from '../engine/schema/fresh.ts'
import { badRequest, unauthorized } from './error-map.ts'
import type { RequestEvent } from './request-event.ts'
import type { Route } from './router.ts'

/** Largest database of one import, bytes: it is held on disk twice for a moment. */
const databaseBytesMax = 50 * 1024 ** 3
/** Largest single file of an import, bytes. */
const fileBytesMax = 5 * 1024 ** 3

export interface PlatformOptions {
  readonly secrets: ClusterSecrets
  readonly keys: RouteHeaderKeys
}

export function platformRoutes(options: PlatformOptions): readonly Route[] {
  const granted =
    (action: GrantAction, handle: (event: RequestEvent) => Promise<Response>) => (event: RequestEvent) => {
      requireGrant(event, action, options)
      return handle(event)
    }
  return [
    { method: 'PUT', path: `${platformImportPath}/files/*key`, limit: 'own', handle: granted('import', importFile) },
    { method: 'POST', path: platformImportPath, limit: 'own', handle: granted('import', importDatabase) },
  ]
}

/** 401 unless the request carries a grant for this action on this very tenant. */
function requireGrant(event: RequestEvent, action: GrantAction, { secrets, keys }: PlatformOptions): void {
  const nowMs = event.engine.clock.now()
  const header = event.request.headers.get('authorization') ?? ''
  const grant = header.startsWith(grantScheme) ? verifyGrant(secrets, header.slice(grantScheme.length), nowMs) : null
  const route = verifyRouteHeader(keys, event.request.headers.get(routeHeaderName) ?? '', nowMs)
  if (!grant?.ok || !route.ok || grant.value.action !== action || grant.value.tenantId !== route.value.tenantId)
    throw unauthorized('The request requires a grant of the fleet.')
  event.engine.log.info('platform operation granted', { action, admin: grant.value.admin })
}

async function importFile(event: RequestEvent): Promise<Response> {
  const key = event.param('key')
  if (!/^[^/]+\/[^/]+\/[^/]+$/.test(key)) throw badRequest('A file key has three parts: collection, record, name.')
  const path = join(event.engine.dir, `import-${randomUUID()}`)
  try {
    const sizeBytes = await receive(event, path, fileBytesMax)
    const name = key.slice(key.lastIndexOf('/') + 1)
    const contentType = await contentTypeOf(path)
    await event.engine.files.put(
      key,
      new UploadedFile({ originalName: name, name, sizeBytes, contentType, content: { path } }),
    )
  } catch (error) {
    // Names are never used twice: what is there is this file, from the import that was interrupted.
    if (!(error instanceof ObjectExistsError)) throw error
  } finally {
    await rm(path, { force: true })
  }
  return event.noContent()
}

async function importDatabase(event: RequestEvent): Promise<Response> {
  const { engine } = event
  const path = join(engine.dir, `import-${randomUUID()}.db`)
  try {
    await receive(event, path, databaseBytesMax)
    checkIncoming(path)
    await engine.data.replaceContent(path)
    engine.collections.reload()
    await createSystemCollections(engine.collections, engine.rng)
    await engine.settingsStore.reload()
    engine.log.info('database imported', { collections: engine.collections.all().length })
  } catch (error) {
    if (error instanceof CorruptDatabaseError)
      throw badRequest(`The database cannot be imported: ${errorMessage(error)}`)
    throw error
  } finally {
    for (const suffix of ['', '-wal', '-shm']) await rm(path + suffix, { force: true })
  }
  return event.json(200, { collections: engine.collections.all().length })
}

/** Streams the body to a new file; returns its size. */
async function receive(event: RequestEvent, path: string, bytesMax: number): Promise<number> {
  const handle = await open(path, 'wx', 0o600)
  let bytes = 0
  try {
    for await (const chunk of event.request.body ?? []) {
      bytes += chunk.length
      if (bytes > bytesMax) throw badRequest(`The body is larger than ${bytesMax} bytes.`)
      await handle.write(chunk)
    }
  } finally {
    await handle.close()
  }
  return bytes
}

/** Throws CorruptDatabaseError unless the file is the `data.db` of PocketBase v0.23 or later. */
function checkIncoming(path: string): void {
  const incoming = Database.open({ path, checkpoint: 'sqlite' })
  try {
    const tables = incoming
      .all<{ name: string }>("SELECT name FROM sqlite_schema WHERE type = 'table'")
      .map((row) => row.name)
    const missing = ['_collections', '_params', '_migrations'].filter((name) => !tables.includes(name))
    if (missing.length > 0)
      throw new CorruptDatabaseError(`it is no data.db of PocketBase: ${missing.join(', ')} missing`)
    const columns = incoming.all<{ name: string }>('PRAGMA table_info(_collections)').map((row) => row.name)
    if (!columns.includes('fields'))
      throw new CorruptDatabaseError('it was written before PocketBase v0.23; open it once with a newer PocketBase')
  } finally {
    incoming.close()
  }
}
