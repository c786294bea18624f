// What a manifest says about one database's history, so that the next owner's upkeep goes on with times and checksums that no
// listing has, and so that opening a long history asks only for what is newer. A cache: whoever reads it must bear with one
// that is missing, old or torn, and nothing is safe only because it says so.
//
// On the wire a file is one array, `[level, min, max, size, timestamp, checksum]`, because there may be hundreds.

import type { Txid } from '../lib/brand.ts'
import { levelMax } from './ltx-store.ts'

/** Files that a manifest names at most; with more of them the history is listed instead. */
export const manifestFilesMax = 1_000
/** Ranges of files that wait for their deletion; the rest waits for the next pass. */
export const candidateRangesMax = 4_096

export interface ManifestFile {
  readonly level: number
  readonly minTxid: Txid
  readonly maxTxid: Txid
  readonly sizeBytes: number
  /** Of the last transaction in it; null when only a listing was seen. */
  readonly timestampMs: number | null
  /** File checksum, 16 hex digits; null when only a listing was seen. */
  readonly checksum: string | null
}

/** A file whose content is known. */
export interface ShippedFile extends ManifestFile {
  readonly timestampMs: number
  readonly checksum: string
}

/** All files of a level whose TXIDs lie within the range, which may be wider than one file. */
export interface CandidateRange {
  readonly level: number
  readonly minTxid: Txid
  readonly maxTxid: Txid
}

/** The first phase of a deletion: nothing here is deleted before its time, nor without another look at all plans. */
export interface DeletionCandidates {
  readonly sinceMs: number
  readonly ranges: readonly CandidateRange[]
}

export interface HistoryManifest {
  /** Of the owner that wrote this. */
  readonly epoch: number
  /** A slot that the store had. The tail is this one or behind it: list the slots that follow. */
  readonly tail: { readonly txid: Txid; readonly timestampMs: number; readonly checksum: string }
  readonly pageSize: number
  /** Size of the database in pages at the tail. */
  readonly commit: number
  /** What rebuilds the database at the tail, in the order to apply it; the first is a whole image. */
  readonly files: readonly ManifestFile[]
  readonly candidates: DeletionCandidates | null
  /**
   * Last slot that a retention pass has seen, when it ran, and whether it left nothing that time alone would release.
   * Before the first pass, where somebody began to look after the history; null: nobody has.
   */
  readonly retained: { readonly txid: Txid; readonly atMs: number; readonly isSettled: boolean } | null
  /** The longest restore seen of this history, ms: deletions wait for twice as long. */
  readonly restoreMsMax: number
}

/** As a manifest writes a file checksum. */
export function checksumText(checksum: bigint): string {
  return checksum.toString(16).padStart(16, '0')
}

/** The newest whole image: what bytes above it are compared with. */
export function newestImage(manifest: HistoryManifest): ManifestFile {
  return manifest.files[0]!
}

/** The JSON value of a manifest. */
export function encodeHistoryManifest(manifest: HistoryManifest): unknown {
  const { files, candidates, ...rest } = manifest
  return {
    ...rest,
    files: files.map((each) => [
      each.level,
      each.minTxid,
      each.maxTxid,
      each.sizeBytes,
      each.timestampMs,
      each.checksum,
    ]),
    candidates: candidates && {
      sinceMs: candidates.sinceMs,
      ranges: candidates.ranges.map(({ level, minTxid, maxTxid }) => [level, minTxid, maxTxid]),
    },
  }
}

/**
 * Reads what {@link encodeHistoryManifest} gave, of this version or a later one with more fields.
 *
 * @returns null for what is torn, hostile or contradicts itself: then the history is listed.
 */
export function decodeHistoryManifest(raw: unknown): HistoryManifest | null {
  if (!isObject(raw) || !isObject(raw['tail'])) return null
  const { epoch, pageSize, commit, restoreMsMax } = raw
  const { txid, timestampMs, checksum } = raw['tail']
  if (!isCount(epoch) || !isCount(pageSize) || !isCount(commit) || !isTxid(txid) || !isCount(timestampMs)) return null
  if (!isChecksum(checksum)) return null
  const files = decodeFiles(raw['files'], txid)
  if (files === null) return null
  return {
    epoch,
    tail: { txid, timestampMs, checksum },
    pageSize,
    commit,
    files,
    candidates: decodeCandidates(raw['candidates']),
    retained: decodeRetained(raw['retained']),
    restoreMsMax: isCount(restoreMsMax) ? restoreMsMax : 0,
  }
}

/** Files that lead without a gap from a whole image to the tail. */
function decodeFiles(raw: unknown, tail: Txid): ManifestFile[] | null {
  if (!Array.isArray(raw) || raw.length === 0 || raw.length > manifestFilesMax) return null
  const files: ManifestFile[] = []
  let reached = 0
  for (const each of raw) {
    if (!Array.isArray(each)) return null
    const [level, minTxid, maxTxid, sizeBytes, timestampMs, checksum] = each as readonly unknown[]
    if (!isLevel(level) || !isTxid(minTxid) || !isTxid(maxTxid) || !isCount(sizeBytes)) return null
    if (timestampMs !== null && !isCount(timestampMs)) return null
    if (checksum !== null && !isChecksum(checksum)) return null
    if (files.length === 0 ? minTxid !== 1 : minTxid > reached + 1) return null
    if (maxTxid <= reached || minTxid > maxTxid) return null
    reached = maxTxid
    files.push({ level, minTxid, maxTxid, sizeBytes, timestampMs, checksum })
  }
  return reached === tail ? files : null
}

/** What cannot be read is no candidate: the next pass finds it again. */
function decodeCandidates(raw: unknown): DeletionCandidates | null {
  if (!isObject(raw) || !isCount(raw['sinceMs']) || !Array.isArray(raw['ranges'])) return null
  if (raw['ranges'].length > candidateRangesMax) return null
  const ranges: CandidateRange[] = []
  for (const each of raw['ranges'] as readonly unknown[]) {
    if (!Array.isArray(each)) return null
    const [level, minTxid, maxTxid] = each as readonly unknown[]
    if (!isLevel(level) || !isTxid(minTxid) || !isTxid(maxTxid) || minTxid > maxTxid) return null
    ranges.push({ level, minTxid, maxTxid })
  }
  return { sinceMs: raw['sinceMs'], ranges }
}

function decodeRetained(raw: unknown): HistoryManifest['retained'] {
  if (!isObject(raw)) return null
  const { txid, atMs, isSettled } = raw
  return isTxid(txid) && isCount(atMs) ? { txid, atMs, isSettled: isSettled === true } : null
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

export function isTxid(value: unknown): value is Txid {
  return isCount(value) && value >= 1
}

function isLevel(value: unknown): value is number {
  return isCount(value) && value <= levelMax
}

function isChecksum(value: unknown): value is string {
  return typeof value === 'string' && /^[0-9a-f]{16}$/.test(value)
}
