// Fencing on a store whose create-only writes are not atomic, where two owners could both win a slot: every epoch has a path
// of its own, below each database's, and the control plane knows which one counts. A new owner copies the newest state
// from the path that counted before into its own and has it recorded. An owner of before goes on writing where nobody reads
// any more; so that it acknowledges nothing by that, a write counts only while its node holds its lease. See
// docs/adr/0020-epoch-paths.md.

import { join } from 'node:path'
import type { TenantId, Txid } from '../../lib/brand.ts'
import { MappedObjectStore, type PrefixRule } from '../../lib/object-store/mapped.ts'
import { type ObjectStore, ObjectStoreError } from '../../lib/object-store/object-store.ts'
import { NeverShippedError } from '../../replicate/errors.ts'
import { findTail } from '../../replicate/history.ts'
import { encodeLtx, imagePages } from '../../replicate/ltx/encoder.ts'
import { levelMax, ltxKey } from '../../replicate/ltx-store.ts'
import { restoreDatabase } from '../../replicate/restore.ts'
import { locate } from './cut.ts'
import type { JobContext } from './job-context.ts'
import { changeFacts, tenantPrefix } from './manifest.ts'
import { databaseNames } from './tenant-files.ts'

/** Where a tenant's histories lie. */
export interface ReplicaPath {
  readonly tenantId: TenantId
  readonly epoch: number
}

/** `…/data.db` becomes `…/data.db/e7`. */
export function onPath(databasePrefix: string, epoch: number): string {
  return `${databasePrefix}/e${epoch}`
}

function rulesOf(objectPrefix: string, { tenantId, epoch }: ReplicaPath): PrefixRule[] {
  return databaseNames.map((name) => {
    const prefix = `${tenantPrefix(objectPrefix, tenantId)}/${name}`
    return { from: `${prefix}/`, to: `${onPath(prefix, epoch)}/` }
  })
}

/** The store with the histories of these tenants on their paths; the same store when there are none. */
export function storeOnPaths(store: ObjectStore, objectPrefix: string, paths: readonly ReplicaPath[]): ObjectStore {
  if (paths.length === 0) return store
  return new MappedObjectStore(store, { rules: paths.flatMap((path) => rulesOf(objectPrefix, path)) })
}

/** The same for an owner: what it writes counts while it has its lease. */
export function storeOfOwner(
  store: ObjectStore,
  objectPrefix: string,
  path: ReplicaPath,
  leaseLostMs: () => number,
): ObjectStore {
  const afterPut = () => {
    if (leaseLostMs() > 0)
      throw new ObjectStoreError(`without its lease this node may not be the owner of ${path.tenantId}`, {
        retryable: true,
        status: null,
      })
  }
  return new MappedObjectStore(store, { rules: rulesOf(objectPrefix, path), afterPut })
}

/**
 * Copies the newest state of each database from one path to another; `from` null is the path without an epoch. What an
 * earlier attempt has finished is left alone: `data.db`, which comes last, proves that all of it is there.
 */
export async function moveReplica(
  tenantId: TenantId,
  { from, to }: { readonly from: number | null; readonly to: number },
  context: JobContext,
): Promise<{ readonly isMoved: boolean }> {
  const { store, objectPrefix, scratchDir, clock, signal, report } = context
  const source = { ...context, tenantId, store: pathOf(store, objectPrefix, tenantId, from) }
  const target = { ...context, tenantId, store: pathOf(store, objectPrefix, tenantId, to) }
  if (await hasHistory(locate(target, 'data.db'), signal)) return { isMoved: false }
  for (const [index, name] of databaseNames.entries()) {
    report({ step: `moving ${name}`, done: index, total: databaseNames.length })
    const { files, last } = await findTail(locate(source, name), signal)
    const scratch = join(scratchDir, name)
    await restoreDatabase(locate(source, name), scratch, { target: last.header.maxTxid, files, signal })
    const pages = imagePages(await Bun.file(scratch).bytes(), last.header.pageSize)
    const header = { ...last.header, minTxid: 1 as Txid, walOffset: 32, walSize: 0, walSalt1: 0, walSalt2: 0 }
    const at = locate(target, name)
    await at.store.put(
      ltxKey(at, { level: levelMax, minTxid: header.minTxid, maxTxid: header.maxTxid }),
      encodeLtx(header, pages, 0).bytes,
      { metadata: { 'litestream-timestamp': new Date(header.timestampMs).toISOString() }, signal },
    )
  }
  // What the manifest knew of files was of the other path.
  await changeFacts(context, tenantId, clock.now(), async (facts) => ({ ...facts, databases: {} }))
  return { isMoved: true }
}

function pathOf(store: ObjectStore, objectPrefix: string, tenantId: TenantId, epoch: number | null): ObjectStore {
  return epoch === null ? store : storeOnPaths(store, objectPrefix, [{ tenantId, epoch }])
}

async function hasHistory(at: ReturnType<typeof locate>, signal: AbortSignal): Promise<boolean> {
  try {
    await findTail(at, signal)
    return true
  } catch (error) {
    if (error instanceof NeverShippedError) return false
    throw error
  }
}
