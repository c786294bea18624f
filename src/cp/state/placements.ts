// Placements: `s/p/<tenant id>`. Which node and worker own a tenant, under which epoch, and which nodes stand by; the epoch
// only rises.

import type { Placement } from '../../ipc/messages/tenant.ts'
import type { Epoch, NodeId, TenantId } from '../../lib/brand.ts'
import { branded, brandedNumber, type Codec, list, struct, varint, versioned } from '../binary.ts'

/** Standbys that count from an epoch on, until the next set; none: only the store acknowledges. */
export interface RecordedSet {
  readonly epoch: Epoch
  readonly nodeIds: readonly NodeId[]
}

export interface PlacementRow extends Omit<Placement, 'standbySets' | 'replica' | 'warm'> {
  /** Oldest first. Those before the last one are kept until an owner has sealed above them: it has asked them. */
  readonly standbySets: readonly RecordedSet[]
}

const owner = {
  tenantId: branded<TenantId>(),
  nodeId: branded<NodeId>(),
  worker: varint,
  epoch: brandedNumber<Epoch>(),
}
const withoutStandbys = struct<Omit<PlacementRow, 'standbySets'>>(owner)
const version1: Codec<PlacementRow> = {
  write: (out, row) => withoutStandbys.write(out, row),
  read: (from) => ({ ...withoutStandbys.read(from), standbySets: [] }),
}

export const recordedSetCodec = struct<RecordedSet>({
  epoch: brandedNumber<Epoch>(),
  nodeIds: list(branded<NodeId>()),
})

export const placementRows = versioned(
  2,
  struct<PlacementRow>({
    ...owner,
    standbySets: list(recordedSetCodec),
  }),
  { 1: version1 },
)

/** The epoch shares the 32-bit node id field of LTX files. */
export const epochMax = 0xffff_ffff

/** The nodes that stand by now. */
export function standbysOf({ standbySets }: PlacementRow): readonly NodeId[] {
  return standbySets.at(-1)?.nodeIds ?? []
}

/** The sets with one more for a new epoch, where it differs from the one before. */
export function withSet(sets: readonly RecordedSet[], next: RecordedSet): readonly RecordedSet[] {
  const last = sets.at(-1)?.nodeIds ?? []
  const isSame = last.length === next.nodeIds.length && last.every((id, at) => id === next.nodeIds[at])
  return isSame ? sets : [...sets, next]
}

/** Without the sets that an owner of `epoch` has asked before it sealed. */
export function prunedSets(sets: readonly RecordedSet[], epoch: Epoch): readonly RecordedSet[] {
  const from = sets.findLastIndex((set) => set.epoch <= epoch)
  const left = from <= 0 ? sets : sets.slice(from)
  return left.length === 1 && left[0]!.nodeIds.length === 0 ? [] : left
}
