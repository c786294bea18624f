// Which TXID a time means, which TXIDs can still be restored, and going back to one without rewriting anything: the old
// content becomes the newest slot, so that undoing the undo is one more of the same.

import { readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { assert } from '../lib/assert.ts'
import type { Txid } from '../lib/brand.ts'
import type { Clock } from '../lib/clock.ts'
import { AppError } from '../lib/errors.ts'
import { ObjectNotFoundError, ObjectStoreError } from '../lib/object-store/object-store.ts'
import type { Rng } from '../lib/rng.ts'
import { FencedError } from './errors.ts'
import { findTail } from './history.ts'
import { encodeLtx, imagePages } from './ltx/encoder.ts'
import type { LtxHeader } from './ltx/header.ts'
import { getSlot, type HistoryLocation, type LtxFile, listLtx, putSlot } from './ltx-store.ts'
import { restoreDatabase } from './restore.ts'
import { readTail, sealHistory } from './seal.ts'
import type { ReplicaSource } from './source.ts'

export interface RestorablePoint {
  readonly txid: Txid
  readonly timestampMs: number
}

/** Points that follow one another in one way. */
export interface RestorableRange {
  readonly from: RestorablePoint
  readonly to: RestorablePoint
  readonly pointsCount: number
  /** `transaction`: every TXID of the range; `merged`: only the ends of merged files. */
  readonly resolution: 'transaction' | 'merged'
}

export interface RestorablePoints {
  /** Oldest first; at most {@link rangesMax}, the newest ones. */
  readonly ranges: readonly RestorableRange[]
  /** The newest ones, newest first. */
  readonly latest: readonly RestorablePoint[]
}

/** The history went on while somebody worked on what was its end. Nothing but an empty slot was written. */
export class HistoryMovedError extends AppError {
  readonly code = 'history_moved'
}

/** Ranges of one answer: with retention a history has two or three, one per kind of file. */
const rangesMax = 200
/** Headers that are read at the same time. */
const headersInFlight = 16
/** Listings that retention may outrun before a look-up gives up. */
const attemptsMax = 5

/** The file to ask for the time of each TXID that can be restored, in ascending order: the smallest that ends there. */
export function restorableFiles(files: readonly LtxFile[]): LtxFile[] {
  const byEnd = [...files].sort((a, b) => a.maxTxid - b.maxTxid || a.minTxid - b.minTxid)
  const found: LtxFile[] = []
  let reached = 0
  for (let at = 0; at < byEnd.length; ) {
    const end = byEnd[at]!.maxTxid
    let smallest = byEnd[at]!
    let isReached = false
    for (; at < byEnd.length && byEnd[at]!.maxTxid === end; at++) {
      const file = byEnd[at]!
      if (file.sizeBytes < smallest.sizeBytes) smallest = file
      // What ends later can only continue from the newest point before it, or start anew as a whole image.
      isReached ||= file.minTxid === 1 || (reached > 0 && file.minTxid <= reached + 1)
    }
    if (!isReached) continue
    found.push(smallest)
    reached = end
  }
  return found
}

/**
 * The last restorable TXID at or before a time. Files never go back in time, so this is a binary search over headers.
 *
 * @returns null when the history begins later, or when nothing of that time can be restored any more.
 */
export async function pointAt(
  at: HistoryLocation,
  timeMs: number,
  signal?: AbortSignal,
): Promise<RestorablePoint | null> {
  return whileFilesGo(async () => {
    const files = restorableFiles(await listLtx(at, signal === undefined ? {} : { signal }))
    let from = 0
    let to = files.length
    let found: RestorablePoint | null = null
    while (from < to) {
      const middle = (from + to) >>> 1
      const point = await pointOf(at, files[middle]!, signal)
      if (point.timestampMs <= timeMs) {
        found = point
        from = middle + 1
      } else to = middle
    }
    return found
  })
}

/** The point of exactly this TXID; null when it cannot be restored. */
export async function pointOfTxid(
  at: HistoryLocation,
  txid: Txid,
  signal?: AbortSignal,
): Promise<RestorablePoint | null> {
  return whileFilesGo(async () => {
    const files = restorableFiles(await listLtx(at, signal === undefined ? {} : { signal }))
    const file = files.find(({ maxTxid }) => maxTxid === txid)
    return file === undefined ? null : pointOf(at, file, signal)
  })
}

/** What can be restored, and the newest `latestMax` points with their times. Reads only the headers it names. */
export async function restorablePoints(
  at: HistoryLocation,
  latestMax: number,
  signal?: AbortSignal,
): Promise<RestorablePoints> {
  return whileFilesGo(async () => {
    const files = restorableFiles(await listLtx(at, signal === undefined ? {} : { signal }))
    const spans = spansOf(files).slice(-rangesMax)
    const wanted = new Set([...spans.flatMap(({ from, to }) => [files[from]!, files[to]!]), ...files.slice(-latestMax)])
    const points = new Map<LtxFile, RestorablePoint>()
    const queue = wanted.values()
    const lane = async () => {
      for (const file of queue) points.set(file, await pointOf(at, file, signal))
    }
    await Promise.all(Array.from({ length: Math.min(headersInFlight, wanted.size) }, lane))
    const latest = latestMax === 0 ? [] : files.slice(-latestMax).map((file) => points.get(file)!)
    return {
      ranges: spans.map(({ from, to, resolution }) => ({
        from: points.get(files[from]!)!,
        to: points.get(files[to]!)!,
        pointsCount: to - from + 1,
        resolution,
      })),
      latest: latest.reverse(),
    }
  })
}

/** Runs of neighbouring points, by index, both ends inclusive. */
function spansOf(files: readonly LtxFile[]): { from: number; to: number; resolution: RestorableRange['resolution'] }[] {
  const spans: { from: number; to: number; resolution: RestorableRange['resolution'] }[] = []
  for (let index = 0; index < files.length; index++) {
    const isNext = index > 0 && files[index]!.maxTxid === files[index - 1]!.maxTxid + 1
    const isFollowed = index + 1 < files.length && files[index + 1]!.maxTxid === files[index]!.maxTxid + 1
    const resolution = isNext || isFollowed ? 'transaction' : 'merged'
    const last = spans.at(-1)
    const goesOn = last !== undefined && last.resolution === resolution && (resolution === 'merged' || isNext)
    if (goesOn) last.to = index
    else spans.push({ from: index, to: index, resolution })
  }
  return spans
}

async function pointOf(at: HistoryLocation, file: LtxFile, signal?: AbortSignal): Promise<RestorablePoint> {
  const { header } = await readTail(at, file, signal)
  return { txid: header.maxTxid, timestampMs: header.timestampMs }
}

/** Retention may remove what was listed: then the answer is looked for once more. */
async function whileFilesGo<T>(look: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await look()
    } catch (error) {
      if (!(error instanceof ObjectNotFoundError) || attempt === attemptsMax) throw error
    }
  }
}

