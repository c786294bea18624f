// One process per directory. The lock is flock(2) on a file: the kernel frees it when its process dies, however it dies,
// so a stale file never blocks anybody and two living processes never share a directory.

import { dlopen, FFIType } from 'bun:ffi'
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { type Clock, sleep } from './clock.ts'
import { AppError, errorCode, errorMessage } from './errors.ts'

/** A living process holds the lock. */
export class DirectoryLockedError extends AppError {
  readonly code = 'directory_locked'
  /** As the holder wrote it; null when it could not be read. */
  readonly holderPid: number | null
  constructor(path: string, holderPid: number | null) {
    super(`${path} is locked by ${holderPid === null ? 'another process' : `process ${holderPid}`}`)
    this.holderPid = holderPid
  }
}

export class LockFailedError extends AppError {
  readonly code = 'lock_failed'
}

export interface DirectoryLock extends Disposable {
  /** Frees the lock; calling it again does nothing. */
  release(): void
  /** Frees the lock and removes its file: for what comes and goes, so that no file of each stays. */
  remove(): void
}

/** LOCK_EX | LOCK_NB of sys/file.h. */
const exclusiveNow = 2 | 4
/** Between two attempts of {@link lockWhenFree}. */
const pollMs = 20

let libc: { readonly flock: (descriptor: number, operation: number) => number } | null = null

function flock(descriptor: number): boolean {
  if (libc === null) {
    const name = process.platform === 'darwin' ? 'libSystem.B.dylib' : 'libc.so.6'
    const { symbols } = dlopen(name, { flock: { args: [FFIType.i32, FFIType.i32], returns: FFIType.i32 } })
    libc = { flock: (fd, operation) => symbols.flock(fd, operation) }
  }
  return libc.flock(descriptor, exclusiveNow) === 0
}

/**
 * Takes the lock or throws: DirectoryLockedError when somebody has it, LockFailedError when the file cannot be opened.
 * The lock belongs to this process and ends with it; child processes do not inherit it.
 */
export function lockFile(path: string): DirectoryLock {
  let descriptor = openLockFile(path)
  for (;;) {
    if (!flock(descriptor)) {
      closeSync(descriptor)
      throw new DirectoryLockedError(path, holderOf(path))
    }
    if (fstatSync(descriptor).ino === statSync(path, { throwIfNoEntry: false })?.ino) break
    // The holder before has removed it since we opened it: the next one would lock another file of this name.
    closeSync(descriptor)
    descriptor = openLockFile(path)
  }
  ftruncateSync(descriptor)
  writeSync(descriptor, `${process.pid}\n`) // for people and for error messages; the lock itself is the kernel's
  let held = true
  const release = () => {
    if (!held) return
    held = false
    closeSync(descriptor)
  }
  const remove = () => {
    if (held) rmSync(path, { force: true })
    release()
  }
  return { release, remove, [Symbol.dispose]: release }
}

function openLockFile(path: string): number {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    return openSync(path, 'a+', 0o600)
  } catch (error) {
    throw new LockFailedError(`cannot open the lock file ${path}: ${errorMessage(error)}`, { cause: error })
  }
}

/** Waits until the holder is gone; throws DirectoryLockedError when it is not by then. */
export async function lockWhenFree(path: string, timeoutMs: number, clock: Clock): Promise<DirectoryLock> {
  const endsAtMs = clock.monotonic() + timeoutMs
  for (;;) {
    try {
      return lockFile(path)
    } catch (error) {
      if (!(error instanceof DirectoryLockedError) || clock.monotonic() >= endsAtMs) throw error
      await sleep(clock, pollMs)
    }
  }
}

function holderOf(path: string): number | null {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error
    return null // removed by its holder meanwhile
  }
  const pid = Number.parseInt(text, 10)
  return Number.isInteger(pid) && pid > 0 ? pid : null
}
