// The fence of replication rests on one promise of the store: of many create-only writes of a key, one succeeds.

import type { Rng } from '../rng.ts'
import { ObjectExistsError, type ObjectStore, ObjectStoreError } from './object-store.ts'

/** Enough racing writers to show a store that checks first and writes later. */
const writersCount = 16

/**
 * Throws ObjectStoreError when the store lets two create-only writes of one key succeed. Leaves nothing behind.
 *
 * @param prefix where the scratch key goes; it ends without a slash.
 */
export async function probeCreateOnly(store: ObjectStore, prefix: string, rng: Rng): Promise<void> {
  const key = `${prefix}/${Buffer.from(rng.bytes(12)).toString('hex')}`
  const create = async (writer: number): Promise<boolean> => {
    try {
      await store.put(key, new Uint8Array([writer]), { createOnly: true })
      return true
    } catch (error) {
      if (error instanceof ObjectExistsError) return false
      throw error
    }
  }
  try {
    const results = await Promise.all(Array.from({ length: writersCount }, (_, writer) => create(writer)))
    const won = results.filter(Boolean).length
    // None: the winner's reply was lost and its retry met its own object, which proves the point as well.
    if (won > 1 || (await create(writersCount)))
      throw new ObjectStoreError(
        `${store.description} does not keep create-only writes apart; two owners could write one history`,
        { retryable: false, status: null },
      )
  } finally {
    await store.delete([key])
  }
}
