// The fence of replication rests on one promise of the store: of many create-only writes of a key, one succeeds.

import type { Rng } from '../rng.ts'
import { ObjectExistsError, type ObjectStore } from './object-store.ts'

/** Enough racing writers to show a store that checks first and writes later. */
const writersCount = 16

/**
 * Whether of many create-only writes of one key the store lets one succeed, and one only. Throws what the store throws.
 * Leaves nothing behind.
 *
 * @param prefix where the scratch key goes; it ends without a slash.
 */
export async function probeCreateOnly(store: ObjectStore, prefix: string, rng: Rng): Promise<boolean> {
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
    return won <= 1 && !(await create(writersCount))
  } finally {
    await store.delete([key])
  }
}
