// libzmq comes inside the npm package `zeromq`: its addon exports libzmq's whole C API. The package's JavaScript does not
// run on Bun; the addon is used for its exported symbols alone, so its exact version is pinned and checked.

import { accessSync, constants } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { MessagingError } from '../errors.ts'
import { embeddedLibrary } from './embedded-library.ts'

/** The build of the addon we use, below the package's `build` folder. Others lack CURVE or need a newer glibc. */
export function addonPath(packageDir: string, arch: string): string {
  return join(packageDir, 'build', 'linux', arch, 'node', 'glibc-127-Release', 'addon.node')
}

/**
 * Where to load libzmq from: inside the binary, or from the installed package.
 *
 * Bun writes an embedded library to the temporary directory before the system can load it; that directory is checked
 * here, because the loader's own message would not say so. Throws MessagingError.
 */
export function libraryPath(): string {
  if (embeddedLibrary !== null) {
    checkTemporaryDirectory()
    return embeddedLibrary
  }
  if (process.platform !== 'linux') throw new MessagingError(`no libzmq for ${process.platform}: Linux is required`)
  try {
    return addonPath(dirname(createRequire(import.meta.url).resolve('zeromq/package.json')), process.arch)
  } catch (error) {
    throw new MessagingError('the package zeromq is not installed', { cause: error })
  }
}

/** What to add to the error of a library that did not load. */
export const temporaryDirectoryHint =
  'the binary needs a writable temporary directory that is not mounted noexec; set BUN_TMPDIR to a private one'

function checkTemporaryDirectory(): void {
  const dir = process.env['BUN_TMPDIR'] ?? tmpdir()
  try {
    accessSync(dir, constants.W_OK | constants.X_OK)
  } catch (error) {
    throw new MessagingError(`cannot write to ${dir}: ${temporaryDirectoryHint}`, { cause: error })
  }
}
