// Backups, for superusers. PocketBase: apis/backup.go, backup_create.go, backup_upload.go.

import { join } from 'node:path'
import { OverloadedError } from '../../lib/errors.ts'
import { createBackup, inTemporaryFolder } from '../engine/backups/backups.ts'
import { canRestore, restoreBackup } from '../engine/backups/restore.ts'
import { BackupBusyError, isBackupRunning, runningBackup } from '../engine/backups/running.ts'
import type { Engine } from '../engine/engine.ts'
import { RefusedError } from '../engine/errors.ts'
import { formatDateTime } from '../engine/fields/datetime.ts'
import { serveFile } from '../engine/files/serve.ts'
import { FileKeyError } from '../engine/files/storage.ts'
import { UploadedFile } from '../engine/files/uploaded-file.ts'
import { isSuperuserIpAllowed } from '../engine/rate-limit/check.ts'
import type { ValidationError } from '../engine/settings/checks.ts'
import { lengthBetween } from '../engine/settings/checks.ts'
import { check, isForm, readBody, readTexts, refuseIf, unreadable } from './auth-forms.ts'
import { requireSuperuser } from './auth-guards.ts'
import { badRequest, forbidden, notFound } from './error-map.ts'
import type { RequestEvent } from './request-event.ts'
import type { Route } from './router.ts'

const busy = 'Try again later - another backup/restore process has already been started.'
const invalid = 'An error occurred while validating the submitted data.'
/** Uploaded backups, bytes. */
const uploadBytesMax = 5 * 1024 * 1024 * 1024
/** Backups that one tenant uploads at once: each lies on the disk that tenants share until it is stored. */
const uploadsMax = 2
const uploading = new WeakMap<Engine, number>()
/** Lets the answer leave before its server restarts, ms. */
const restoreDelayMs = 1_000

async function list(event: RequestEvent): Promise<Response> {
  requireSuperuser(event)
  const backups = await event.engine.backups.list()
  return event.json(
    200,
    backups.map(({ key, sizeBytes, modifiedAtMs }) => ({
      modified: formatDateTime(modifiedAtMs),
      key,
      size: sizeBytes,
    })),
  )
}

async function create(event: RequestEvent): Promise<Response> {
  requireSuperuser(event)
  const { engine } = event
  if (isBackupRunning(engine)) throw badRequest(busy)
  const { name } = readTexts(await readBody(event, unreadable), 'name')
  const notPlain = refuseIf(
    (text) => !/^[a-z0-9_-]+\.zip$/.test(text),
    'validation_match_invalid',
    'Must be in a valid format.',
  )
  check({ name: [name, lengthBetween(1, 150), notPlain] }, invalid)
  if (name !== '' && (await hasBackup(event, name)))
    throw badRequest(invalid, { name: nameTaken('The backup file name is invalid or already exists.') })
  try {
    await createBackup(engine, name)
  } catch (error) {
    throw error instanceof BackupBusyError ? badRequest(busy) : error
  }
  return event.noContent()
}

async function hasBackup(event: RequestEvent, key: string): Promise<boolean> {
  return (await event.engine.backups.open(key)) !== null
}

/** Uploads of any interesting size are on disk already. */
async function store({ engine }: RequestEvent, file: UploadedFile): Promise<void> {
  const { content } = file
  if ('path' in content) return engine.backups.put(file.originalName, content.path)
  await inTemporaryFolder(engine, 'pb_upload_', async (folder) => {
    const path = join(folder, 'backup.zip')
    await Bun.write(path, content.bytes)
    await engine.backups.put(file.originalName, path)
  })
}

function nameTaken(message: string): ValidationError {
  return { code: 'validation_backup_name_exists', message }
}

async function upload(event: RequestEvent): Promise<Response> {
  requireSuperuser(event)
  const { engine } = event
  const running = uploading.get(engine) ?? 0
  if (running >= uploadsMax) throw new OverloadedError(`${uploadsMax} backups are being uploaded already`)
  uploading.set(engine, running + 1)
  try {
    return await takeUpload(event)
  } finally {
    uploading.set(engine, uploading.get(engine)! - 1)
  }
}

