// Nodes that a test of the control plane's services plays: what they are told, and what they answer.

import type { Orders } from '../../src/cp/services/orders.ts'
import type { Candidate } from '../../src/cp/services/placement/strategy.ts'
import type { NodeOrder, OrderReplies } from '../../src/ipc/messages/cp-node.ts'
import type { NodeId } from '../../src/lib/brand.ts'

type Reply = OrderReplies[NodeOrder['type']]

/** @param answer the reply to this type of order, or a throw as `Orders.give` rejects. */
export function playedOrders(answer: (at: NodeId, order: NodeOrder) => Reply | Promise<Reply>): Orders {
  return {
    // The test answers each type with its own reply, which no signature of one function can say.
    give: async (at: NodeId, order: NodeOrder) => (await answer(at, order)) as never,
    close() {},
  }
}

/** A healthy node with nothing on it. */
export const candidate = (id: NodeId): Candidate => ({
  id,
  region: 'local',
  zone: 'local',
  labels: {},
  tenantsPlaced: 0,
  tenantsMax: 1_000,
  cpu: 0,
  byWorker: [0],
})
