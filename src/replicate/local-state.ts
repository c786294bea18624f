// What a node remembers beside a database file, so that it can go on with the file instead of fetching the history. A
// cache: whatever does not match the store, the WAL and this version exactly is thrown away, and the store wins.

import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import type { Txid } from '../lib/brand.ts'
import { errorCode } from '../lib/errors.ts'
import type { WalPosition } from './wal/reader.ts'

const version = 1

/** Up to where the WAL is in the store. */
export interface WalMark {
  readonly position: WalPosition
  /** All of it is in the database file too, so the next write may start the WAL over. */
  readonly isCheckpointed: boolean
}

/** The database file with its WAL up to `mark` is the database at this TXID. */
export interface LocalPoint {
  readonly txid: Txid
  /** File checksum of that TXID in the store. */
  readonly checksum: bigint
  /** null: the WAL was emptied; all of it is newer. */
  readonly mark: WalMark | null
}

/** The point that the store confirmed, then the one that was being sent: after a crash either may be the tail. */
export type LocalState = readonly [LocalPoint] | readonly [LocalPoint, LocalPoint]

export function statePath(dbPath: string): string {
  return `${dbPath}-replica`
}

/** Written before each file is sent. Not fsynced: after a power cut an old one does not match the store any more. */
export function writeLocalState(dbPath: string, state: LocalState): void {
  const path = statePath(dbPath)
  const points = state.map(({ txid, checksum, mark }) => ({ txid, checksum: checksum.toString(16), mark }))
  writeFileSync(`${path}.tmp`, JSON.stringify({ version, points }), { mode: 0o600 })
  renameSync(`${path}.tmp`, path)
}

/** null when there is none, or one of another version or shape. */
export function readLocalState(dbPath: string): LocalState | null {
  let text: string
  try {
    text = readFileSync(statePath(dbPath), 'utf8')
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return null
    throw error
  }
  return decodeLocalState(text)
}

export function removeLocalState(dbPath: string): void {
  rmSync(statePath(dbPath), { force: true })
}

export function decodeLocalState(text: string): LocalState | null {
  let raw: unknown
  try {
    raw = JSON.parse(text)
  } catch {
    return null // half written; the store wins
  }
  if (!isObject(raw) || raw['version'] !== version || !Array.isArray(raw['points'])) return null
  const [first, second, ...more] = raw['points'].map(decodePoint)
  if (!first || second === null || more.length > 0) return null
  return second === undefined ? [first] : [first, second]
}

function decodePoint(raw: unknown): LocalPoint | null {
  if (!isObject(raw)) return null
  const { txid, checksum, mark } = raw
  if (!isCount(txid) || txid < 1 || typeof checksum !== 'string' || !/^[0-9a-f]{1,16}$/.test(checksum)) return null
  const point = { txid: txid as Txid, checksum: BigInt(`0x${checksum}`) }
  if (mark === null) return { ...point, mark: null }
  if (!isObject(mark) || typeof mark['isCheckpointed'] !== 'boolean') return null
  const position = decodePosition(mark['position'])
  return position === null ? null : { ...point, mark: { position, isCheckpointed: mark['isCheckpointed'] } }
}

function decodePosition(raw: unknown): WalPosition | null {
  if (!isObject(raw) || !isObject(raw['checksum'])) return null
  const { salt1, salt2, offset } = raw
  const { s0, s1 } = raw['checksum']
  if (!isCount(salt1) || !isCount(salt2) || !isCount(offset) || !isCount(s0) || !isCount(s1)) return null
  return { salt1, salt2, offset, checksum: { s0, s1 } }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}
