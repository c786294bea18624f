// `tenant import DIR`: takes an existing `pb_data` into a tenant of a fleet. Files first, then the database in one
// transaction; an interrupted import is simply started again.

import { Database as Sqlite } from 'bun:sqlite'
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { grantScheme, platformImportPath } from '../ipc/messages/grant.ts'
import { ConfigError, errorMessage } from '../lib/errors.ts'
import { CliError } from './cli-error.ts'
import { type ApiClient, failure } from './client.ts'
import { exitUnreachable } from './exit-codes.ts'
import { Progress } from './progress.ts'

/** Uploads under way at once. */
const uploadsMax = 8
/** One file may take this long, ms. */
const uploadTimeoutMs = 10 * 60_000

export interface ImportResult {
  readonly tenant: string
  readonly files: number
  readonly bytes: number
  readonly collections: number
}

/** Throws ConfigError for a directory that is no `pb_data`, CliError for what the fleet answers. */
export async function importTenant(client: ApiClient, directory: string, reference: string): Promise<ImportResult> {
  const root = resolve(directory)
  if (!existsSync(join(root, 'data.db'))) throw new ConfigError(`${root} holds no data.db; is it a pb_data?`)
  const work = mkdtempSync(join(tmpdir(), 'pocketfleet-import-'))
  try {
    const snapshot = join(work, 'data.db')
    takeSnapshot(join(root, 'data.db'), snapshot)
    const files = listFiles(join(root, 'storage'))
    const bytes = files.reduce((sum, file) => sum + file.sizeBytes, statSync(snapshot).size)
    const progress = new Progress('importing', bytes)
    const grants = new Grants(client, reference)
    await inParallel(files, uploadsMax, async (file) => {
      const path = `${platformImportPath}/files/${file.key.split('/').map(encodeURIComponent).join('/')}`
      await send(client, grants, 'PUT', path, file.path)
      progress.add(file.sizeBytes)
    })
    const answer = await send(client, grants, 'POST', platformImportPath, snapshot)
    progress.add(statSync(snapshot).size)
    progress.end()
    const { collections } = JSON.parse(answer) as { collections: number }
    return { tenant: reference, files: files.length, bytes, collections }
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

/** A consistent copy, whether or not a server writes to the original. */
function takeSnapshot(from: string, to: string): void {
  try {
    const source = new Sqlite(from, { readonly: true })
    try {
      source.run('VACUUM INTO ?', [to])
    } finally {
      source.close()
    }
  } catch (error) {
    throw new ConfigError(`${from} cannot be read as a database: ${errorMessage(error)}`, { cause: error })
  }
}

interface LocalFile {
  readonly key: string
  readonly path: string
  readonly sizeBytes: number
}

/** Uploads of records: `{collection}/{record}/{name}`; thumbs and attribute files are made anew where needed. */
function listFiles(storage: string): LocalFile[] {
  if (!existsSync(storage)) return []
  const folders = (path: string) => readdirSync(path, { withFileTypes: true }).filter((each) => each.isDirectory())
  return folders(storage).flatMap((collection) =>
    folders(join(storage, collection.name)).flatMap((record) => {
      const folder = join(storage, collection.name, record.name)
      return readdirSync(folder, { withFileTypes: true })
        .filter((each) => each.isFile() && !each.name.endsWith('.attrs'))
        .map((each) => {
          const path = join(folder, each.name)
          return { key: `${collection.name}/${record.name}/${each.name}`, path, sizeBytes: statSync(path).size }
        })
    }),
  )
}

/** One grant for many requests, renewed when it has expired. */
class Grants {
  readonly #client: ApiClient
  readonly reference: string
  #current: Promise<string> | null = null

  constructor(client: ApiClient, reference: string) {
    this.#client = client
    this.reference = reference
  }

  get(): Promise<string> {
    this.#current ??= this.#client
      .request<{ grant: string }>('POST', `/api/cp/tenants/${encodeURIComponent(this.reference)}/grants`, {
        action: 'import',
      })
      .then(({ grant }) => grant)
    return this.#current
  }

  renew(): void {
    this.#current = null
  }
}

async function send(client: ApiClient, grants: Grants, method: string, path: string, file: string): Promise<string> {
  for (let attempt = 1; ; attempt++) {
    let response: Response
    try {
      response = await fetch(client.url + path, {
        method,
        headers: { authorization: grantScheme + (await grants.get()), 'x-tenant-id': grants.reference },
        body: Bun.file(file),
        signal: AbortSignal.timeout(uploadTimeoutMs),
      })
    } catch (error) {
      if (error instanceof CliError) throw error
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

async function inParallel<T>(items: readonly T[], lanes: number, work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values()
  await Promise.all(
    Array.from({ length: lanes }, async () => {
      for (const item of queue) await work(item)
    }),
  )
}
