// How members talk. Messages may be lost, doubled and reordered: Raft does not mind.

import type { Message } from '../core/types.ts'

export interface Transport {
  /** Sends if it can, drops if it cannot; never waits. */
  send(message: Message): void
  onMessage: (message: Message) => void
  close(): void
}

/** For a group of one: there is nobody to talk to. */
export const noTransport: Transport = { send() {}, onMessage() {}, close() {} }
