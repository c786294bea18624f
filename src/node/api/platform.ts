// What the fleet itself does to a tenant, on the grant of a cluster admin: take over an existing app. Files come first,
// one by one, so that an interrupted import goes on where it stopped; the database comes last and in one transaction.

import { open } from 'node:fs/promises'
import { join } from 'node:path'
import type { ClusterSecrets } from '../../ipc/keys.ts'
import { type Grant, type GrantAction, grantScheme, platformImportPath, verifyGrant } from '../../ipc/messages/grant.ts'
import { type RouteHeaderKeys, routeHeaderName, verifyRouteHeader } from '../../ipc/messages/route-header.ts'
import { errorMessage } from '../../lib/errors.ts'
import { inTemporaryFolder } from '../engine/backups/backups.ts'
import { CorruptDatabaseError } from '../engine/db/database.ts'
import { SettingsEncryptionError } from '../engine/settings/encryption.ts'
import { SettingsUnreadableError } from '../engine/settings/store.ts'
import { putFile, replaceTenantContent } from '../tenants/tenant-content.ts'
import { badRequest, unauthorized } from './error-map.ts'
import type { RequestEvent } from './request-event.ts'
import type { Route } from './router.ts'

/** Largest database of one import, bytes: it is held on disk twice for a moment. */
const databaseBytesMax = 50 * 1024 ** 3
/** Largest single file of an import, bytes. */
const fileBytesMax = 5 * 1024 ** 3
/** What a killed worker left of an import goes when the tenant is opened next. */
const importPrefix = 'pb_import_'

export interface PlatformOptions {
  readonly secrets: ClusterSecrets
  readonly keys: RouteHeaderKeys
}

export function platformRoutes(options: PlatformOptions): readonly Route[] {
  const granted =
    (action: GrantAction, handle: (event: RequestEvent) => Promise<Response>) => (event: RequestEvent) => {
      grantOf(event, action, options)
      return handle(event)
    }
  return [
    { method: 'GET', path: `${platformImportPath}/files`, limit: 'own', handle: granted('import', listFiles) },
    { method: 'PUT', path: `${platformImportPath}/files/*key`, limit: 'own', handle: granted('import', importFile) },
    { method: 'POST', path: platformImportPath, limit: 'own', handle: granted('import', importDatabase) },
  ]
}

/** The grant for this action on this very tenant that the request carries; 401 without one. */
export function grantOf(event: RequestEvent, action: GrantAction, { secrets, keys }: PlatformOptions): Grant {
  const nowMs = event.engine.clock.now()
  const header = event.request.headers.get('authorization') ?? ''
  const grant = header.startsWith(grantScheme) ? verifyGrant(secrets, header.slice(grantScheme.length), nowMs) : null
  const route = verifyRouteHeader(keys, event.request.headers.get(routeHeaderName) ?? '', nowMs)
  if (!grant?.ok || !route.ok || grant.value.action !== action || grant.value.tenantId !== route.value.tenantId)
    throw unauthorized('The request requires a grant of the fleet.')
  event.engine.log.info('platform operation granted', { action, admin: grant.value.admin })
  return grant.value
}

/** What an interrupted import has sent already, in pages. */
async function listFiles(event: RequestEvent): Promise<Response> {
  const page = await event.engine.files.base.list?.(event.query.get('next') || null)
  return event.json(200, page ?? { files: [], next: null })
}

async function importFile(event: RequestEvent): Promise<Response> {
  const key = event.param('key')
  if (!/^[^/]+\/[^/]+\/[^/]+$/.test(key)) throw badRequest('A file key has three parts: collection, record, name.')
  await inTemporaryFolder(event.engine, importPrefix, async (folder) => {
    const path = join(folder, 'file')
    await receive(event, path, fileBytesMax)
    await putFile(event.engine, key, path)
  })
  return event.noContent()
}

async function importDatabase(event: RequestEvent): Promise<Response> {
  const { engine } = event
  try {
    await inTemporaryFolder(engine, importPrefix, async (folder) => {
      const path = join(folder, 'data.db')
      await receive(event, path, databaseBytesMax)
      await replaceTenantContent(engine, path)
    })
  } catch (error) {
    if (
      error instanceof CorruptDatabaseError ||
      error instanceof SettingsUnreadableError ||
      error instanceof SettingsEncryptionError
    )
      throw badRequest(`The database cannot be imported: ${errorMessage(error)}`)
    throw error
  }
  return event.json(200, { collections: engine.collections.all().length })
}

/** Streams the body to a new file. */
async function receive(event: RequestEvent, path: string, bytesMax: number): Promise<void> {
  const handle = await open(path, 'wx', 0o600)
  let bytes = 0
  try {
    for await (const chunk of event.request.body ?? []) {
      bytes += chunk.length
      if (bytes > bytesMax) throw badRequest(`The body is larger than ${bytesMax} bytes.`)
      for (let at = 0; at < chunk.length; ) at += (await handle.write(chunk, at)).bytesWritten
    }
  } finally {
    await handle.close()
  }
}
