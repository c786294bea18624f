// Which process goes first when all cores are busy, and which one does not outlive another.

import { dlopen, FFIType } from 'bun:ffi'
import { readFileSync } from 'node:fs'
import { getPriority, setPriority } from 'node:os'
import { errorCode } from './errors.ts'

/** How far behind a process of normal priority, in the system's own scale of 0 to 19. */
const niceness = 10
const schedIdle = 5 // SCHED_IDLE
/** `struct sched_param`: one int, which must be 0 for this policy. */
const noPriority = new Int32Array(1)

const setDeathSignal = 1 // PR_SET_PDEATHSIG
const sigkill = 9

let setScheduler: ((pid: number, policy: number, param: Int32Array) => number) | null = null

/** What the kernel counts for the main thread of a process, ms. Null where it does not tell, or no longer. */
function mainThreadOf(pid: number | 'self'): { readonly ranMs: number; readonly waitedMs: number } | null {
  if (process.platform !== 'linux') return null
  let text: string
  try {
    text = readFileSync(`/proc/${pid}/schedstat`, 'utf8')
  } catch {
    return null // a kernel without these figures, or a process that has gone
  }
  const [ranNs, waitedNs] = text.split(' ').map(Number)
  return { ranMs: ranNs! / 1e6, waitedMs: waitedNs! / 1e6 }
}

/**
 * How long the main thread of this process has run or waited for a core, ms: what it wanted, also where others left it little.
 * Null where the system does not tell.
 */
export function wantedThreadMs(): number | null {
  const counted = mainThreadOf('self')
  const wantedMs = counted === null ? 0 : counted.ranMs + counted.waitedMs
  return wantedMs > 0 ? wantedMs : null
}

/** How long the main thread of a process has waited for a core since its start, ms; 0 where the system does not tell. */
export function waitedForCoreMs(pid: number): number {
  return mainThreadOf(pid)?.waitedMs ?? 0
}

/**
 * Lets a process run behind others, but not without its part of a busy core; threads and children that it starts later
 * too. One that is further behind already stays there. A process that has gone meanwhile is none of our business.
 *
 * @returns false where the system refuses it: then it runs beside them.
 */
export function runBehindOthers(pid: number): boolean {
  try {
    if (getPriority(pid) < niceness) setPriority(pid, niceness)
    return true
  } catch (error) {
    if (errorCode(error) !== 'ERR_SYSTEM_ERROR') throw error
    return (error as { readonly info?: { readonly code?: string } }).info?.code === 'ESRCH'
  }
}

/**
 * Lets a process run only while nobody else wants its core; whoever wakes up takes the core from it at once. There is no
 * way back without privileges. A process that has gone meanwhile is none of our business.
 */
export function runOnlyWhenIdle(pid: number): void {
  if (process.platform !== 'linux') return
  setScheduler ??= dlopen('libc.so.6', {
    sched_setscheduler: { args: [FFIType.i32, FFIType.i32, FFIType.ptr], returns: FFIType.i32 },
  }).symbols.sched_setscheduler
  setScheduler(pid, schedIdle, noPriority)
}

/**
 * Has the kernel kill this process with its parent. One that is busy with a statement of SQLite would not see its input
 * end: it would go on, for ever perhaps, with files that have a new owner by then.
 */
export function endWithParent(): void {
  if (process.platform !== 'linux') return
  const { u64, i32 } = FFIType
  const { symbols } = dlopen('libc.so.6', { prctl: { args: [i32, u64, u64, u64, u64], returns: i32 } })
  if (symbols.prctl(setDeathSignal, sigkill, 0, 0, 0) !== 0) throw new Error('prctl(PR_SET_PDEATHSIG) failed')
}