async function takeUpload(event: RequestEvent): Promise<Response> {
  const { file: given } = isForm(event.request) ? await readBody(event) : {}
  const file = Array.isArray(given) ? given[0] : given
  if (!(file instanceof UploadedFile))
    throw badRequest(invalid, { file: { code: 'validation_required', message: 'Cannot be blank.' } })
  if (file.contentType !== 'application/zip')
    throw badRequest(invalid, {
      file: {
        code: 'validation_invalid_mime_type',
        message: `"${file.originalName}" mime type must be one of: application/zip.`,
      },
    })
  const taken = { file: nameTaken('Backup file with the specified name already exists.') }
  try {
    if (await hasBackup(event, file.originalName)) throw badRequest(invalid, taken)
    await store(event, file)
  } catch (error) {
    throw error instanceof FileKeyError ? badRequest(invalid, taken) : error
  }
  return event.noContent()
}

/** The token stands in the address, because a browser downloads without headers. */
async function download(event: RequestEvent): Promise<Response> {
  const { engine } = event
  const auth = engine.auth.findByToken(event.query.get('token') ?? '', ['file'])
  const isAllowed = auth?.collection.isSuperusers && isSuperuserIpAllowed(engine.settings, event.realIp)
  if (!isAllowed) throw forbidden('Insufficient permissions to access the resource.')
  const key = event.param('key')
  const file = await engine.backups.open(key)
  if (file === null) throw notFound()
  const answer = await serveFile(event.request, file, { name: key, download: event.query.get('download') ?? '' })
  answer.headers.set('x-frame-options', 'SAMEORIGIN') // only files of records may stand in any frame
  return answer
}

async function remove(event: RequestEvent): Promise<Response> {
  requireSuperuser(event)
  const { engine } = event
  const key = event.param('key')
  if (runningBackup(engine) === key) throw badRequest('The backup is currently being used and cannot be deleted.')
  if (!(await deleteBackup(event, key)))
    // PocketBase shows the whole path on its disk; where a tenant's backups lie is nobody's business.
    throw badRequest(
      `Invalid or already deleted backup file. Raw error: \n[key: ${key}] remove backups/${key}: no such file or directory\nresource not found`,
    )
  return event.noContent()
}

/** A name that no backup can have is that of a missing one. */
async function deleteBackup({ engine }: RequestEvent, key: string): Promise<boolean> {
  try {
    return await engine.backups.delete(key)
  } catch (error) {
    if (error instanceof FileKeyError) return false
    throw error
  }
}

async function restore(event: RequestEvent): Promise<Response> {
  requireSuperuser(event)
  const { engine } = event
  if (isBackupRunning(engine)) throw badRequest(busy)
  const key = event.param('key')
  if (!(await hasBackup(event, key))) throw badRequest('Missing or invalid backup file.')
  if (!canRestore(engine)) throw new RefusedError('This tenant cannot be restored here.')
  const { clock, log } = engine
  event.keepsLease = true // a tenant that rests must not be closed under its restore
  clock.setTimer(restoreDelayMs, () => {
    restoreBackup(engine, key)
      .catch((error: unknown) => log.error('backup not restored', { key, error }))
      .finally(() => event.lease.release())
  })
  return event.noContent()
}

export const backupRoutes: readonly Route[] = [
  { method: 'GET', path: '/api/backups', limit: 'path', handle: list },
  { method: 'POST', path: '/api/backups', limit: 'path', handle: create },
  { method: 'POST', path: '/api/backups/upload', limit: 'path', handle: upload, bodyBytesMax: uploadBytesMax },
  { method: 'GET', path: '/api/backups/:key', limit: 'path', handle: download, isSecretPath: true },
  { method: 'DELETE', path: '/api/backups/:key', limit: 'path', handle: remove },
  { method: 'POST', path: '/api/backups/:key/restore', limit: 'path', handle: restore },
]
