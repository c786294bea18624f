// Broadcasts. PUB/SUB may drop, so each topic carries a sequence number and publishers repeat the last one every second:
// a subscriber that missed something learns so within a second and drops what it cached. Broadcasts are hints; state is
// pulled.

import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/obs/log.ts'
import type { Rng } from '../lib/rng.ts'
import type { TypedMessage } from './conversation.ts'
import type { BindOptions, Messaging, SubscriberOptions } from './zmq/messaging.ts'

export interface Publisher<Message extends TypedMessage, Topic extends string> {
  readonly address: string
  publish(topic: Topic, message: Message): void
  close(): void
}

export interface PublisherOptions extends BindOptions {
  readonly messaging: Messaging
  readonly clock: Clock
  readonly rng: Rng
}

/**
 * Why what was cached may be stale: `connected`: a (new) connection, so messages before it were missed; `gap`: messages
 * were lost on the way; `restarted`: the publisher is another process than before; `silent`: connected, but even the
 * beats stopped.
 */
export type ResyncReason = 'connected' | 'gap' | 'restarted' | 'silent'

export interface Subscriber {
  /** Connected and heard from within the last seconds: what was cached since the last resync can be trusted. */
  readonly isCurrent: boolean
  close(): void
}

export interface SubscriberDeps<Message extends TypedMessage, Topic extends string>
  extends Omit<SubscriberOptions, 'prefixes'> {
  readonly messaging: Messaging
  readonly clock: Clock
  readonly log: Logger
  readonly topics: readonly Topic[]
  readonly onMessage: (topic: Topic, message: Message) => void
  /** Drop or re-read everything that this publisher keeps fresh. */
  readonly onResync: (reason: ResyncReason) => void
}
