// What somebody still needs of a history, whatever its age: a restore under way on another node, a named backup. One small
// object each, so that every node sees it and nobody overwrites another's.
//
//   {prefix}/keep/{name}.json   {"version":1,"untilMs":…|null,"points":[…],"files":[[level,min,max],…]}

import type { Txid } from '../lib/brand.ts'
import { fromUtf8, utf8 } from '../lib/bytes.ts'
import { ObjectNotFoundError } from '../lib/object-store/object-store.ts'
import { isTxid } from './history-manifest.ts'
import { type HistoryLocation, levelMax } from './ltx-store.ts'
import type { PlannedFile } from './restore-plan.ts'
import type { Held } from './retention.ts'

const version = 1
/** Reservations of one history that are read; more of them keep everything. */
const reservationsMax = 1_000
/** Files of one reservation: a restore that needs more should merge first. */
const filesMax = 100_000
const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9._-]{0,127}$/

export interface Reservation {
  /** Letters, digits, dot, dash, underscore; whoever uses it again replaces it. */
  readonly name: string
  /** null: until it is released. */
  readonly untilMs: number | null
  /** States that must stay restorable. */
  readonly points: readonly Txid[]
  /** Files that are being read. */
  readonly files: readonly PlannedFile[]
}

/** Writes it; from the next look of a retention pass on it holds. */
export async function reserve(at: HistoryLocation, reservation: Reservation, signal?: AbortSignal): Promise<void> {
  const { name, untilMs, points, files } = reservation
  if (files.length > filesMax) throw new RangeError(`a reservation of ${files.length} files`)
  const encoded = files.map(({ level, minTxid, maxTxid }) => [level, minTxid, maxTxid])
  const body = utf8(JSON.stringify({ version, untilMs, points, files: encoded }))
  await at.store.put(reservationKey(at, name), body, signal === undefined ? {} : { signal })
}

/** Releasing what is not there is no error. */
export async function release(at: HistoryLocation, name: string, signal?: AbortSignal): Promise<void> {
  await at.store.delete([reservationKey(at, name)], signal === undefined ? {} : { signal })
}

/**
 * Everything that is reserved now; what has run out is deleted.
 *
 * @returns null when there is one that cannot be read, or too many: then nothing may be deleted.
 */
export async function readReservations(at: HistoryLocation, nowMs: number, signal?: AbortSignal): Promise<Held | null> {
  const options = signal === undefined ? {} : { signal }
  const points: Txid[] = []
  const files: PlannedFile[] = []
  const { objects, next } = await at.store.list({ prefix: `${at.prefix}/keep/`, ...options })
  if (next !== null || objects.length > reservationsMax) return null
  for (const { key } of objects) {
    let text: string
    try {
      text = fromUtf8(await at.store.get(key, options))
    } catch (error) {
      if (error instanceof ObjectNotFoundError) continue // released meanwhile
      throw error
    }
    const found = decode(text)
    if (found === null) return null
    if (found.untilMs !== null && found.untilMs <= nowMs) {
      await at.store.delete([key], options)
      continue
    }
    points.push(...found.points)
    files.push(...found.files)
  }
  return { points, files }
}

function reservationKey(at: HistoryLocation, name: string): string {
  if (!namePattern.test(name)) throw new RangeError(`a reservation cannot be named ${JSON.stringify(name)}`)
  return `${at.prefix}/keep/${name}.json`
}

function decode(text: string): Omit<Reservation, 'name'> | null {
  let raw: unknown
  try {
    raw = JSON.parse(text)
  } catch {
    return null
  }
  const { version: found, untilMs, points, files } = (raw ?? {}) as Record<string, unknown>
  if (found !== version || (untilMs !== null && !Number.isSafeInteger(untilMs))) return null
  if (!Array.isArray(points) || !points.every(isTxid) || !Array.isArray(files) || files.length > filesMax) return null
  const decoded: PlannedFile[] = []
  for (const each of files as readonly unknown[]) {
    if (!Array.isArray(each)) return null
    const [level, minTxid, maxTxid] = each as readonly unknown[]
    if (!isTxid(minTxid) || !isTxid(maxTxid)) return null
    if (!Number.isSafeInteger(level) || (level as number) < 0 || (level as number) > levelMax) return null
    decoded.push({ level: level as number, minTxid, maxTxid })
  }
  return { untilMs: untilMs as number | null, points, files: decoded }
}
