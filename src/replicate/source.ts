// What replication needs of a live database. The one who opened the file implements it; every connection belongs to it.

import type { MaybePromise } from '../lib/result.ts'

export interface CheckpointOutcome {
  /** A reader or another process was in the way; some frames stay in the WAL. */
  readonly busy: boolean
  /** Frames in the WAL, and how many of them are in the database file now. */
  readonly logFrames: number
  readonly checkpointedFrames: number
}

/**
 * A database in WAL mode with one writer, no automatic checkpoints, and a WAL that outlives the last connection.
 * Nobody but the shipper attached to it may checkpoint.
 */
export interface ReplicaSource {
  readonly path: string
  readonly walPath: string
  readonly pageSize: number
  /** Counts committed write transactions since the database was opened. */
  readonly commitSeq: number
  /** One listener, called synchronously after each commit. */
  set onCommit(listener: (() => void) | null)
  /** Runs `body` while no write transaction is open or can start. */
  exclusively<T>(body: () => MaybePromise<T>): Promise<T>
  /** Moves WAL frames into the file. The caller holds {@link exclusively}. */
  checkpoint(mode: 'PASSIVE' | 'TRUNCATE'): MaybePromise<CheckpointOutcome>
  /** The whole database with its WAL, as the file would be after a complete checkpoint. */
  image(): Uint8Array
}
