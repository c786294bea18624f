// Where a member keeps what it promised: its term and vote, its log, and what stands before the log.

import { AppError } from '../../../lib/errors.ts'
import type { Entry, HardState, SnapshotMeta } from '../core/types.ts'

export interface StoredLog {
  readonly hardState: HardState
  readonly base: SnapshotMeta
  readonly entries: readonly Entry[]
}

/** Parts are written in this order, and all or nothing. */
export interface LogWrite {
  readonly hardState: HardState | null
  /** Replace stored entries from entries[0].index on. */
  readonly entries: readonly Entry[]
  /** Forget entries up to `base.index`. */
  readonly base: SnapshotMeta | null
}

export interface LogStore {
  /** Null when this member has never started. Throws LogCorruptError for what cannot be read or has a hole. */
  load(): Promise<StoredLog | null>
  /** Resolves once everything is on the disk. */
  write(changes: readonly LogWrite[]): Promise<void>
}

/** A stored record is torn, changed or missing. Going on could break a promise made to others, so the member stops. */
export class LogCorruptError extends AppError {
  readonly code = 'raft_log_corrupt'
}