export interface AppendOptions {
  readonly epoch: number
  readonly clock: Clock
  readonly rng: Rng
  readonly signal?: AbortSignal
}

/**
 * Makes the database as of `target` the newest state of the history, as a whole image behind a seal of `epoch`. The
 * database must be closed everywhere; an owner that is not is fenced. Afterwards it is opened as usual.
 *
 * @param options.scratchPath where the old state is rebuilt for a moment; removed in the end. Held in memory whole.
 * @returns the TXID of the new slot.
 */
export async function rollBackTo(
  at: HistoryLocation,
  target: Txid,
  options: AppendOptions & { readonly scratchPath: string },
): Promise<Txid> {
  const { scratchPath, signal } = options
  try {
    await restoreDatabase(at, scratchPath, { target, ...(signal === undefined ? {} : { signal }) })
    return await appendImage(at, scratchPath, options)
  } finally {
    await rm(scratchPath, { force: true })
  }
}

/**
 * Makes a closed database file the newest state of a history, as a whole image behind a seal of `epoch`.
 *
 * @param options.tail what the caller took for the end of the history.
 * @throws HistoryMovedError when it went on since; FencedError and StaleEpochError when another owner is there.
 * @returns the TXID of the new slot.
 */
export async function appendImage(
  at: HistoryLocation,
  imagePath: string,
  options: AppendOptions & { readonly tail?: Txid },
): Promise<Txid> {
  const { epoch, clock, rng, tail } = options
  const signal = options.signal === undefined ? {} : { signal: options.signal }
  // The listing of the tail leaves out what only older states need.
  const { last } = await findTail(at, options.signal)
  const image = await Bun.file(imagePath).bytes()
  const pageSize = pageSizeOf(image)
  const writer = { epoch, incarnation: rng.below(2 ** 32) }
  const sealed = await sealHistory(at, last, { writer, clock, ...signal })
  if (tail !== undefined && sealed.tail.header.maxTxid !== tail)
    throw new HistoryMovedError(`${at.prefix} is at TXID ${sealed.tail.header.maxTxid}, not ${tail}`)
  const { seal } = sealed
  assert(seal.header.pageSize === pageSize, 'page sizes of one history are equal')
  const txid = (seal.header.maxTxid + 1) as Txid
  const header: LtxHeader = {
    ...seal.header,
    commit: image.length / pageSize,
    minTxid: txid,
    maxTxid: txid,
    timestampMs: Math.max(clock.now(), seal.header.timestampMs + 1),
  }
  const file = encodeLtx(header, imagePages(image, pageSize), seal.header.commit)
  if ((await putSlot(at, file, header, signal)) === 'taken') {
    const found = await getSlot(at, txid, signal)
    if (found === null)
      throw new ObjectStoreError(`slot ${txid} of ${at.prefix} is taken and empty`, { retryable: true, status: null })
    if (found.checksum !== file.checksum) throw new FencedError(at.prefix, txid, found.header.writer.epoch)
  }
  return txid
}

/** A closed database file as what a history can begin with; nothing writes to it, and its WAL is empty. */
export function closedSource(path: string): ReplicaSource {
  const image = readFileSync(path)
  return {
    path,
    walPath: `${path}-wal`,
    pageSize: pageSizeOf(image),
    commitSeq: 0,
    onCommit: null,
    exclusively: async (body) => body(),
    checkpoint: () => ({ busy: false, logFrames: 0, checkpointedFrames: 0 }),
    image: () => image,
  }
}

/** Bytes 16 and 17 of a database file, where 1 stands for 65,536. */
export function pageSizeOf(image: Uint8Array): number {
  const size = (image[16]! << 8) | image[17]!
  return size === 1 ? 65_536 : size
}
