// A whole image of a small database in place of its many slots, made from the file that its owner has just closed: no other
// moment gives it for one request. Opening it then takes four: a listing, the tail, the seal, the image.

import { readFileSync } from 'node:fs'
import { ObjectExistsError } from '../lib/object-store/object-store.ts'
import { cleanPoint } from './catch-up.ts'
import { checkFile } from './check-file.ts'
import { checksumText, type HistoryManifest } from './history-manifest.ts'
import { type EncodedLtx, encodeLtx, imagePages } from './ltx/encoder.ts'
import type { LtxHeader } from './ltx/header.ts'
import { type HistoryLocation, isSeal, levelMax, ltxKey } from './ltx-store.ts'

/** Of the database: checking and encoding it takes some milliseconds of everybody's time. */
const imageBytesMax = 2 << 20
/** Slots with pages behind the last image, from which on one is worth its request. */
const slotsMin = 2

/** Whether the plan of a manifest should be one file. */
export function wantsClosingImage({ files, commit, pageSize }: HistoryManifest): boolean {
  const slots = files.slice(1).filter((each) => !isSeal(each))
  return slots.length >= slotsMin && commit * pageSize <= imageBytesMax
}

/**
 * The image of a closed database. No connection to it may be open in this process: reading it would drop its locks.
 *
 * @returns null unless the file is known to be the database at the tail of `manifest`, with nothing in its WAL.
 * @throws DamagedDatabaseError when the disk has damaged it: the slots are sound, and an image would take their place.
 */
export function closingImage(manifest: HistoryManifest, dbPath: string): ClosingImage | null {
  const { tail, pageSize, commit } = manifest
  const point = cleanPoint(dbPath)
  if (point === null || point.mark !== null) return null
  if (point.txid !== tail.txid || checksumText(point.checksum) !== tail.checksum) return null
  const image = readFileSync(dbPath)
  if (image.length !== commit * pageSize) return null
  checkFile(dbPath, 'quick')
  const header: LtxHeader = {
    pageSize,
    commit,
    minTxid: 1 as LtxHeader['minTxid'],
    maxTxid: tail.txid,
    timestampMs: tail.timestampMs,
    walOffset: 32,
    walSize: 0,
    walSalt1: 0,
    walSalt2: 0,
    writer: { epoch: 0, incarnation: 0 }, // whoever makes it, it is the same
  }
  return { header, file: encodeLtx(header, imagePages(image, pageSize), commit) }
}

export interface ClosingImage {
  readonly header: LtxHeader
  readonly file: EncodedLtx
}

/** One that is there stays: a merge made it of the slots themselves, and somebody may be reading it in pieces. */
export async function putClosingImage(at: HistoryLocation, { header, file }: ClosingImage): Promise<void> {
  const { minTxid, maxTxid, timestampMs } = header
  const metadata = { 'litestream-timestamp': new Date(timestampMs).toISOString() }
  try {
    await at.store.put(ltxKey(at, { level: levelMax, minTxid, maxTxid }), file.bytes, { metadata, createOnly: true })
  } catch (error) {
    if (!(error instanceof ObjectExistsError)) throw error
  }
}
