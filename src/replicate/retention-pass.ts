// One look at a whole history: deletes what the first phase of a deletion named long enough ago and nothing promised needs,
// and names what may go next. Whoever runs it, also twice at once, also from an old manifest: what is deleted is proven
// dispensable by a listing of now.

import { assert } from '../lib/assert.ts'
import type { Txid } from '../lib/brand.ts'
import type { Clock } from '../lib/clock.ts'
import { ObjectNotFoundError } from '../lib/object-store/object-store.ts'
import { candidateRangesMax, type DeletionCandidates } from './history-manifest.ts'
import { LtxFormatError } from './ltx/errors.ts'
import { decodeLtxHeader, ltxHeaderBytes } from './ltx/header.ts'
import { checkLtx } from './ltx/merge.ts'
import { type HistoryLocation, isSeal, type LtxFile, listLtx, ltxKey } from './ltx-store.ts'
import { inputOf, type Pacer } from './merge-files.ts'
import { readReservations } from './reservation.ts'
import { planRestore } from './restore-plan.ts'
import {
  candidateRanges,
  candidateWaitMs,
  planDeletion,
  planRetention,
  type RetainedFile,
  type RetentionPolicy,
  retentionOf,
} from './retention.ts'

/** Keys of one delete request. */
const deleteKeysMax = 1_000
/** Headers read at the same time. */
const headersInFlight = 16
/** With many slots since the last pass the next one follows after this, ms; with few, or none, it waits longer. */
const busyPauseMs = 24 * 3_600_000
const quietPauseMs = 7 * 24 * 3_600_000
const busySlots = 64

export interface RetentionState {
  readonly candidates: DeletionCandidates | null
  readonly restoreMsMax: number
  /** How long every point of this history stays, ms; where it is not said, as long as the policy says. */
  readonly keepEveryMs?: number
}

export interface RetentionOutcome {
  readonly candidates: DeletionCandidates | null
  readonly retained: { readonly txid: Txid; readonly atMs: number; readonly isSettled: boolean }
  readonly filesDeleted: number
  readonly bytesDeleted: number
  /** Merged files that cannot be read: what they were made of stays. */
  readonly damaged: readonly Pick<LtxFile, 'level' | 'minTxid' | 'maxTxid'>[]
}

/**
 * When the next pass is due, ms since the Unix epoch; null: not before something is shipped.
 *
 * @param txid of the newest slot.
 */
export function nextPassAtMs(
  state: RetentionState & { readonly retained: RetentionOutcome['retained'] },
  txid: Txid,
): number | null {
  if (state.candidates !== null) return readyAtMs(state.candidates, state.restoreMsMax)
  const { retained } = state
  const slots = txid - retained.txid
  if (retained.isSettled && slots === 0) return null
  return retained.atMs + (slots >= busySlots ? busyPauseMs : quietPauseMs)
}

/**
 * Runs a pass. Throws what the store throws, and LtxFormatError when a merged file of the newest state is damaged; the next
 * pass goes on from there.
 */
export async function retainHistory(
  at: HistoryLocation,
  state: RetentionState,
  deps: {
    readonly clock: Clock
    readonly policy: RetentionPolicy
    readonly pacer: Pacer
    readonly signal?: AbortSignal
  },
): Promise<RetentionOutcome> {
  const { clock, signal } = deps
  const policy = retentionOf(deps.policy, state.keepEveryMs)
  const nowMs = clock.now()
  const options = signal === undefined ? {} : { signal }
  const listed = await listLtx(at, options)
  const held = await readReservations(at, nowMs, signal)
  const files = await withTimes(at, listed, nowMs - policy.everyMs, signal)
  const tail = listed.reduce((max, { maxTxid }) => Math.max(max, maxTxid), 0) as Txid
  const retained = (isSettled: boolean) => ({ txid: tail, atMs: nowMs, isSettled })
  const nothing = { filesDeleted: 0, bytesDeleted: 0, damaged: [] }
  const untouched = { candidates: state.candidates, retained: retained(false), ...nothing }
  if (held === null) return untouched
  let plan = planRetention(files, nowMs, policy, held)
  const { candidates, restoreMsMax } = state
  if (candidates !== null && nowMs < readyAtMs(candidates, restoreMsMax)) return untouched
  let damaged: readonly PassFile[] = []
  let gone = candidates === null ? [] : planDeletion(candidates.ranges, plan)
  if (candidates !== null && gone.length > 0) {
    const proven = await proveNewest(at, files, new Set(gone), deps)
    damaged = await damagedHeirs(at, heirsOf(files, new Set(gone)), { ...deps, proven })
    // That may have taken hours: what was reserved meanwhile stays. Nothing more goes by that, so the proof still holds.
    const heldNow = await readReservations(at, nowMs, signal)
    if (heldNow === null) return untouched
    const points = [...held.points, ...heldNow.points]
    plan = planRetention(files, nowMs, policy, { points, files: [...held.files, ...heldNow.files] })
    gone = planDeletion(candidates.ranges, plan).filter((file) => !damaged.some((heir) => spans(heir, file)))
  }
  for (let from = 0; from < gone.length; from += deleteKeysMax)
    await at.store.delete(
      gone.slice(from, from + deleteKeysMax).map((file) => ltxKey(at, file)),
      options,
    )
  const left = new Set(gone)
  const ranges = candidateRanges(
    files.filter((file) => !left.has(file)),
    plan.kept,
    candidateRangesMax,
  )
  const isOld = files.every(({ timestampMs }) => nowMs - timestampMs >= policy.hourlyMs)
  return {
    candidates: ranges.length === 0 ? null : { sinceMs: nowMs, ranges },
    retained: retained(ranges.length === 0 && isOld),
    filesDeleted: gone.length,
    bytesDeleted: gone.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    damaged: damaged.map(({ level, minTxid, maxTxid }) => ({ level, minTxid, maxTxid })),
  }
}

