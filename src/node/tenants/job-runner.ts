// What each job does. Runs in a process of its own (`job-process.ts`): rebuilding and comparing databases would hold up
// every tenant of a worker.

import type { Cut, JobReports, TenantJob } from '../../ipc/messages/jobs.ts'
import { unreachable } from '../../lib/assert.ts'
import type { TenantId } from '../../lib/brand.ts'
import { restorablePoints } from '../../replicate/point-in-time.ts'
import { CorruptDatabaseError } from '../engine/db/database.ts'
import { isUnreadable } from '../engine/files/file-references.ts'
import { archiveTenant } from './archive.ts'
import { locate, resolveCut } from './cut.ts'
import { drillTenant } from './drill.ts'
import { ejectTenant } from './eject.ts'
import { type ExportCut, type ExportReport, exportedDatabases, prepareExport } from './export.ts'
import { forkTenant } from './fork.ts'
import type { JobContext } from './job-context.ts'
import { checkRoom } from './job-room.ts'
import { previewRestore } from './preview.ts'
import { moveReplica } from './replica-path.ts'
import { whileReserved } from './reserve-cut.ts'
import { rollBack } from './roll-back.ts'
import { sweepTenant } from './sweep.ts'
import { databaseNames } from './tenant-files.ts'
import { measureUsage } from './usage.ts'

/** What a worker itself asks for, beside what the control plane orders. */
export type WorkerJob =
  | Exclude<TenantJob, { readonly type: 'warm' }>
  | { readonly type: 'export'; readonly cut: ExportCut }
  | { readonly type: 'move-replica'; readonly from: number | null; readonly to: number }

export type WorkerJobReport = JobReports[TenantJob['type']] | ExportReport | { readonly isMoved: boolean }

/**
 * Throws NoSuchPointError, SourceFileGoneError, CorruptDatabaseError, NoRoomError, what replication and the object store throw.
 * Databases of tenants hold what their superusers put there: what SQLite or JSON cannot read is their damage, not ours.
 */
export async function runJob(tenantId: TenantId, job: WorkerJob, context: JobContext): Promise<WorkerJobReport> {
  try {
    return await perform(tenantId, job, context)
  } catch (error) {
    if (isUnreadable(error))
      throw new CorruptDatabaseError('the content of a database cannot be read', { cause: error })
    throw error
  }
}

async function perform(tenantId: TenantId, job: WorkerJob, context: JobContext): Promise<WorkerJobReport> {
  const histories = { ...context, tenantId }
  switch (job.type) {
    case 'points': {
      const { ranges, latest } = await restorablePoints(locate(histories, 'data.db'), job.latestMax, context.signal)
      return {
        ranges: ranges.map(({ from, to, pointsCount, resolution }) => ({
          fromMs: from.timestampMs,
          toMs: to.timestampMs,
          fromTxid: from.txid,
          toTxid: to.txid,
          pointsCount,
          resolution,
        })),
        latest: latest.map(({ txid, timestampMs }) => ({ txid, atMs: timestampMs })),
      }
    }
    case 'cut':
      return resolveCut(histories, job.wish, context.clock, context.signal)
    case 'preview': {
      const cut = await resolveCut(histories, job.wish, context.clock, context.signal)
      await checkRoom(histories, ['data.db', 'hooks.db'], 2, context)
      return whileReserved(histories, pointsOf(cut), context, () => previewRestore(histories, cut, context))
    }
    case 'restore':
      await checkRoom(histories, ['data.db', 'hooks.db'], 2, context)
      return whileReserved(histories, pointsOf(job.cut), context, () => rollBack(job.placement, job.cut, context))
    case 'fork': {
      const source = { ...context, tenantId: job.source }
      await checkRoom(source, databaseNames, 1, context)
      return whileReserved(source, pointsOf(job.cut), context, () => forkTenant(job, context))
    }
    case 'archive':
      return archiveTenant(tenantId, job, context)
    case 'usage':
      return measureUsage(histories, context)
    case 'eject':
      return ejectTenant(histories, job.isHandedOver, context)
    case 'drill':
      return drillTenant(histories, context)
    case 'sweep':
      return sweepTenant(tenantId, job, context)
    case 'move-replica':
      return moveReplica(tenantId, job, context)
    case 'export':
      await checkRoom(histories, exportedDatabases, 2, context) // compacting one writes it once more
      return whileReserved(histories, pointsOf(job.cut), context, () => prepareExport(histories, job.cut, context))
    default:
      return unreachable(job)
  }
}

/** What of a cut is read: all of it, or what an export takes. */
function pointsOf(cut: Cut | ExportCut) {
  const points = { 'data.db': cut.data, 'auxiliary.db': cut.auxiliary }
  return 'hooks' in cut ? { ...points, 'hooks.db': cut.hooks } : points
}
