// Names of LTX files in an object store, as official Litestream gives them, and reading and writing them.
//
//   S3          {prefix}/{level, 4 hex digits}/{min, 16 hex digits}-{max}.ltx
//   directory   {prefix}/ltx/{level}/{min}-{max}.ltx
//
// Level 0 holds one file per shipped TXID (a slot), 1 to 8 merges, 9 whole images.

import type { Txid } from '../lib/brand.ts'
import { listEntriesMax } from '../lib/object-store/key.ts'
import { ObjectExistsError, ObjectNotFoundError, type ObjectStore } from '../lib/object-store/object-store.ts'
import { ltxChecksumOf } from './ltx/decoder.ts'
import type { EncodedLtx } from './ltx/encoder.ts'
import { decodeLtxHeader, type LtxHeader, ltxHeaderBytes } from './ltx/header.ts'
import { ltxEndBytesMin } from './ltx/page-index.ts'

export const levelMax = 9
/** Pages of a listing that are read at most: a million files is a fault, not a history. */
const listPagesMax = 1_000

export interface LtxFile {
  readonly level: number
  readonly minTxid: Txid
  readonly maxTxid: Txid
  readonly sizeBytes: number
  /** As the store listed it; exact times are in the headers. */
  readonly modifiedAtMs: number
}

/** A file without pages. */
const sealBytes = ltxHeaderBytes + ltxEndBytesMin

/** Whether a slot is the seal of a takeover, or as empty as one: it may never be deleted. */
export function isSeal(file: Pick<LtxFile, 'level' | 'sizeBytes'>): boolean {
  return file.level === 0 && file.sizeBytes <= sealBytes
}

/** One database's history in a store. */
export interface HistoryLocation {
  readonly store: ObjectStore
  /** Never shared with another database, never empty, without a slash at its end. */
  readonly prefix: string
}

const namePattern = /^([0-9a-f]{16})-([0-9a-f]{16})\.ltx$/

export function ltxName(minTxid: Txid, maxTxid: Txid): string {
  return `${hex16(minTxid)}-${hex16(maxTxid)}.ltx`
}

/** null for names that are none of ours. */
export function parseLtxName(name: string): { readonly minTxid: Txid; readonly maxTxid: Txid } | null {
  const match = namePattern.exec(name)
  if (match === null) return null
  const minTxid = Number.parseInt(match[1]!, 16)
  const maxTxid = Number.parseInt(match[2]!, 16)
  if (!Number.isSafeInteger(maxTxid) || minTxid < 1 || minTxid > maxTxid) return null
  return { minTxid: minTxid as Txid, maxTxid: maxTxid as Txid }
}

export function levelPrefix(at: HistoryLocation, level: number): string {
  return at.store.layout === 'file'
    ? `${at.prefix}/ltx/${level}/`
    : `${at.prefix}/${level.toString(16).padStart(4, '0')}/`
}

export function ltxKey(at: HistoryLocation, file: Pick<LtxFile, 'level' | 'minTxid' | 'maxTxid'>): string {
  return levelPrefix(at, file.level) + ltxName(file.minTxid, file.maxTxid)
}

export function slotKey(at: HistoryLocation, txid: Txid): string {
  return ltxKey(at, { level: 0, minTxid: txid, maxTxid: txid })
}

/** Writes a TXID's file into its slot, create-only and in one request, which makes the slot the lock of the history. */
export async function putSlot(
  at: HistoryLocation,
  file: EncodedLtx,
  header: LtxHeader,
  options: { readonly signal?: AbortSignal } = {},
): Promise<'created' | 'taken'> {
  try {
    await at.store.put(slotKey(at, header.maxTxid), file.bytes, {
      createOnly: true,
      metadata: { 'litestream-timestamp': new Date(header.timestampMs).toISOString() },
      ...options,
    })
    return 'created'
  } catch (error) {
    if (error instanceof ObjectExistsError) return 'taken'
    throw error
  }
}

/** A slot's whole file with its header; null when nobody took it. */
export async function getSlot(
  at: HistoryLocation,
  txid: Txid,
  options: { readonly signal?: AbortSignal } = {},
): Promise<{ readonly bytes: Uint8Array; readonly header: LtxHeader; readonly checksum: bigint } | null> {
  try {
    const bytes = await at.store.get(slotKey(at, txid), options)
    return { bytes, header: decodeLtxHeader(bytes), checksum: ltxChecksumOf(bytes) }
  } catch (error) {
    if (error instanceof ObjectNotFoundError) return null
    throw error
  }
}

/**
 * All files of the history, in no order, by one listing; foreign objects are passed over.
 */
export async function listLtx(
  at: HistoryLocation,
  options: { readonly signal?: AbortSignal } = {},
): Promise<LtxFile[]> {
  return (await listUnder(at, rootPrefix(at), { ...options, pagesMax: listPagesMax })).files
}

