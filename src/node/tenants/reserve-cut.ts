// Keeps a moment of a tenant restorable while something reads it, on whatever node: what retention would delete meanwhile
// waits until the reservation is gone.

import type { Txid } from '../../lib/brand.ts'
import { alphanumeric, randomText } from '../../lib/id.ts'
import { release, reserve } from '../../replicate/reservation.ts'
import { locate, type TenantHistories } from './cut.ts'
import type { JobContext } from './job-context.ts'
import type { DatabaseName } from './tenant-files.ts'

/** A reservation that nobody released, because its job was killed, ends after this, ms. */
const reservationMs = 24 * 3_600_000
const nameLength = 15

/** Runs `work` while the given state of each database is reserved. */
export async function whileReserved<T>(
  histories: TenantHistories,
  points: Readonly<Partial<Record<DatabaseName, Txid>>>,
  { clock, rng, signal }: Pick<JobContext, 'clock' | 'rng' | 'signal'>,
  work: () => Promise<T>,
): Promise<T> {
  const name = `job-${randomText(rng, nameLength, alphanumeric)}`
  const untilMs = clock.now() + reservationMs
  const wanted = Object.entries(points) as [DatabaseName, Txid][]
  try {
    await Promise.all(
      wanted.map(([database, txid]) =>
        reserve(locate(histories, database), { name, untilMs, points: [txid], files: [] }, signal),
      ),
    )
    return await work()
  } finally {
    // Without the signal: also a job that was called off lets go. One that stays keeps too much for a day, no more.
    await Promise.allSettled(wanted.map(([database]) => release(locate(histories, database), name)))
  }
}
