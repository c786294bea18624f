// Room on a disk.

import { statfs } from 'node:fs/promises'

/** What this process may still write to the disk of a folder, bytes. Rejects when there is no such folder. */
export type FreeBytes = (dir: string) => Promise<number>

export const freeBytes: FreeBytes = async (dir) => {
  const { bavail, bsize } = await statfs(dir)
  return bavail * bsize
}
