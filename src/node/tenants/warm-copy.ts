// The job `warm`: makes this node's files of a tenant as new as its histories while another node still owns it, so that
// taking it over adds only the last slots, whatever its size. Runs in the worker, as an opening does.

import { mkdir } from 'node:fs/promises'
import type { JobProgress, WarmReport } from '../../ipc/messages/jobs.ts'
import type { Clock } from '../../lib/clock.ts'
import { type FreeBytes, freeBytes } from '../../lib/free-bytes.ts'
import type { Logger } from '../../lib/obs/log.ts'
import { Follower } from '../../replicate/follow.ts'
import { listNewest } from '../../replicate/ltx-store.ts'
import { locate, type TenantHistories } from './cut.ts'
import { checkRoom } from './job-room.ts'
import { manifestReader } from './manifest.ts'
import { databaseNames, type TenantFiles } from './tenant-files.ts'

/** Less than this is restored as fast as it is asked for, bytes as stored. */
const copyBytesMin = 2 << 20

/** The caller sees to it that the tenant is closed here and cannot open meanwhile. Throws NoRoomError before anything is written. */
export async function warmCopy(
  histories: TenantHistories,
  deps: {
    readonly files: TenantFiles
    readonly clock: Clock
    readonly log: Logger
    readonly signal: AbortSignal
    readonly report: (progress: JobProgress) => void
    /** For tests. */
    readonly freeBytesOf?: FreeBytes
  },
): Promise<WarmReport> {
  const { files, clock, log, signal, report, freeBytesOf = freeBytes } = deps
  const { tenantId } = histories
  // From an earlier time as its owner: they may hold commits that nobody else has, and opening decides about those.
  if (files.mayHoldMore(tenantId)) return { databases: [] }
  const databases: WarmReport['databases'][number][] = []
  const listed = await Promise.all(
    databaseNames.map(async (name) => ({ name, files: await listNewest(locate(histories, name), { signal }) })),
  )
  const large = listed
    .filter(({ files: known }) => known.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) >= copyBytesMin)
    .map(({ name }) => name)
  if (large.length === 0) return { databases }
  const dir = files.dir(tenantId)
  await mkdir(dir, { recursive: true, mode: 0o700 })
  // What an earlier copy has here already is written over.
  const hereBytes = large.reduce((sum, name) => sum + Bun.file(files.path(tenantId, name)).size, 0)
  await checkRoom(histories, large, 1, { scratchDir: dir, signal }, async (at) => (await freeBytesOf(at)) + hereBytes)
  for (const name of large) {
    const step = `copying ${name}`
    report({ step, done: 0, total: null })
    await using follower = await Follower.open(locate(histories, name), files.path(tenantId, name), {
      clock,
      log,
      signal,
      manifest: manifestReader(histories, tenantId, name),
      onProgress: ({ bytesDone, bytesTotal }) => report({ step, done: bytesDone, total: bytesTotal }),
    })
    databases.push({ name, txid: await follower.catchUp() })
  }
  if (databases.length > 0) await files.markClean(tenantId) // all of it is in the store, so it may be removed like any resting tenant's
  return { databases }
}
