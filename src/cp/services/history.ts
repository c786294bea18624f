// What the object store knows about a tenant that this control plane does not: its identity, its highest epoch, who stood by
// for it, and whether another program writes it.

import { type AckMode, ackModes, type TenantLimits } from '../../ipc/messages/tenant.ts'
import {
  decodeStandbyFacts,
  decodeStandbyRecord,
  epochOfRecord,
  type StandbyFacts,
  type StandbyRecord,
  standbyRecordsPrefix,
} from '../../ipc/standby-record.ts'
import { isSlug, isTenantId, type TenantId, type Txid } from '../../lib/brand.ts'
import { fromUtf8 } from '../../lib/bytes.ts'
import { AppError } from '../../lib/errors.ts'
import { ObjectNotFoundError, type ObjectStore } from '../../lib/object-store/object-store.ts'
import { decodeLtxHeader, ltxHeaderBytes } from '../../replicate/ltx/header.ts'
import { type HistoryLocation, listLtx, ltxKey } from '../../replicate/ltx-store.ts'

/** What `manifest.json` says about who the tenant is; what it does not say is null. */
export interface TenantIdentity {
  readonly id: TenantId
  readonly slug: string
  readonly domains: readonly string[]
  readonly plan: string | null
  readonly ackMode: AckMode | null
  readonly limits: TenantLimits | null
  readonly createdAtMs: number | null
  readonly keepEveryMs: number | null
  readonly lossBoundMs: number | null
  readonly onStoreOutage: 'spool' | 'refuse' | null
  readonly region: string | null
  readonly isKeptWarm: boolean
  readonly isSuspended: boolean
  /** It was handed over to another program, which may write its histories. */
  readonly isHandedOver: boolean
  readonly standbys: StandbyFacts | null
  /** The highest that any part of the manifest tells; 0: it tells none. */
  readonly highestEpoch: number
}

/** Where the histories of a tenant end. */
export interface TenantTails {
  /** The highest epoch at the tail of any of its databases. */
  readonly highestEpoch: number
  readonly data: HistoryTail
}

export interface HistoryTail {
  readonly txid: Txid
  /** Of the writer of the newest slot; 0: it was none of ours. */
  readonly epoch: number
}

export interface TenantHistory {
  /** By id, or by slug (which reads every manifest); null when no such tenant lies in the store. */
  find(reference: string): Promise<TenantIdentity | null>
  /** The highest epoch on whose path there is a history; 0 when they lie on the path without one. */
  replicaEpoch(id: TenantId): Promise<number>
  /** Throws HistoryMissingError when `data.db` has none. */
  tails(id: TenantId, replicaEpoch: number): Promise<TenantTails>
  /** The newest record of its standbys; null when there is none. Throws StandbyRecordError when it cannot be read. */
  standbyRecord(id: TenantId): Promise<StandbyRecord | null>
}

/** The manifest is there and the history is not: adopting it would serve an empty database as if it were the tenant. */
export class HistoryMissingError extends AppError {
  readonly code = 'history_missing'
}

/** Who stood by cannot be read: whoever goes on without them may lose what only they hold. */
export class StandbyRecordError extends AppError {
  readonly code = 'bad_standby_record'
}

export class ManifestError extends AppError {
  readonly code = 'bad_manifest'
}

const databases = ['data.db', 'auxiliary.db', 'hooks.db'] as const
/** Manifests read at once while looking for a slug. */
const searchConcurrency = 16
/** As long as the name of one may be when a tenant is made. */
const regionLengthMax = 64

export function tenantHistory(store: ObjectStore, objectPrefix: string): TenantHistory {
  const root = objectPrefix === '' ? 't/' : `${objectPrefix}/t/`
  const identityOf = async (id: TenantId): Promise<TenantIdentity | null> => {
    try {
      return parseIdentity(id, fromUtf8(await store.get(`${root}${id}/manifest.json`)))
    } catch (error) {
      if (error instanceof ObjectNotFoundError) return null
      throw error
    }
  }
  return {
    async find(reference) {
      if (isTenantId(reference)) {
        const found = await identityOf(reference)
        if (found !== null) return found
      }
      if (!isSlug(reference)) return null
      let newest: TenantIdentity | null = null
      for await (const ids of tenantIds(store, root))
        for (let at = 0; at < ids.length; at += searchConcurrency) {
          const part = await Promise.all(ids.slice(at, at + searchConcurrency).map(identityOf))
          // A slug may have belonged to a deleted tenant before: the newest one is meant.
          for (const each of part)
            if (each?.slug === reference && (each.createdAtMs ?? 0) >= (newest?.createdAtMs ?? 0)) newest = each
        }
      return newest
    },
    async replicaEpoch(id) {
      let highest = 0
      let next: string | null = null
      // `data.db` is copied last: where it is, the others are.
      const prefix = `${root}${id}/data.db/`
      do {
        const page: Awaited<ReturnType<ObjectStore['list']>> = await store.list({ prefix, delimiter: '/', next })
        for (const each of page.prefixes) {
          const epoch = Number(/^e([1-9]\d{0,9})\/$/.exec(each.slice(prefix.length))?.[1] ?? 0)
          if (epoch > highest) highest = epoch
        }
        next = page.next
      } while (next !== null)
      return highest
    },
    async tails(id, replicaEpoch) {
      let highestEpoch = replicaEpoch
      let data: HistoryTail | null = null
      for (const database of databases) {
        const path = replicaEpoch === 0 ? database : `${database}/e${replicaEpoch}`
        const at: HistoryLocation = { store, prefix: `${root}${id}/${path}` }
        const tail = await tailOf(at)
        if (database === 'data.db') data = tail
        highestEpoch = Math.max(highestEpoch, tail?.epoch ?? 0)
      }
      if (data === null) throw new HistoryMissingError(`tenant ${id} has a manifest but no history of data.db`)
      return { highestEpoch, data }
    },
    async standbyRecord(id) {
      const prefix = `${root}${id}`
      // Earlier ones are deleted; a page holds a thousand.
      const { objects } = await store.list({ prefix: standbyRecordsPrefix(prefix) })
      const newest = objects.findLast(({ key }) => epochOfRecord(prefix, key) !== null)
      if (newest === undefined) return null
      const record = decodeStandbyRecord(await store.get(newest.key))
      if (record === null || record.epoch !== epochOfRecord(prefix, newest.key))
        throw new StandbyRecordError(`${newest.key} cannot be read`)
      return record
    },
  }
}