/** All files of a history that one page of a listing holds; null when there are more. */
export async function listShort(
  at: HistoryLocation,
  options: { readonly signal?: AbortSignal } = {},
): Promise<LtxFile[] | null> {
  const { files, isComplete } = await listUnder(at, rootPrefix(at), { ...options, pagesMax: 1 })
  return isComplete ? files : null
}

/** Enough files to restore the newest state: all of a short history, else what {@link listByLevel} finds. */
export async function listNewest(
  at: HistoryLocation,
  options: { readonly signal?: AbortSignal } = {},
): Promise<LtxFile[]> {
  return (await listShort(at, options)) ?? (await listByLevel(at, options))
}

/**
 * Of a long history, on each level from the top only what lies behind the levels above, which merges keep to a few pages.
 * Official levels may overlap in ways that leave a gap here: then only {@link listLtx} can tell.
 *
 * @param options.since slots from this one on are listed too, unless that is more than a page.
 */
export async function listByLevel(
  at: HistoryLocation,
  options: { readonly since?: Txid | null; readonly signal?: AbortSignal } = {},
): Promise<LtxFile[]> {
  const { since = null, ...rest } = options
  const files: LtxFile[] = []
  let reached = 0 as Txid
  for (let level = levelMax; level >= 0; level--) {
    const from = level === 0 ? slotsFrom((reached + 1) as Txid, since) : ((reached + 1) as Txid)
    const prefix = levelPrefix(at, level)
    const after = prefix + nameBefore(from)
    const { files: found } = await listUnder(at, prefix, { ...rest, after, pagesMax: listPagesMax })
    files.push(...found)
    for (const file of found.sort((a, b) => a.minTxid - b.minTxid || b.maxTxid - a.maxTxid))
      if (file.minTxid <= reached + 1 && file.maxTxid > reached) reached = file.maxTxid
  }
  return files
}

/**
 * The files of one level behind a name, in their order.
 *
 * @param after null: from its first one on.
 * @returns null when one page does not hold them.
 */
export async function listLevelPage(
  at: HistoryLocation,
  level: number,
  after: string | null,
  options: { readonly signal?: AbortSignal } = {},
): Promise<LtxFile[] | null> {
  const prefix = levelPrefix(at, level)
  const behind = after === null ? {} : { after: prefix + after }
  const { files, isComplete } = await listUnder(at, prefix, { ...options, ...behind, pagesMax: 1 })
  return isComplete ? files : null
}

/** Where a listing of slots begins that should hold those from `from` on, and from `since` on if that is not much more. */
export function slotsFrom(from: Txid, since: Txid | null): Txid {
  return since !== null && since < from && from - since < listEntriesMax ? since : from
}

/** Sorts behind the names of all files that start before a TXID, and before those that start with it. */
export function nameBefore(txid: Txid): string {
  return `${hex16((txid - 1) as Txid)}.` // '.' comes right behind the '-' of names
}

function rootPrefix(at: HistoryLocation): string {
  return at.store.layout === 'file' ? `${at.prefix}/ltx/` : `${at.prefix}/`
}

async function listUnder(
  at: HistoryLocation,
  prefix: string,
  options: { readonly after?: string; readonly pagesMax: number; readonly signal?: AbortSignal },
): Promise<{ readonly files: LtxFile[]; readonly isComplete: boolean }> {
  const { after, pagesMax, signal } = options
  const root = rootPrefix(at)
  const files: LtxFile[] = []
  let next: string | null = null
  for (let page = 0; page < pagesMax; page++) {
    const answer = await at.store.list({
      prefix,
      next,
      ...(after === undefined || next !== null ? {} : { after }),
      ...(signal === undefined ? {} : { signal }),
    })
    for (const { key, sizeBytes, modifiedAtMs } of answer.objects) {
      const [folder, name, ...deeper] = key.slice(root.length).split('/')
      const level = levelOf(at, folder!)
      const range = name === undefined || deeper.length > 0 ? null : parseLtxName(name)
      if (level !== null && range !== null) files.push({ level, ...range, sizeBytes, modifiedAtMs })
    }
    next = answer.next
    if (next === null) return { files, isComplete: true }
  }
  if (pagesMax === listPagesMax) throw new Error(`${prefix} lists more than ${listPagesMax} pages`)
  return { files, isComplete: false }
}

function levelOf(at: HistoryLocation, folder: string): number | null {
  const pattern = at.store.layout === 'file' ? /^[0-9]$/ : /^000[0-9]$/
  return pattern.test(folder) ? Number(folder) : null
}

function hex16(txid: Txid): string {
  return txid.toString(16).padStart(16, '0')
}
