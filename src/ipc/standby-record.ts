// Who stands by for a tenant, as its owner leaves it in the object store before any of them confirms a write: a control plane
// that knows nothing of the tenant asks those whom the lost one would have asked. One object an epoch, never overwritten,
// so that no late write of an older owner hides what a newer one left. See `docs/formats/standbys.md`.

import { type Epoch, isNodeId, type NodeId, type Txid } from '../lib/brand.ts'
import { fromUtf8, utf8 } from '../lib/bytes.ts'
import { standbySetsMax, standbysMax } from './messages/tenant.ts'

const standbyRecordVersion = 1
/** Larger ones are none of ours, bytes. */
const recordBytesMax = 64 << 10
const epochMax = 0xffff_ffff

/** The sets of a placement, oldest first: standbys count from their epoch on, until the next set. */
export interface StandbyRecord {
  /** Of the owner that wrote it. */
  readonly epoch: Epoch
  readonly sets: readonly { readonly epoch: Epoch; readonly nodeIds: readonly NodeId[] }[]
}

/** What the manifest of a tenant says beside the records. */
export interface StandbyFacts {
  /** The highest epoch with a record; null: no standby ever confirmed a write. */
  readonly recordEpoch: Epoch | null
  /**
   * Where `data.db` ended when its owner closed it with everything in the store, and that owner's epoch. As long as the history
   * ends there, no standby has anything; null: not known.
   */
  readonly settled: { readonly txid: Txid; readonly epoch: Epoch } | null
}

/** Of a tenant that nobody has opened. */
export const noStandbys: StandbyFacts = { recordEpoch: null, settled: null }

/** @param tenantPrefix everything of the tenant lies below it; no slash at its end. */
export function standbyRecordsPrefix(tenantPrefix: string): string {
  return `${tenantPrefix}/standbys/`
}

export function standbyRecordKey(tenantPrefix: string, epoch: Epoch): string {
  return `${standbyRecordsPrefix(tenantPrefix)}${epoch.toString(16).padStart(8, '0')}.json`
}

/** The epoch that a key below the prefix names; null for what is no record. */
export function epochOfRecord(tenantPrefix: string, key: string): Epoch | null {
  const name = /^([0-9a-f]{8})\.json$/.exec(key.slice(standbyRecordsPrefix(tenantPrefix).length))?.[1]
  const epoch = name === undefined ? 0 : Number.parseInt(name, 16)
  return epoch === 0 ? null : (epoch as Epoch)
}

export function encodeStandbyRecord({ epoch, sets }: StandbyRecord): Uint8Array {
  return utf8(JSON.stringify({ version: standbyRecordVersion, epoch, sets }))
}

/** null for bytes that are no such record: then nobody knows who stood by. */
export function decodeStandbyRecord(bytes: Uint8Array): StandbyRecord | null {
  if (bytes.length > recordBytesMax) return null
  let raw: unknown
  try {
    raw = JSON.parse(fromUtf8(bytes))
  } catch {
    return null
  }
  const { version, epoch, sets } = asRecord(raw)
  if (version !== standbyRecordVersion || !isEpoch(epoch) || !Array.isArray(sets)) return null
  if (sets.length > standbySetsMax) return null
  const decoded: StandbyRecord['sets'][number][] = []
  for (const each of sets) {
    const { epoch: from, nodeIds } = asRecord(each)
    if (!isEpoch(from) || from > epoch || from <= (decoded.at(-1)?.epoch ?? 0)) return null
    if (!Array.isArray(nodeIds) || nodeIds.length > standbysMax || !nodeIds.every(isStandby)) return null
    decoded.push({ epoch: from, nodeIds })
  }
  return { epoch, sets: decoded }
}

/** Of the manifest; null where it says nothing of standbys, as those of older versions. */
export function decodeStandbyFacts(value: unknown): StandbyFacts | null {
  const { recordEpoch, settled } = asRecord(value)
  if (recordEpoch !== null && !isEpoch(recordEpoch)) return null
  const { txid, epoch } = asRecord(settled)
  const isSettled = Number.isSafeInteger(txid) && (txid as number) >= 1 && isEpoch(epoch)
  return { recordEpoch, settled: isSettled ? { txid: txid as Txid, epoch } : null }
}

function isEpoch(value: unknown): value is Epoch {
  return Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= epochMax
}

function isStandby(value: unknown): value is NodeId {
  return typeof value === 'string' && isNodeId(value)
}

function asRecord(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}