async function* tenantIds(store: ObjectStore, root: string): AsyncGenerator<TenantId[]> {
  let next: string | null = null
  do {
    const page: Awaited<ReturnType<ObjectStore['list']>> = await store.list({ prefix: root, delimiter: '/', next })
    yield page.prefixes.map((prefix) => prefix.slice(root.length, -1)).filter(isTenantId)
    next = page.next
  } while (next !== null)
}

/** Epochs never fall along a history of ours. Null when there is no file. */
async function tailOf(at: HistoryLocation): Promise<HistoryTail | null> {
  const files = (await listLtx(at)).sort((a, b) => b.maxTxid - a.maxTxid || a.level - b.level)
  const tail = files[0]
  if (tail === undefined) return null
  // Merged files drop the writer; the newest slot of level 0 keeps it.
  const slot = files.find(({ level, maxTxid }) => level === 0 && maxTxid <= (tail.maxTxid as Txid)) ?? tail
  const bytes = await at.store.get(ltxKey(at, slot), { range: { from: 0, to: ltxHeaderBytes } })
  return { txid: tail.maxTxid, epoch: decodeLtxHeader(bytes).writer.epoch }
}

function parseIdentity(id: TenantId, body: string): TenantIdentity {
  let parsed: unknown
  try {
    parsed = JSON.parse(body)
  } catch (cause) {
    throw new ManifestError(`the manifest of tenant ${id} is not JSON`, { cause })
  }
  const manifest = asRecord(parsed)
  const tenant = asRecord(manifest['tenant'] ?? manifest['identity'])
  const { slug, domains, plan, ackMode, limits, createdAtMs, keepEveryMs, lossBoundMs, onStoreOutage, region } = tenant
  const standbys = decodeStandbyFacts(manifest['standbys'])
  const epochs = Object.values(asRecord(manifest['databases'])).map((each) => countOf(asRecord(each)['epoch']) ?? 0)
  if (typeof slug !== 'string' || !isSlug(slug) || tenant['id'] !== id)
    throw new ManifestError(`the manifest of tenant ${id} does not name its tenant`)
  return {
    id,
    slug,
    domains: Array.isArray(domains) ? domains.filter((each): each is string => typeof each === 'string') : [],
    plan: typeof plan === 'string' ? plan : null,
    ackMode: ackModes.find((mode) => mode === ackMode) ?? null,
    limits: parseLimits(limits),
    createdAtMs: countOf(createdAtMs),
    keepEveryMs: countOf(keepEveryMs) || null,
    lossBoundMs: countOf(lossBoundMs),
    onStoreOutage: onStoreOutage === 'spool' || onStoreOutage === 'refuse' ? onStoreOutage : null,
    region: typeof region === 'string' && region.length <= regionLengthMax ? region : null,
    isKeptWarm: tenant['isKeptWarm'] === true,
    isSuspended: tenant['status'] === 'suspended',
    isHandedOver: tenant['isHandedOver'] === true,
    standbys,
    highestEpoch: Math.max(0, standbys?.recordEpoch ?? 0, ...epochs),
  }
}

function countOf(value: unknown): number | null {
  return Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) : null
}

function asRecord(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}

function parseLimits(value: unknown): TenantLimits | null {
  const { storageBytesMax, apiRequestsPerDayMax, realtimeConnectionsMax, queryMsMax } = asRecord(value)
  const isCount = (each: unknown): each is number => countOf(each) !== null
  const isLimit = (each: unknown): each is number | null => each === null || isCount(each)
  if (!isLimit(storageBytesMax) || !isLimit(apiRequestsPerDayMax) || !isLimit(realtimeConnectionsMax)) return null
  return isCount(queryMsMax) ? { storageBytesMax, apiRequestsPerDayMax, realtimeConnectionsMax, queryMsMax } : null
}
