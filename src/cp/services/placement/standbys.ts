// Which nodes stand by for a tenant that acknowledges by them. Pure.

import type { Placement, StandbySet } from '../../../ipc/messages/tenant.ts'
import type { NodeId } from '../../../lib/brand.ts'
import type { PlacementRow } from '../../state/placements.ts'
import type { StateReader } from '../../state/state.ts'
import type { Candidate } from './strategy.ts'

/** Two of three must have a write, so one may be away; with fewer nodes than that, the one of one. */
const standbysWanted = 3

/**
 * The standbys for an owner, in an order that does not matter. Those that stand by already stay while they may; others
 * come from its region, for latency and because a tenant's data may be bound to it, from zones that have none yet, then
 * from where there is most room.
 *
 * @param candidates nodes that are alive and take tenants, the owner among them or not.
 * @param current standbys that are alive, even where they take no new tenants.
 */
export function chooseStandbys(
  candidates: readonly Candidate[],
  owner: { readonly id: NodeId; readonly region: string },
  current: readonly NodeId[],
): readonly NodeId[] {
  const others = candidates.filter(({ id, region }) => id !== owner.id && region === owner.region)
  const wanted = new Set([...others.map(({ id }) => id), ...current]).size >= standbysWanted ? standbysWanted : 1
  const chosen = current.filter((id) => id !== owner.id).slice(0, wanted)
  const zones = new Set(candidates.filter(({ id }) => id === owner.id || chosen.includes(id)).map(({ zone }) => zone))
  while (chosen.length < wanted) {
    const left = others.filter(({ id }) => !chosen.includes(id))
    if (left.length === 0) break
    const roomOf = ({ tenantsPlaced, tenantsMax }: Candidate) => tenantsPlaced / Math.max(1, tenantsMax)
    const [best] = left.sort(
      (a, b) =>
        Number(zones.has(a.zone)) - Number(zones.has(b.zone)) || roomOf(a) - roomOf(b) || (a.id < b.id ? -1 : 1),
    )
    chosen.push(best!.id)
    zones.add(best!.zone)
  }
  // Of two, both would have to answer: no safer than one, and more often in the way.
  return chosen.length === standbysWanted ? chosen : chosen.slice(0, 1)
}

/** A placement as nodes are told of it: with the addresses of its standbys. */
export function placementOf(
  { nodes, replicas, warmStandbys }: Pick<StateReader, 'nodes' | 'replicas' | 'warmStandbys'>,
  row: PlacementRow,
): Placement {
  const { standbySets: recorded, ...facts } = row
  const replica = replicas.get(row.tenantId)
  const copy = warmStandbys.get(row.tenantId)?.place ?? null
  const ipcAddress = copy === null || copy.nodeId === row.nodeId ? undefined : nodes.get(copy.nodeId)?.ipcAddress
  const owner = {
    ...facts,
    ...(replica !== undefined && { replica: { epoch: replica.epoch === 0 ? null : replica.epoch } }),
    ...(copy !== null && ipcAddress !== undefined && { warm: { ...copy, ipcAddress } }),
  }
  if (recorded.length === 0) return owner
  const standbySets: StandbySet[] = recorded.map(({ epoch, nodeIds }) => ({
    epoch,
    // A node that was removed cannot be reached, and counts as one that does not answer.
    nodes: nodeIds.map((nodeId) => ({ nodeId, ipcAddress: nodes.get(nodeId)?.ipcAddress ?? goneAddress })),
  }))
  return { ...owner, standbySets }
}

/** Nobody listens on port 0. */
const goneAddress = 'tcp://127.0.0.1:0'
