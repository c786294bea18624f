// What a tenant that nobody uses has in the object store becomes cheap. First its larger objects go to a class for what is
// read rarely. Later each history is merged into one whole image, which goes, with the files, to a class for what is hardly
// read at all but still at once; the rest of the history goes, but for seals, the newest slot, and whatever retention
// promises. Opening the tenant needs nothing special after either.
//
// May be repeated after any failure, and is when it was interrupted: what is done is seen to be.

import type { ArchiveReport, ArchiveStage } from '../../ipc/messages/jobs.ts'
import type { TenantId } from '../../lib/brand.ts'
import type { ObjectInfo, ObjectStore } from '../../lib/object-store/object-store.ts'
import { mergeInputsMax } from '../../replicate/compaction.ts'
import { findTail } from '../../replicate/history.ts'
import type { ManifestFile } from '../../replicate/history-manifest.ts'
import { checkLtx } from '../../replicate/ltx/merge.ts'
import { type HistoryLocation, isSeal, type LtxFile, levelMax, listLtx, ltxKey } from '../../replicate/ltx-store.ts'
import { inputOf, mergeFiles, Pacer } from '../../replicate/merge-files.ts'
import { readReservations } from '../../replicate/reservation.ts'
import { planOrThrow } from '../../replicate/restore.ts'
import { planRestore } from '../../replicate/restore-plan.ts'
import { defaultRetention } from '../../replicate/retention.ts'
import { locate } from './cut.ts'
import type { JobContext } from './job-context.ts'
import { changeFacts, manifestKey, tenantPrefix } from './manifest.ts'
import { databaseNames } from './tenant-files.ts'

/** Cheaper classes bill smaller objects as if they had this size, bytes. */
const movedBytesMin = 128 * 1024
/** Stores copy no larger object in one request, bytes. */
const movedBytesMax = 5 * 1024 ** 3
/** Copies in flight: this is background work. */
const movesInFlight = 4
/** Read and written together by merges, on average, bytes a second. */
const mergedBytesPerSecond = 32 * 1024 * 1024
/** Only a listing was seen. */
const unread = { timestampMs: null, checksum: null } as const
/** Keys of one delete request. */
const deleteKeysMax = 1_000

/** @param storageClass where to; null: the store has no such class, and objects stay where they are. */
export async function archiveTenant(
  tenantId: TenantId,
  order: { readonly stage: ArchiveStage; readonly storageClass: string | null },
  context: JobContext,
): Promise<ArchiveReport> {
  const { stage, storageClass } = order
  let filesDeleted = 0
  if (stage === 'archived') {
    const pacer = new Pacer(context.clock, mergedBytesPerSecond)
    for (const [index, name] of databaseNames.entries()) {
      context.report({ step: `merging ${name}`, done: index, total: databaseNames.length })
      filesDeleted += await mergeWhole(locate({ ...context, tenantId }, name), pacer, context)
    }
    // What the manifest knew of the files is no longer so; they are listed when the tenant is opened.
    const { store, objectPrefix, clock } = context
    await changeFacts({ store, objectPrefix }, tenantId, clock.now(), async (facts) => ({ ...facts, databases: {} }))
  }
  const moved = storageClass === null ? { objectsMoved: 0, bytesMoved: 0 } : await move(tenantId, storageClass, context)
  return { ...moved, filesDeleted }
}

/** Moves every larger object of the tenant that lies in another class. */
async function move(
  tenantId: TenantId,
  storageClass: string,
  { store, objectPrefix, signal, report }: JobContext,
): Promise<Pick<ArchiveReport, 'objectsMoved' | 'bytesMoved'>> {
  const prefix = `${tenantPrefix(objectPrefix, tenantId)}/`
  const manifest = manifestKey(objectPrefix, tenantId)
  let objectsMoved = 0
  let bytesMoved = 0
  let next: string | null = null
  do {
    const page: Awaited<ReturnType<ObjectStore['list']>> = await store.list({ prefix, next, signal })
    // The manifest is overwritten by whoever opens the tenant: a copy of it could undo that.
    const queue = page.objects.filter((each) => each.key !== manifest && shouldMove(each, storageClass)).values()
    const lane = async () => {
      for (const { key, sizeBytes } of queue) {
        await store.copy(key, key, { storageClass, signal })
        bytesMoved += sizeBytes
        report({ step: 'moving objects', done: ++objectsMoved, total: null })
      }
    }
    await Promise.all(Array.from({ length: movesInFlight }, lane))
    next = page.next
  } while (next !== null)
  return { objectsMoved, bytesMoved }
}

function shouldMove({ sizeBytes, storageClass }: ObjectInfo, to: string): boolean {
  return sizeBytes >= movedBytesMin && sizeBytes <= movedBytesMax && storageClass !== to
}

/** @returns how many files of the history were deleted. */
async function mergeWhole(
  at: HistoryLocation,
  pacer: Pacer,
  { clock, signal, scratchDir }: JobContext,
): Promise<number> {
  const { files, last } = await findTail(at, signal)
  let plan: readonly ManifestFile[] = planOrThrow(at, files, null).files.map((file) => ({ ...file, ...unread }))
  // Each step reads back what it wrote; what it took the place of stays until the end.
  while (plan.length > 1) {
    const inputs = plan.slice(0, mergeInputsMax)
    const merged = await mergeFiles(at, { level: levelMax, inputs }, { clock, scratchDir, pacer, signal })
    plan = [merged, ...plan.slice(inputs.length)]
  }
  return deleteRest(at, plan[0]!, { nowMs: clock.now(), timestampMs: last.header.timestampMs, pacer, signal })
}

/** Only once nothing that retention promises is left but the newest state, and no restore runs. */
async function deleteRest(
  at: HistoryLocation,
  image: Pick<LtxFile, 'level' | 'minTxid' | 'maxTxid' | 'sizeBytes'>,
  deps: {
    readonly nowMs: number
    readonly timestampMs: number
    readonly pacer: Pacer
    readonly signal: AbortSignal
  },
): Promise<number> {
  const { nowMs, timestampMs, signal } = deps
  const promisedMs = Math.max(defaultRetention.everyMs, defaultRetention.minutelyMs, defaultRetention.hourlyMs)
  if (nowMs - timestampMs <= promisedMs) return 0
  const held = await readReservations(at, nowMs, signal)
  if (held === null || held.points.length > 0 || held.files.length > 0) return 0
  const files = await listLtx(at, { signal })
  const kept = files.filter(
    (file) => isSame(file, image) || isSeal(file) || (file.level === 0 && file.maxTxid >= image.maxTxid),
  )
  const plan = planRestore(kept, null)
  const isEnough = plan.ok && plan.value.txid >= image.maxTxid && kept.some((file) => isSame(file, image))
  if (!isEnough) return 0 // somebody ships again
  const keys = files.filter((file) => !kept.includes(file)).map((file) => ltxKey(at, file))
  // An image that was there already, as closing leaves one, was read by nobody yet: when it is damaged, the rest is all there is.
  if (keys.length > 0) await checkLtx(inputOf(at, image, deps))
  for (let from = 0; from < keys.length; from += deleteKeysMax)
    await at.store.delete(keys.slice(from, from + deleteKeysMax), { signal })
  return keys.length
}

type Named = Pick<LtxFile, 'level' | 'minTxid' | 'maxTxid'>

function isSame(a: Named, b: Named): boolean {
  return a.level === b.level && a.minTxid === b.minTxid && a.maxTxid === b.maxTxid
}
