// Commits that another owner overtook: `orphans/{tenant}-{time}/data.db` and `data.db-wal` of a node, as SQLite left them.
// Nobody but a person can say what they are worth, so they are listed, fetched and removed on demand.

import { open, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Orphan, OrphanFile } from '../../ipc/messages/orphans.ts'
import { isOrphanName, orphanFiles } from '../../ipc/messages/orphans.ts'
import type { TenantId } from '../../lib/brand.ts'
import { AppError, errorCode } from '../../lib/errors.ts'

export class OrphanNotFoundError extends AppError {
  readonly code = 'orphan_not_found'
}

/** The orphans in a node's directory, by name; what else lies there is passed over. */
export async function listOrphans(dir: string): Promise<readonly Orphan[]> {
  const found: Orphan[] = []
  for (const name of (await namesIn(join(dir, 'orphans'))).filter(isOrphanName).sort()) {
    const files: Orphan['files'][number][] = []
    for (const file of orphanFiles) {
      const sizeBytes = await sizeOf(join(dir, 'orphans', name, file))
      if (sizeBytes !== null) files.push({ name: file, sizeBytes })
    }
    const dash = name.indexOf('-')
    found.push({ name, tenantId: name.slice(0, dash) as TenantId, takenAtMs: Number(name.slice(dash + 1)), files })
  }
  return found
}

/** A piece of a file, `[from, to)`, shorter at its end. Throws OrphanNotFoundError. */
export async function readOrphan(
  dir: string,
  wanted: { readonly name: string; readonly file: OrphanFile; readonly from: number; readonly to: number },
): Promise<Uint8Array> {
  const { name, file, from, to } = wanted
  const path = join(dir, 'orphans', name, file)
  const sizeBytes = isOrphanName(name) ? await sizeOf(path) : null
  if (sizeBytes === null) throw new OrphanNotFoundError(`there is no ${file} of an orphan ${name} here`)
  const bytes = new Uint8Array(Math.max(0, Math.min(to, sizeBytes) - from))
  await using handle = await open(path, 'r')
  let length = 0
  while (length < bytes.length) {
    const { bytesRead } = await handle.read(bytes, length, bytes.length - length, from + length)
    if (bytesRead === 0) break
    length += bytesRead
  }
  return bytes.subarray(0, length)
}

/** Throws OrphanNotFoundError. */
export async function removeOrphan(dir: string, name: string): Promise<void> {
  if (!isOrphanName(name) || !(await namesIn(join(dir, 'orphans'))).includes(name))
    throw new OrphanNotFoundError(`there is no orphan ${name} here`)
  await rm(join(dir, 'orphans', name), { recursive: true, force: true })
}

async function namesIn(dir: string): Promise<readonly string[]> {
  try {
    return await readdir(dir)
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return []
    throw error
  }
}

async function sizeOf(path: string): Promise<number | null> {
  try {
    return (await stat(path)).size
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return null // dropped since, for newer ones
    throw error
  }
}
