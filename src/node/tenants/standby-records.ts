// What an owner leaves in the store about its standbys, before any of them confirms a write. See `docs/formats/standbys.md`.

import type { Placement } from '../../ipc/messages/tenant.ts'
import {
  encodeStandbyRecord,
  epochOfRecord,
  type StandbyFacts,
  standbyRecordKey,
  standbyRecordsPrefix,
} from '../../ipc/standby-record.ts'
import { errorMessage } from '../../lib/errors.ts'
import { ObjectExistsError, type ObjectStore } from '../../lib/object-store/object-store.ts'
import type { Logger } from '../../lib/obs/log.ts'
import { tenantPrefix } from './manifest.ts'

export interface StandbyRecordsDeps {
  readonly store: ObjectStore
  readonly objectPrefix: string
  readonly log: Logger
}

/**
 * Records the standbys of a placement, unless the manifest says that this was done: a request with the first opening under an
 * epoch. Without standbys too, where an earlier epoch had any: else that one's would count for ever.
 *
 * @returns what is so from now on, and whether this opening made it so.
 */
export async function recordStandbys(
  { tenantId, epoch, standbySets = [] }: Placement,
  before: StandbyFacts | null,
  { store, objectPrefix }: StandbyRecordsDeps,
): Promise<{ readonly facts: StandbyFacts; readonly isNew: boolean }> {
  const recordEpoch = before?.recordEpoch ?? null
  const isWanted = standbySets.length > 0 || recordEpoch !== null
  if (!isWanted || recordEpoch === epoch) return { facts: { recordEpoch, settled: null }, isNew: false }
  const sets = standbySets.map((set) => ({ epoch: set.epoch, nodeIds: set.nodes.map(({ nodeId }) => nodeId) }))
  const key = standbyRecordKey(tenantPrefix(objectPrefix, tenantId), epoch)
  try {
    await store.put(key, encodeStandbyRecord({ epoch, sets }), { createOnly: true, contentType: 'application/json' })
  } catch (error) {
    // Of an opening of this epoch that did not get to write the manifest: since then sets were at most done with.
    if (!(error instanceof ObjectExistsError)) throw error
  }
  return { facts: { recordEpoch: epoch, settled: null }, isNew: true }
}

/** Deletes the records of earlier epochs, which nobody reads any more. Never rejects: the next epoch does it too. */
export async function dropEarlierRecords({ tenantId, epoch }: Placement, deps: StandbyRecordsDeps): Promise<void> {
  const root = tenantPrefix(deps.objectPrefix, tenantId)
  try {
    const { objects } = await deps.store.list({ prefix: standbyRecordsPrefix(root) })
    const isEarlier = (key: string) => (epochOfRecord(root, key) ?? epoch) < epoch
    const keys = objects.map(({ key }) => key).filter(isEarlier)
    if (keys.length > 0) await deps.store.delete(keys)
  } catch (error) {
    deps.log.warn('earlier records of standbys stay', { tenant: tenantId, error: errorMessage(error) })
  }
}
