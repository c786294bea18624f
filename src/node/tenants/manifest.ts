// `t/{tenantId}/manifest.json`: who a tenant is and where its histories stand, so that a fleet that lost its control plane
// can adopt it again and the next owner's upkeep goes on. A cache of facts, never the truth about what is stored: every
// part but the identity may be missing. See `docs/formats/manifest.md`.

import type { TenantSpec } from '../../ipc/messages/tenant.ts'
import { decodeStandbyFacts, type StandbyFacts } from '../../ipc/standby-record.ts'
import { isTenantId, type TenantId, type Txid } from '../../lib/brand.ts'
import { equalBytes, fromUtf8, utf8 } from '../../lib/bytes.ts'
import { ObjectNotFoundError, type ObjectStore } from '../../lib/object-store/object-store.ts'
import type { ReadManifest } from '../../replicate/history.ts'
import { decodeHistoryManifest, encodeHistoryManifest, type HistoryManifest } from '../../replicate/history-manifest.ts'
import { type DatabaseName, databaseNames } from './tenant-files.ts'

/** 1 held the identity alone. */
export const manifestVersion = 2
/** Larger ones are no manifests of ours, bytes. */
const manifestBytesMax = 4 << 20

/** What a tenant's manifest says beside its identity. */
export interface TenantFacts {
  readonly databases: Readonly<Partial<Record<DatabaseName, HistoryManifest>>>
  /** Whether any hook was enabled, as of a TXID of `hooks.db`; says nothing about any other TXID. */
  readonly hooks: { readonly anyEnabled: boolean; readonly txid: Txid } | null
  /** When a closed tenant must be opened for a cron job, ms since the Unix epoch; null for never. */
  readonly nextCronAtMs: number | null
  /** When the uploads were last compared with the records; null before the first time. */
  readonly filesListedAtMs: number | null
  /** The tenant and the moment that this is a fork of; nothing is read from there any more. */
  readonly lineage: { readonly tenantId: TenantId; readonly atMs: number } | null
  /** null: written by a version that left no records of standbys, so there may have been any. */
  readonly standbys: StandbyFacts | null
}

export const noFacts: TenantFacts = {
  databases: {},
  hooks: null,
  nextCronAtMs: null,
  filesListedAtMs: null,
  lineage: null,
  standbys: null,
}

interface ManifestPlace {
  readonly store: ObjectStore
  readonly objectPrefix: string
}

/** Everything of a tenant lies below this; no slash at its end. */
export function tenantPrefix(objectPrefix: string, id: TenantId): string {
  return objectPrefix === '' ? `t/${id}` : `${objectPrefix}/t/${id}`
}

/** The tenant that a key or prefix belongs to; null for others. */
export function tenantOfKey(key: string): TenantId | null {
  const id = /(?:^|\/)t\/([a-z0-9]{15})(?:\/|$)/.exec(key)?.[1]
  return id !== undefined && isTenantId(id) ? id : null
}

/** Overwrites the whole manifest; the last writer wins, and only owners write. */
export async function writeManifest(
  { store, objectPrefix }: ManifestPlace,
  manifest: { readonly tenant: TenantSpec; readonly facts: TenantFacts; readonly updatedAtMs: number },
): Promise<void> {
  const body = utf8(JSON.stringify(encodeManifest(manifest)))
  await store.put(manifestKey(objectPrefix, manifest.tenant.id), body, { contentType: 'application/json' })
}

/** Overwrites the identity and keeps the rest. The tenant is closed here, so nobody else writes. */
export async function writeIdentity(
  place: ManifestPlace,
  identity: { readonly tenant: TenantSpec; readonly updatedAtMs: number },
): Promise<void> {
  const facts = (await readFacts(place, identity.tenant.id)) ?? noFacts
  await writeManifest(place, { ...identity, facts })
}

/**
 * Remembers in the store, where whoever adopts the tenant finds it, that another program may write its histories from here on.
 * The tenant is closed here, and stays so. Without a manifest nobody adopts it.
 */
export async function markHandedOver(
  { store, objectPrefix }: ManifestPlace,
  id: TenantId,
  updatedAtMs: number,
): Promise<void> {
  let bytes: Uint8Array
  try {
    bytes = await store.get(manifestKey(objectPrefix, id))
  } catch (error) {
    if (error instanceof ObjectNotFoundError) return
    throw error
  }
  const facts = decodeFacts(bytes)
  if (facts === null) return
  const { tenant } = JSON.parse(fromUtf8(bytes)) as { readonly tenant: TenantSpec } // written as it was read
  await writeManifest({ store, objectPrefix }, { tenant: { ...tenant, isHandedOver: true }, facts, updatedAtMs })
}

