// Where uploads lie until their request has ended: folders of the system's temporary directory, each of one request. A
// process that is killed leaves its own behind, up to some GB each. How old they are is told by the file system, so it is
// the system's clock that they are held against.

import { lstat, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../../lib/clock.ts'
import { errorCode } from '../../../lib/errors.ts'

const namePrefix = 'pocketfleet-upload-'
/** No request takes that long: what is older was left behind, ms. */
const leftAfterMs = 24 * 60 * 60 * 1000
/** Folders of another user, and those that somebody else removes at the same time. */
const notOursCodes: ReadonlySet<string> = new Set(['ENOENT', 'EACCES', 'EPERM'])

let cleared: Promise<void> | null = null

/** A new folder, the caller's to remove. The first one of a process removes what others have left. */
export async function newUploadFolder(): Promise<string> {
  cleared ??= removeLeftUploads(tmpdir(), systemClock.now()).catch((error: unknown) => {
    cleared = null
    throw error
  })
  await cleared
  return mkdtemp(join(tmpdir(), namePrefix))
}

/** Removes the folders below `dir` that have been there for a day at `nowMs`. */
export async function removeLeftUploads(dir: string, nowMs: number): Promise<void> {
  for (const name of await readdir(dir)) {
    if (!name.startsWith(namePrefix)) continue
    const path = join(dir, name)
    try {
      if (nowMs - (await lstat(path)).mtimeMs > leftAfterMs) await rm(path, { recursive: true, force: true })
    } catch (error) {
      if (!notOursCodes.has(errorCode(error) ?? '')) throw error
    }
  }
}
