// The job `sweep`: deletes what a tenant left in the store and nobody needs. Everything is proven by a listing of now: whoever
// wrote there since it was named, whichever fleet, needs it. May be repeated after any crash.
//
// Of a deleted tenant the manifest goes first: without it nobody adopts a history of which half is gone.

import type { SweepReport, TenantJob } from '../../ipc/messages/jobs.ts'
import type { TenantId } from '../../lib/brand.ts'
import { sleep } from '../../lib/clock.ts'
import { AppError } from '../../lib/errors.ts'
import type { ListPage, ObjectInfo } from '../../lib/object-store/object-store.ts'
import { decodeLtxHeader, ltxHeaderBytes } from '../../replicate/ltx/header.ts'
import { type HistoryLocation, listLtx, ltxKey } from '../../replicate/ltx-store.ts'
import type { JobContext } from './job-context.ts'
import { manifestKey, tenantPrefix } from './manifest.ts'
import { onPath } from './replica-path.ts'
import { databaseNames } from './tenant-files.ts'

/** Somebody uses what was to go; nothing was deleted, or nothing more. */
export class StillUsedError extends AppError {
  readonly code = 'still_used'
}

/** Keys of one request, and the pause after it: 500 objects a second at most, far below what a bucket allows. */
const keysAtOnce = 500
const pauseMs = 1_000

type SweepJob = Extract<TenantJob, { readonly type: 'sweep' }>

/** Where to look, and which of the keys there go. */
interface Leftovers {
  readonly prefixes: readonly string[]
  readonly isLeft: (key: string) => boolean
}

/** Throws StillUsedError. */
export async function sweepTenant(id: TenantId, job: SweepJob, context: JobContext): Promise<SweepReport> {
  const { store, signal } = context
  const left = job.belowEpoch === null ? await ofDeleted(id, job, context) : await ofOldPaths(id, job, context)
  const manifest = manifestKey(context.objectPrefix, id)
  let [objects, bytes, objectsDeleted] = [0, 0, 0]
  let hasManifest = false
  await scan(left, context, ({ key, sizeBytes }) => {
    objects++
    bytes += sizeBytes
    if (key === manifest) hasManifest = true
  })
  if (job.isDryRun || objects === 0) return { objects, bytes, objectsDeleted }
  if (hasManifest) {
    await store.delete([manifest], { signal })
    objectsDeleted++
  }
  objectsDeleted += await deletePaced(left, { objects, unchangedSinceMs: job.unchangedSinceMs }, context)
  return { objects, bytes, objectsDeleted }
}

/** All of a tenant. */
async function ofDeleted(id: TenantId, job: SweepJob, context: JobContext): Promise<Leftovers> {
  const root = tenantPrefix(context.objectPrefix, id)
  const all = { prefixes: [`${root}/`], isLeft: () => true }
  const prefix = `${root}/data.db`
  let [newestMs, path] = [0, 0]
  await scan(all, context, ({ key, modifiedAtMs }) => {
    newestMs = Math.max(newestMs, modifiedAtMs)
    if (key.startsWith(`${prefix}/`)) path = Math.max(path, epochOfPath(key.slice(prefix.length + 1)))
  })
  if (newestMs > job.unchangedSinceMs)
    throw new StillUsedError(`tenant ${id} is deleted, and was written to at ${new Date(newestMs).toISOString()}`)
  if (job.knownEpoch > 0) {
    const at = { store: context.store, prefix: path === 0 ? prefix : onPath(prefix, path) }
    const epoch = Math.max(path, await tailEpoch(at, context))
    if (epoch > job.knownEpoch)
      throw new StillUsedError(
        `tenant ${id} has an owner of epoch ${epoch}; ours was ${job.knownEpoch}: another fleet's`,
      )
  }
  return all
}

/** Of each database the paths of earlier epochs, as far as nobody has written to them. */
async function ofOldPaths(id: TenantId, job: SweepJob, context: JobContext): Promise<Leftovers> {
  const prefixes = databaseNames.map((name) => `${tenantPrefix(context.objectPrefix, id)}/${name}/`)
  const epochOf = (key: string) => epochOfPath(key.slice(prefixes.find((each) => key.startsWith(each))!.length))
  const newestMs = new Map<number, number>()
  await scan({ prefixes, isLeft: () => true }, context, ({ key, modifiedAtMs }) => {
    const epoch = epochOf(key)
    newestMs.set(epoch, Math.max(newestMs.get(epoch) ?? 0, modifiedAtMs))
  })
  const isOld = (epoch: number) =>
    epoch < job.belowEpoch! && (newestMs.get(epoch) ?? Number.POSITIVE_INFINITY) <= job.unchangedSinceMs
  return { prefixes, isLeft: (key) => isOld(epochOf(key)) }
}

/** 0: the path without an epoch. */
function epochOfPath(name: string): number {
  return Number(/^e([1-9]\d{0,9})\//.exec(name)?.[1] ?? 0)
}

/** Of the newest slot; epochs never fall along a history. 0 without any. */
async function tailEpoch(at: HistoryLocation, { signal }: JobContext): Promise<number> {
  const slots = (await listLtx(at, { signal })).filter(({ level }) => level === 0)
  const tail = slots.sort((a, b) => b.maxTxid - a.maxTxid)[0]
  if (tail === undefined) return 0
  const header = await at.store.get(ltxKey(at, tail), { range: { from: 0, to: ltxHeaderBytes }, signal })
  return decodeLtxHeader(header).writer.epoch
}

/** A page at a time: however much a tenant has, it does not lie in memory. */
async function scan(
  { prefixes, isLeft }: Leftovers,
  { store, signal, report }: JobContext,
  onObject: (object: ObjectInfo) => void,
): Promise<void> {
  let seen = 0
  for (const prefix of prefixes) {
    let next: string | null = null
    do {
      const page: ListPage = await store.list({ prefix, next, signal })
      for (const object of page.objects) if (isLeft(object.key)) onObject(object)
      seen += page.objects.length
      report({ step: 'listing', done: seen, total: null })
      next = page.next
    } while (next !== null)
  }
}

/**
 * Throws StillUsedError as soon as it meets what was written since: it takes hours, and somebody may have begun.
 *
 * @returns how many objects it deleted.
 */
async function deletePaced(
  { prefixes, isLeft }: Leftovers,
  proven: { readonly objects: number; readonly unchangedSinceMs: number },
  context: JobContext,
): Promise<number> {
  const { store, clock, signal, report } = context
  let deleted = 0
  for (const prefix of prefixes) {
    let next: string | null = null
    do {
      // By the key after which it goes on: what is deleted behind it moves nothing.
      const page: ListPage = await store.list({ prefix, signal, ...(next !== null && { after: next }) })
      const found = page.objects.filter(({ key }) => isLeft(key))
      const young = found.find(({ modifiedAtMs }) => modifiedAtMs > proven.unchangedSinceMs)
      if (young !== undefined) throw new StillUsedError(`${young.key} was written while its tenant was swept`)
      const keys = found.map(({ key }) => key)
      for (let from = 0; from < keys.length; from += keysAtOnce) {
        if (deleted > 0) await sleep(clock, pauseMs, signal)
        const part = keys.slice(from, from + keysAtOnce)
        await store.delete(part, { signal })
        deleted += part.length
        report({ step: 'deleting', done: deleted, total: proven.objects })
      }
      next = page.next === null ? null : (page.objects.at(-1)?.key ?? null)
    } while (next !== null)
  }
  return deleted
}