/** null when there is no manifest, or none that can be read. */
export async function readFacts({ store, objectPrefix }: ManifestPlace, id: TenantId): Promise<TenantFacts | null> {
  try {
    return decodeFacts(await store.get(manifestKey(objectPrefix, id)))
  } catch (error) {
    if (error instanceof ObjectNotFoundError) return null
    throw error
  }
}

/** For whoever looks for the end of one of its histories. */
export function manifestReader(place: ManifestPlace, id: TenantId, name: DatabaseName): ReadManifest {
  return async () => (await readFacts(place, id))?.databases[name] ?? null
}

/**
 * Changes facts of a tenant that nobody has open, and leaves its identity as it is.
 *
 * @returns false, and nothing changed, when there is no manifest, or somebody wrote it while `change` was under way: then
 *   the tenant is in use, and its owner writes what is true.
 */
export async function changeFacts(
  { store, objectPrefix }: ManifestPlace,
  id: TenantId,
  updatedAtMs: number,
  change: (facts: TenantFacts, tenant: TenantSpec) => Promise<TenantFacts>,
): Promise<boolean> {
  const key = manifestKey(objectPrefix, id)
  const read = async () => {
    try {
      return await store.get(key)
    } catch (error) {
      if (error instanceof ObjectNotFoundError) return null
      throw error
    }
  }
  const before = await read()
  const facts = before && decodeFacts(before)
  if (before === null || facts === null) return false
  const { tenant } = JSON.parse(fromUtf8(before)) as { readonly tenant: TenantSpec } // written as it was read
  const changed = await change(facts, tenant)
  if (changed === facts) return true
  const now = await read()
  if (now === null || !equalBytes(before, now)) return false
  await writeManifest({ store, objectPrefix }, { tenant, facts: changed, updatedAtMs })
  return true
}

/** Of the object that is the manifest. */
export function manifestKey(objectPrefix: string, id: TenantId): string {
  return `${tenantPrefix(objectPrefix, id)}/manifest.json`
}

function encodeManifest(manifest: {
  readonly tenant: TenantSpec
  readonly facts: TenantFacts
  readonly updatedAtMs: number
}): unknown {
  const { tenant, facts, updatedAtMs } = manifest
  const { databases, ...rest } = facts
  const encoded = Object.entries(databases).map(([name, each]) => [name, encodeHistoryManifest(each)] as const)
  return { version: manifestVersion, updatedAtMs, tenant, ...rest, databases: Object.fromEntries(encoded) }
}

/** Parts that cannot be read are left out. Exported for its tests. */
export function decodeFacts(bytes: Uint8Array): TenantFacts | null {
  if (bytes.length > manifestBytesMax) return null
  let raw: unknown
  try {
    raw = JSON.parse(fromUtf8(bytes))
  } catch {
    return null // torn: everything in it can be found again
  }
  if (!isObject(raw)) return null
  const found = isObject(raw['databases']) ? raw['databases'] : {}
  const databases: Partial<Record<DatabaseName, HistoryManifest>> = {}
  for (const name of databaseNames) {
    const history = decodeHistoryManifest(found[name])
    if (history !== null) databases[name] = history
  }
  const { hooks, nextCronAtMs, filesListedAtMs, lineage, standbys } = raw
  return {
    databases,
    hooks: isObject(hooks) ? decodeHooks(hooks) : null,
    nextCronAtMs: isTime(nextCronAtMs) ? nextCronAtMs : null,
    filesListedAtMs: isTime(filesListedAtMs) ? filesListedAtMs : null,
    lineage: isObject(lineage) ? decodeLineage(lineage) : null,
    standbys: decodeStandbyFacts(standbys),
  }
}

function decodeHooks({ anyEnabled, txid }: Record<string, unknown>): TenantFacts['hooks'] {
  return typeof anyEnabled === 'boolean' && isTime(txid) ? { anyEnabled, txid: txid as Txid } : null
}

function decodeLineage({ tenantId, atMs }: Record<string, unknown>): TenantFacts['lineage'] {
  return typeof tenantId === 'string' && isTenantId(tenantId) && isTime(atMs) ? { tenantId, atMs } : null
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isTime(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}
