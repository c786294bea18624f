// The control plane's end of the conversation with nodes: one client per node address.

import { openRpcClient, type RpcClient } from '../../ipc/client.ts'
import { orderConversation } from '../../ipc/conversation.ts'
import { PeerUnreachableError } from '../../ipc/errors.ts'
import type { NodeOrder, OrderReplies } from '../../ipc/messages/cp-node.ts'
import type { Messaging } from '../../ipc/zmq/messaging.ts'
import type { NodeId } from '../../lib/brand.ts'
import type { Clock } from '../../lib/clock.ts'
import { AppError, errorCode } from '../../lib/errors.ts'
import type { Logger } from '../../lib/obs/log.ts'
import type { StateReader } from '../state/state.ts'

export interface Orders {
  /** Gives an order and waits for its answer; rejects as `RpcClient.request` does. */
  give<T extends NodeOrder['type']>(
    node: NodeId,
    order: Extract<NodeOrder, { readonly type: T }>,
    deadlineMs: number,
  ): Promise<OrderReplies[T]>
  close(): void
}

/** The decision stands, the node has not carried it out yet; the reconciler goes on trying. */
export class NodeOrderError extends AppError {
  readonly code = 'node_order_failed'
}

/** Whether an owner did not let go because it holds commits that the store lacks. */
export function isTailKept(error: unknown): boolean {
  return error instanceof NodeOrderError && errorCode(error.cause) === 'tail_not_shipped'
}

export class NodeOrders implements Orders {
  readonly #deps: { messaging: Messaging; clock: Clock; log: Logger; state: StateReader }
  readonly #clients = new Map<
    NodeId,
    { readonly address: string; readonly client: RpcClient<NodeOrder, OrderReplies> }
  >()

  #isClosed = false

  constructor(deps: { messaging: Messaging; clock: Clock; log: Logger; state: StateReader }) {
    this.#deps = deps
  }

  give<T extends NodeOrder['type']>(
    node: NodeId,
    order: Extract<NodeOrder, { readonly type: T }>,
    deadlineMs: number,
  ): Promise<OrderReplies[T]> {
    if (this.#isClosed) return Promise.reject(new PeerUnreachableError('the control plane is stopping', 'no'))
    const address = this.#deps.state.nodes.get(node)?.ipcAddress
    if (address === undefined) return Promise.reject(new PeerUnreachableError(`node ${node} is not registered`, 'no'))
    return this.#clientOf(node, address).request<T>(order, { deadlineMs }) as Promise<OrderReplies[T]>
  }

  close(): void {
    this.#isClosed = true
    for (const { client } of this.#clients.values()) client.close()
    this.#clients.clear()
  }

  #clientOf(node: NodeId, address: string): RpcClient<NodeOrder, OrderReplies> {
    const known = this.#clients.get(node)
    if (known?.address === address) return known.client
    known?.client.close() // the node came back elsewhere
    const { messaging, clock, log } = this.#deps
    const common = { messaging, clock, log, conversation: orderConversation } as const
    const client = openRpcClient<NodeOrder, OrderReplies>({ ...common, connect: address, serverRole: 'node' })
    this.#clients.set(node, { address, client })
    return client
  }
}
