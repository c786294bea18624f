// One capture: everything committed since a mark, as the content of the next LTX file. Runs while writers are kept out.

import { type FileHandle, open } from 'node:fs/promises'
import type { Txid } from '../lib/brand.ts'
import { errorCode } from '../lib/errors.ts'
import type { WalMark } from './local-state.ts'
import { imagePages } from './ltx/encoder.ts'
import { type LtxHeader, lockPgno } from './ltx/header.ts'
import type { ReplicaSource } from './source.ts'
import { captureWal, type WalCapture, type WalPosition } from './wal/reader.ts'

export interface Capture {
  readonly pages: ReadonlyMap<number, Uint8Array>
  /** Size of the database in pages; 0 when nothing was committed since the mark. */
  readonly commit: number
  /** The frames, or null when `pages` is a whole image. */
  readonly frames: { readonly from: WalPosition; readonly to: WalPosition } | null
  /** Where the next capture starts; null: at the start of the WAL. */
  readonly mark: WalMark | null
}

/**
 * @param mark up to where the WAL was captured; null when all of the WAL is newer.
 * @param previousCommit size in pages as of the mark.
 */
export async function capture(source: ReplicaSource, mark: WalMark | null, previousCommit: number): Promise<Capture> {
  const file = await openWal(source.walPath)
  if (file === null) return mark === null || mark.isCheckpointed ? nothing(mark) : wholeImage(source, null)
  try {
    const read = await captureWal(file, mark?.position ?? null)
    if (read.type === 'frames') return fromFrames(source, read, mark, previousCommit)
    if (mark === null || (mark.isCheckpointed && read.type === 'empty')) return nothing(mark)
    const fresh = await captureWal(file, null)
    // A complete checkpoint of ours lets the next write start over, with the next salt. Any other WAL is not known to
    // follow ours, so the whole image goes up.
    const isSuccessor =
      mark.isCheckpointed && fresh.type === 'frames' && fresh.header.salt1 === (mark.position.salt1 + 1) >>> 0
    if (isSuccessor) return fromFrames(source, fresh, null, previousCommit)
    return wholeImage(source, fresh.type === 'frames' ? { position: fresh.to, isCheckpointed: false } : null)
  } finally {
    await file.close()
  }
}

/**
 * What the WAL holds behind a position, for those who follow the same WAL beside the shipper.
 *
 * @returns null when the WAL does not go on from there: it was started over, which happens only to one that the store has.
 */
export async function captureBehind(
  source: ReplicaSource,
  position: WalPosition,
  previousCommit: number,
): Promise<Capture | null> {
  const file = await openWal(source.walPath)
  if (file === null) return null
  try {
    const read = await captureWal(file, position)
    return read.type === 'frames' ? fromFrames(source, read, { position, isCheckpointed: false }, previousCommit) : null
  } finally {
    await file.close()
  }
}

/** The header of the LTX file that holds a capture. */
export function headerOf(
  captured: Capture,
  facts: Pick<LtxHeader, 'pageSize' | 'timestampMs' | 'writer'> & { readonly txid: Txid },
): LtxHeader {
  const { pageSize, timestampMs, writer, txid } = facts
  const { frames, mark } = captured
  // A whole image names the place in the WAL that it includes, with no frame of it: so files keep their order.
  const at = frames?.from ?? mark?.position ?? null
  return {
    pageSize,
    commit: captured.commit,
    minTxid: txid,
    maxTxid: txid,
    timestampMs,
    walOffset: at?.offset ?? 32,
    walSize: frames === null ? 0 : frames.to.offset - frames.from.offset,
    walSalt1: at?.salt1 ?? 0,
    walSalt2: at?.salt2 ?? 0,
    writer,
  }
}

/** The whole database with the mark behind the newest commit, for the first file of a history. */
export async function captureImage(source: ReplicaSource): Promise<Capture> {
  const file = await openWal(source.walPath)
  if (file === null) return wholeImage(source, null)
  try {
    const read = await captureWal(file, null)
    return wholeImage(source, read.type === 'frames' ? { position: read.to, isCheckpointed: false } : null)
  } finally {
    await file.close()
  }
}

function fromFrames(
  source: ReplicaSource,
  read: Extract<WalCapture, { type: 'frames' }>,
  mark: WalMark | null,
  previousCommit: number,
): Capture {
  if (read.commit === 0) return nothing(mark)
  fillGrowth(read.pages, read.commit, previousCommit, source)
  return {
    pages: read.pages,
    commit: read.commit,
    frames: { from: read.from, to: read.to },
    mark: { position: read.to, isCheckpointed: false },
  }
}

/**
 * Adds pages by which the database grew but that the WAL does not hold: a reader would fail without them or take stale
 * ones. SQLite may leave out a page that went straight to the free list.
 */
export function fillGrowth(
  pages: Map<number, Uint8Array>,
  commit: number,
  previousCommit: number,
  source: Pick<ReplicaSource, 'image' | 'pageSize'>,
): void {
  let image: Uint8Array | null = null
  const pageSize = source.pageSize
  const lock = lockPgno(pageSize)
  for (let pgno = previousCommit + 1; pgno <= commit; pgno++) {
    if (pages.has(pgno) || pgno === lock) continue
    image ??= source.image()
    pages.set(pgno, image.slice((pgno - 1) * pageSize, pgno * pageSize))
  }
}

function wholeImage(source: ReplicaSource, mark: WalMark | null): Capture {
  const image = source.image()
  const pageSize = source.pageSize
  return { pages: imagePages(image, pageSize), commit: image.length / pageSize, frames: null, mark }
}

function nothing(mark: WalMark | null): Capture {
  return { pages: new Map(), commit: 0, frames: null, mark }
}

async function openWal(path: string): Promise<FileHandle | null> {
  try {
    return await open(path, 'r')
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return null
    throw error
  }
}
