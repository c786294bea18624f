// `tenant import DIR|ZIP`: takes an existing PocketBase app into a tenant of a fleet. Files first, then the database in
// one transaction: an import that is interrupted has changed nothing that clients see, and started again it sends only
// the files that are not there yet.

import { stat } from 'node:fs/promises'
import { grantScheme, platformImportPath } from '../ipc/messages/grant.ts'
import { AppError, errorMessage } from '../lib/errors.ts'
import { inParallel } from '../lib/lane.ts'
import { CliError } from './cli-error.ts'
import { type ApiClient, failure } from './client.ts'
import { exitUnreachable } from './exit-codes.ts'
import { Grants } from './grants.ts'
import { openImportSource, type SourceFile, type UploadBody } from './import-source.ts'
import { Progress } from './progress.ts'

/** Uploads under way at once. */
const uploadsMax = 8
/** One file may take this long, ms: 5 GB at 3 MB/s. */
const uploadTimeoutMs = 30 * 60_000

export interface ImportResult {
  readonly tenant: string
  /** All files of records, and how many of them an earlier import had sent. */
  readonly files: number
  readonly filesKept: number
  readonly bytes: number
  readonly collections: number
}

/** Throws ConfigError or ArchiveError for what is no `pb_data`, CliError for what the fleet answers. */
export async function importTenant(client: ApiClient, path: string, reference: string): Promise<ImportResult> {
  await using source = await openImportSource(path)
  const grants = new Grants(client, reference, 'import')
  const { size } = await stat(source.database)
  let files = 0
  let bytes = size
  for await (const file of source.files()) {
    files++
    bytes += file.sizeBytes
  }
  const present = await filesOf(client, grants)
  const progress = new Progress('importing', bytes)
  let filesKept = 0
  await inParallel(uploadsMax, source.files(), async (file) => {
    if (present.get(file.key) === file.sizeBytes) filesKept++
    else await send(client, grants, 'PUT', `${platformImportPath}/files/${keyPath(file)}`, file.open)
    progress.add(file.sizeBytes)
  })
  const answer = await send(client, grants, 'POST', platformImportPath, async () => Bun.file(source.database))
  progress.add(size)
  progress.end()
  const { collections } = JSON.parse(answer) as { collections: number }
  return { tenant: reference, files, filesKept, bytes, collections }
}

function keyPath({ key }: SourceFile): string {
  return key.split('/').map(encodeURIComponent).join('/')
}

/** Sizes of the files that are there, by key. */
async function filesOf(client: ApiClient, grants: Grants): Promise<ReadonlyMap<string, number>> {
  const present = new Map<string, number>()
  for (let next = ''; ; ) {
    const path = `${platformImportPath}/files?next=${encodeURIComponent(next)}`
    const page = JSON.parse(await send(client, grants, 'GET', path, null)) as {
      files: { key: string; sizeBytes: number }[]
      next: string | null
    }
    for (const { key, sizeBytes } of page.files) present.set(key, sizeBytes)
    if (page.next === null) return present
    next = page.next
  }
}

async function send(
  client: ApiClient,
  grants: Grants,
  method: string,
  path: string,
  open: (() => Promise<UploadBody>) | null,
): Promise<string> {
  for (let attempt = 1; ; attempt++) {
    let response: Response
    try {
      response = await fetch(client.url + path, {
        method,
        headers: { authorization: grantScheme + (await grants.get()), 'x-tenant-id': grants.reference },
        ...(open !== null && { body: await open() }),
        signal: AbortSignal.timeout(uploadTimeoutMs),
      })
    } catch (error) {
      if (error instanceof AppError || error instanceof CliError) throw error // ours: the grant, the archive
      throw new CliError(`cannot reach the fleet at ${client.url}: ${errorMessage(error)}`, exitUnreachable, {
        cause: error,
      })
    }
    const text = await response.text()
    if (response.ok) return text
    if (response.status !== 401 || attempt > 1) throw failure(response.status, text)
    grants.renew()
  }
}
