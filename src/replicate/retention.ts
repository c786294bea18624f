// Which files of a history may go, and which points in time are promised instead. Pure; `retention-pass.ts` does it.
//
// A point is the end of a file that a chain of files leads to. Promised are: the newest one; within the first window every
// one; within the second one a minute, within the third one an hour; what somebody has reserved. Where nothing was written
// for a while, the point before the pause is promised exactly, because it was the state for all that time. Kept is one
// chain for each, every seal (its slot must stay taken for ever), and the newest slot.

import { assert } from '../lib/assert.ts'
import type { Txid } from '../lib/brand.ts'
import type { CandidateRange } from './history-manifest.ts'
import { type PlannedFile, planRestore } from './restore-plan.ts'

const minuteMs = 60_000
const hourMs = 60 * minuteMs
const dayMs = 24 * hourMs

export interface RetentionPolicy {
  /** Every point stays restorable for this long, ms. */
  readonly everyMs: number
  /** One a minute. */
  readonly minutelyMs: number
  /** One an hour; what is older goes, but for the newest state. */
  readonly hourlyMs: number
}

/** Longest time that every point may be kept for, ms. */
const keepEveryMsMax = 30 * dayMs

export const defaultRetention: RetentionPolicy = { everyMs: dayMs, minutelyMs: 7 * dayMs, hourlyMs: 30 * dayMs }

/** The policy of a history whose every point stays for another time. Never less than the rest of the promises. */
export function retentionOf(policy: RetentionPolicy, keepEveryMs: number | undefined): RetentionPolicy {
  if (keepEveryMs === undefined) return policy
  assert(keepEveryMs > 0, `points cannot be kept for ${keepEveryMs} ms`) // not a number would promise nothing
  const everyMs = Math.min(keepEveryMs, keepEveryMsMax)
  return { everyMs, minutelyMs: Math.max(policy.minutelyMs, everyMs), hourlyMs: Math.max(policy.hourlyMs, everyMs) }
}

/** Between the two phases of a deletion, ms; longer when restores take longer. */
export const candidateWaitMs = dayMs

export interface RetainedFile extends PlannedFile {
  /** Of the last transaction in it. */
  readonly timestampMs: number
  /** The first slot of an owner: while it is taken, no older owner can go on. */
  readonly isSeal: boolean
}

/** What others need of a history, whatever its age. */
export interface Held {
  readonly points: readonly Txid[]
  readonly files: readonly PlannedFile[]
}

export const nothingHeld: Held = { points: [], files: [] }

export interface Retention<File> {
  readonly kept: ReadonlySet<File>
  readonly dropped: readonly File[]
  /** What is promised at this time, in order. */
  readonly points: readonly Txid[]
}

/**
 * Divides the files of a history.
 *
 * @param files all of them, in any order. When they do not even lead to their own newest state, all are kept.
 */
export function planRetention<File extends RetainedFile>(
  files: readonly File[],
  nowMs: number,
  policy: RetentionPolicy,
  held: Held = nothingHeld,
): Retention<File> {
  if (!planRestore(files, null).ok) return { kept: new Set(files), dropped: [], points: [] }
  const chains = chainsOf(files)
  const points = new Set(promisedPoints(chains, nowMs, policy))
  for (const txid of held.points) if (chains.has(txid)) points.add(txid)
  const kept = new Set<File>()
  for (const txid of points) keepChain(chains, txid, kept)
  const heldNames = new Set(held.files.map(nameOf))
  let newestSlot: File | null = null
  for (const file of files) {
    const isYoungSlot = file.level === 0 && nowMs - file.timestampMs < policy.everyMs
    if (file.isSeal || isYoungSlot || heldNames.has(nameOf(file))) kept.add(file)
    if (file.level === 0 && (newestSlot === null || file.maxTxid > newestSlot.maxTxid)) newestSlot = file
  }
  if (newestSlot !== null) kept.add(newestSlot)
  const ordered = [...points].sort((a, b) => a - b)
  return { kept, dropped: files.filter((file) => !kept.has(file)), points: ordered }
}

/** The files of the first phase that may be deleted in the second: still not needed by anything that is promised now. */
export function planDeletion<File extends RetainedFile>(
  candidates: readonly CandidateRange[],
  { dropped, kept, points }: Retention<File>,
): readonly File[] {
  const byLevel = Map.groupBy(candidates, ({ level }) => level)
  const ready = dropped.filter(({ level, minTxid, maxTxid }) =>
    byLevel.get(level)?.some((range) => range.minTxid <= minTxid && maxTxid <= range.maxTxid),
  )
  const gone = new Set(ready)
  const left = [...kept, ...dropped.filter((file) => !gone.has(file))]
  assert(planRestore(left, null).ok, 'the newest state would be gone')
  const chains = chainsOf(left)
  for (const point of points) assert(chains.has(point), `the state at TXID ${point} would be gone`)
  return ready
}

