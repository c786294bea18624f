// Room on the disk for what a job rebuilds. The node's open tenants write to the same disk: one that a job has filled would
// take no write of anybody.

import { AppError } from '../../lib/errors.ts'
import { type FreeBytes, freeBytes } from '../../lib/free-bytes.ts'
import { findTail } from '../../replicate/history.ts'
import { locate, type TenantHistories } from './cut.ts'
import type { JobContext } from './job-context.ts'
import type { DatabaseName } from './tenant-files.ts'

/** What must stay free beside everything that a job writes, bytes. */
const reserveBytes = 512 << 20

/** This node has not enough disk for the job; nothing was begun. */
export class NoRoomError extends AppError {
  readonly code = 'ENOSPC'
}

/**
 * Reckons with the newest state's size: an older one is seldom larger by more than the reserve.
 *
 * @param copies states of each database that are on disk at the same time.
 * @param freeBytesOf for tests.
 */
export async function checkRoom(
  histories: TenantHistories,
  names: readonly DatabaseName[],
  copies: number,
  { scratchDir, signal }: Pick<JobContext, 'scratchDir' | 'signal'>,
  freeBytesOf: FreeBytes = freeBytes,
): Promise<void> {
  const sizes = await Promise.all(
    names.map(async (name) => {
      const { header } = (await findTail(locate(histories, name), signal)).last
      return header.commit * header.pageSize
    }),
  )
  const neededBytes = copies * sizes.reduce((sum, bytes) => sum + bytes, 0)
  const free = await freeBytesOf(scratchDir)
  if (free < neededBytes + reserveBytes)
    throw new NoRoomError(
      `this node has ${free} bytes of disk free; the job needs ${neededBytes} beside ${reserveBytes} that stay free`,
    )
}
