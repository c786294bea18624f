// Which node gets a tenant: the least loaded that may have it. Pure.

import type { NodeId } from '../../../lib/brand.ts'

export interface Candidate {
  readonly id: NodeId
  readonly region: string
  readonly zone: string
  readonly labels: Readonly<Record<string, string>>
  readonly tenantsPlaced: number
  /** How many it can hold open at once: what it weighs by. */
  readonly tenantsMax: number
  /** 0 to 1, as last reported; 0 when it has not reported yet. */
  readonly cpu: number
  /** Placed tenants by worker, 0-based. */
  readonly byWorker: readonly number[]
}

export interface Wish {
  /** A tenant of a region goes there or nowhere; null: anywhere. */
  readonly region: string | null
  /** Labels that the node must carry. */
  readonly labels?: Readonly<Record<string, string>>
  readonly excluded?: NodeId
}

export interface Choice {
  readonly nodeId: NodeId
  readonly worker: number
}

/** How much a busy processor weighs against placed tenants. */
const cpuWeight = 0.25

function loadOf({ tenantsPlaced, tenantsMax, cpu }: Candidate): number {
  return tenantsPlaced / Math.max(1, tenantsMax) + cpuWeight * Math.min(1, cpu)
}

/** The best of `candidates`, which are all alive; null when none may have the tenant. Ties go to the lower id. */
export function choosePlace(candidates: readonly Candidate[], wish: Wish): Choice | null {
  const allowed = candidates.filter(
    ({ id, region, labels }) =>
      id !== wish.excluded &&
      (wish.region === null || wish.region === region) &&
      Object.entries(wish.labels ?? {}).every(([key, value]) => labels[key] === value),
  )
  const best = allowed.sort((a, b) => loadOf(a) - loadOf(b) || (a.id < b.id ? -1 : 1))[0]
  if (best === undefined) return null
  const least = best.byWorker.indexOf(Math.min(...best.byWorker))
  return { nodeId: best.id, worker: Math.max(0, least) }
}