/** Neighbours as one range each; the last ones are left out when there are more than `rangesMax`. */
export function candidateRanges(
  files: readonly PlannedFile[],
  kept: ReadonlySet<PlannedFile>,
  rangesMax: number,
): readonly CandidateRange[] {
  const ranges: { level: number; minTxid: Txid; maxTxid: Txid }[] = []
  const ordered = [...files].sort((a, b) => a.level - b.level || a.minTxid - b.minTxid || a.maxTxid - b.maxTxid)
  let open: (typeof ranges)[number] | null = null
  for (const file of ordered) {
    if (kept.has(file)) {
      open = null
      continue
    }
    if (open !== null && open.level === file.level) {
      open.maxTxid = Math.max(open.maxTxid, file.maxTxid) as Txid
      continue
    }
    if (ranges.length === rangesMax) break
    open = { level: file.level, minTxid: file.minTxid, maxTxid: file.maxTxid }
    ranges.push(open)
  }
  return ranges
}

/** How a point is reached: the last file of its chain, and the point before that file. */
interface Link<File> {
  readonly file: File
  /** null: the file is a whole image. */
  readonly before: Txid | null
  /** Files of the chain. */
  readonly length: number
  readonly timestampMs: number
  /** Of any file that ends here. */
  readonly levelMax: number
}

/** For each point its shortest chain. */
function chainsOf<File extends RetainedFile>(files: readonly File[]): ReadonlyMap<Txid, Link<File>> {
  const chains = new Map<Txid, Link<File>>()
  const ends: Txid[] = []
  const byEnd = [...Map.groupBy(files, ({ maxTxid }) => maxTxid)].sort(([a], [b]) => a - b)
  for (const [txid, ending] of byEnd) {
    let best: Link<File> | null = null
    const timestampMs = Math.min(...ending.map((file) => file.timestampMs))
    const levelMax = Math.max(...ending.map((file) => file.level))
    for (const file of ending) {
      const before = file.minTxid === 1 ? null : shortestBefore(chains, ends, file)
      if (file.minTxid !== 1 && before === null) continue
      const length = 1 + (before === null ? 0 : chains.get(before)!.length)
      if (best === null || length < best.length) best = { file, before, length, timestampMs, levelMax }
    }
    if (best === null) continue
    chains.set(txid, best)
    ends.push(txid)
  }
  return chains
}

/** The point with the shortest chain that a file can follow; null when it can follow none. */
function shortestBefore(
  chains: ReadonlyMap<Txid, Link<unknown>>,
  ends: readonly Txid[],
  file: PlannedFile,
): Txid | null {
  let best: Txid | null = null
  for (let at = ends.length - 1; at >= 0 && ends[at]! >= file.minTxid - 1; at--)
    if (best === null || chains.get(ends[at]!)!.length < chains.get(best)!.length) best = ends[at]!
  return best
}

function keepChain<File>(chains: ReadonlyMap<Txid, Link<File>>, txid: Txid, kept: Set<File>): void {
  // Chains of the same point are the same, so what is kept already has all before it kept too.
  for (let at: Txid | null = txid; at !== null; ) {
    const link: Link<File> = chains.get(at)!
    if (kept.has(link.file)) return
    kept.add(link.file)
    at = link.before
  }
}

function promisedPoints(
  chains: ReadonlyMap<Txid, Link<unknown>>,
  nowMs: number,
  policy: RetentionPolicy,
): Iterable<Txid> {
  const points = [...chains].map(([txid, { timestampMs, levelMax }]) => ({ txid, timestampMs, levelMax }))
  const promised = new Set([points[points.length - 1]!.txid])
  // The state at the start of each window was made before it.
  for (const windowMs of [policy.everyMs, policy.minutelyMs, policy.hourlyMs]) {
    const before = points.findLast(({ timestampMs }) => nowMs - timestampMs >= windowMs)
    if (before !== undefined) promised.add(before.txid)
  }
  for (let from = 0; from < points.length; ) {
    const { timestampMs, txid } = points[from]!
    const ageMs = nowMs - timestampMs
    const spanMs = ageMs < policy.minutelyMs ? minuteMs : hourMs
    const isEvery = ageMs < policy.everyMs
    const isSame = (other: number) =>
      nowMs - other >= policy.everyMs &&
      nowMs - other < policy.minutelyMs === ageMs < policy.minutelyMs &&
      Math.floor(other / spanMs) === Math.floor(timestampMs / spanMs)
    let to = from + 1
    while (!isEvery && to < points.length && isSame(points[to]!.timestampMs)) to++
    const group = points.slice(from, to)
    from = to
    if (isEvery) promised.add(txid)
    if (isEvery || ageMs >= policy.hourlyMs) continue
    const last = group[group.length - 1]!
    const next = points[to]
    const isBeforePause = next === undefined || next.timestampMs - last.timestampMs > spanMs
    // While writing goes on, the point that costs least to keep stands for its minute or hour.
    promised.add(isBeforePause ? last.txid : group.reduce((a, b) => (b.levelMax >= a.levelMax ? b : a)).txid)
  }
  return promised
}

function nameOf({ level, minTxid, maxTxid }: PlannedFile): string {
  return `${level} ${minTxid} ${maxTxid}`
}
