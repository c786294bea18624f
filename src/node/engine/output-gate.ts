// Nothing that depends on a commit leaves the node before the tenant's acknowledgement mode allows it: responses,
// realtime events, mails and webhooks all pass one gate.

import type { MaybePromise } from '../../lib/result.ts'

export interface OutputGate {
  /**
   * Whether a write, a job or a mail may begin: throws WritesRefusedError where another node may be the owner by now.
   * Synchronous when that is known.
   */
  admit(): MaybePromise<void>
  /**
   * Waits until everything committed so far may be told to others. Synchronous when it may at once.
   * Throws WritesRefusedError when that does not happen in time: then nothing may be told.
   */
  pass(): MaybePromise<void>
}

/** For one directory without replication: a commit is told as soon as SQLite has it. */
export const openGate: OutputGate = { admit() {}, pass() {} }
