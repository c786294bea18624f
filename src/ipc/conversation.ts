// A conversation is one typed union of requests with its reply map, who may start it, and the version both ends must
// speak. The unions live in `messages/`; this file pairs each with its rules, so that clients and servers cannot
// disagree about them.

import type { Role } from './keys.ts'
import { cpGatewayVersion, type GatewayReplies, type GatewayRequest } from './messages/cp-gateway.ts'
import {
  cpNodeVersion,
  type NodeOrder,
  type NodeReplies,
  type NodeRequest,
  type OrderReplies,
} from './messages/cp-node.ts'
import { gatewayShapes, type MessageShapes, nodeShapes, orderShapes } from './messages/shapes.ts'
import { type StandbyReplies, type StandbyRequest, standbyShapes, standbyVersion } from './messages/standby.ts'

/** Every message is an object told apart by `type`. */
export interface TypedMessage {
  readonly type: string
}

/** The reply to message type `T`, or `never` for a one-way message. */
export type ReplyTo<Replies, T extends string> = T extends keyof Replies ? Replies[T] : never

export interface Conversation<Message extends TypedMessage, Replies> {
  /** Names the conversation in errors and on the wire; at most 32 ASCII characters. */
  readonly name: string
  /** 1 to 65,535. A peer that speaks another version is refused with `version_mismatch`. */
  readonly version: number
  /** The roles whose keys may start it; others are refused with `forbidden`. */
  readonly callers: readonly Role[]
  /** What each message must look like; types without a shape are not checked. */
  readonly shapes?: Partial<MessageShapes<Message>>
  /** Never set: it only carries the types. */
  readonly types?: { readonly message: Message; readonly replies: Replies }
}

/** Node → control plane: any member's ROUTER. */
export const nodeConversation: Conversation<NodeRequest, NodeReplies> = {
  name: 'node',
  version: cpNodeVersion,
  callers: ['node'],
  shapes: nodeShapes,
}

/** Control plane → node: the node's own ROUTER. */
export const orderConversation: Conversation<NodeOrder, OrderReplies> = {
  name: 'order',
  version: cpNodeVersion,
  callers: ['control-plane'],
  shapes: orderShapes,
}

/** Gateway → control plane: any member's ROUTER. */
export const gatewayConversation: Conversation<GatewayRequest, GatewayReplies> = {
  name: 'gateway',
  version: cpGatewayVersion,
  callers: ['gateway'],
  shapes: gatewayShapes,
}

/** Owner of a tenant → node that keeps its commits: the standby's ROUTER. */
export const standbyConversation: Conversation<StandbyRequest, StandbyReplies> = {
  name: 'standby',
  version: standbyVersion,
  callers: ['node'],
  shapes: standbyShapes,
}
