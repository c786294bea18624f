// What the workers of a node ask the control plane, answered by their supervisor, which keeps the one connection and the
// placements it heard of last.

import type { NodeId } from '../lib/brand.ts'
import type { ControlLink } from './control-link.ts'
import type { NodeWorkers } from './node-workers.ts'
import type { KnownPlacement, PlacementCache } from './placement-cache.ts'
import type { TenantShifts } from './tenant-shifts.ts'
import type { WorkerQuestion } from './worker-protocol.ts'

export interface QuestionParts {
  readonly link: ControlLink
  readonly placements: PlacementCache
  readonly workers: NodeWorkers
  readonly shifts: TenantShifts
  readonly nodeId: NodeId
  /** The index of the worker that asks. */
  readonly worker: number
}

/** The control plane when it answers, else what it said last. Rejects with what the control plane's client throws. */
export async function answerQuestion(question: WorkerQuestion, parts: QuestionParts): Promise<unknown> {
  const { link, placements, workers, shifts, nodeId, worker } = parts
  if (question.type === 'placement.fenced') {
    await placements.delete(question.tenantId)
    return link.fenced(question.tenantId, question)
  }
  if (question.type === 'replica.moved') {
    await placements.delete(question.tenantId) // the path that counted before counts no more
    return { counts: await link.replicaMoved(question.tenantId, question.epoch) }
  }
  if (question.type === 'placement.sealed') return link.sealed(question.tenantId, question.epoch)
  if (question.type === 'tenant.yielded') return shifts.yielded(question.tenantId, worker)
  const { tenantId } = question
  /** With the worker that serves it now, as an index that no worker has to reckon with. */
  const told = (placed: KnownPlacement): KnownPlacement => ({
    ...placed,
    placement: { ...placed.placement, worker: workers.ownerOf(placed.placement).index },
  })
  const known = placements.get(tenantId)
  let answer: Awaited<ReturnType<ControlLink['placement']>>
  try {
    answer = await link.placement(tenantId)
  } catch (error) {
    if (known === undefined) throw error
    return told(known)
  }
  if (answer.tenant === null || answer.placement.nodeId !== nodeId) {
    await placements.delete(tenantId)
    return answer
  }
  await placements.put(answer)
  return told(answer)
}