/**
 * Reads the files whole that give the newest state without those that go: a damaged one throws, and nothing goes.
 *
 * @returns what was read.
 */
async function proveNewest(
  at: HistoryLocation,
  files: readonly PassFile[],
  gone: ReadonlySet<PassFile>,
  deps: { readonly pacer: Pacer; readonly signal?: AbortSignal },
): Promise<ReadonlySet<PassFile>> {
  const plan = planRestore(
    files.filter((file) => !gone.has(file)),
    null,
  )
  assert(plan.ok, 'the newest state would be gone')
  const merged = new Set(plan.value.files.filter(({ level }) => level > 0))
  for (const file of merged) await checkLtx(inputOf(at, file, deps))
  return merged
}

/**
 * What stands in place of the files that go, for older points too: of each, the narrowest merged file that stays and spans
 * it. One that spans nothing narrower stands for points that a wider one cannot reach.
 */
function heirsOf(files: readonly PassFile[], gone: ReadonlySet<PassFile>): ReadonlySet<PassFile> {
  const merged = files.filter((file) => file.level > 0 && !gone.has(file)).sort((a, b) => widthOf(a) - widthOf(b))
  const heirs = new Set<PassFile>()
  for (const file of gone) {
    const heir = merged.find((each) => spans(each, file))
    if (heir !== undefined) heirs.add(heir)
  }
  return heirs
}

/** Those that cannot be read to their end as they were written. Throws what the store throws. */
async function damagedHeirs(
  at: HistoryLocation,
  heirs: ReadonlySet<PassFile>,
  { proven, ...deps }: { readonly pacer: Pacer; readonly signal?: AbortSignal; readonly proven: ReadonlySet<PassFile> },
): Promise<readonly PassFile[]> {
  const damaged: PassFile[] = []
  for (const heir of heirs) {
    if (proven.has(heir)) continue
    try {
      await checkLtx(inputOf(at, heir, deps))
    } catch (error) {
      if (!(error instanceof LtxFormatError)) throw error
      damaged.push(heir)
    }
  }
  return damaged
}

const widthOf = ({ minTxid, maxTxid }: PassFile) => maxTxid - minTxid
const spans = (outer: PassFile, inner: PassFile) => outer.minTxid <= inner.minTxid && outer.maxTxid >= inner.maxTxid

function readyAtMs(candidates: DeletionCandidates, restoreMsMax: number): number {
  return candidates.sinceMs + Math.max(candidateWaitMs, 2 * restoreMsMax)
}

interface PassFile extends RetainedFile {
  readonly sizeBytes: number
}

/**
 * The files with the times of their transactions, which stand in their headers. Young ones are taken by their upload time,
 * which is never before: they are kept anyway.
 */
async function withTimes(
  at: HistoryLocation,
  files: readonly LtxFile[],
  oldMs: number,
  signal: AbortSignal | undefined,
): Promise<readonly PassFile[]> {
  const timed: PassFile[] = []
  const queue = [...files]
  const lane = async () => {
    for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
      const { level, minTxid, maxTxid, sizeBytes, modifiedAtMs } = file
      const timestampMs = modifiedAtMs > oldMs ? modifiedAtMs : await timeOf(at, file, signal)
      if (timestampMs !== null) timed.push({ level, minTxid, maxTxid, sizeBytes, timestampMs, isSeal: isSeal(file) })
    }
  }
  await Promise.all(Array.from({ length: headersInFlight }, lane))
  return timed
}

/** null when the file is gone meanwhile. */
async function timeOf(at: HistoryLocation, file: LtxFile, signal: AbortSignal | undefined): Promise<number | null> {
  // A directory has the time as modification time.
  if (at.store.layout === 'file') return file.modifiedAtMs
  try {
    const range = { from: 0, to: ltxHeaderBytes }
    const bytes = await at.store.get(ltxKey(at, file), signal === undefined ? { range } : { range, signal })
    return decodeLtxHeader(bytes).timestampMs
  } catch (error) {
    if (error instanceof ObjectNotFoundError) return null
    throw error
  }
}
