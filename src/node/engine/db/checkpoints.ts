// Moves the WAL into the file: here, or in another process where it is large. Nobody writes meanwhile; who reads may keep a
// WAL from starting over, so one that outgrew every bound gets a moment without readers.

import { statSync } from 'node:fs'
import type { MaybePromise } from '../../../lib/result.ts'
import type { Connection } from './connection.ts'
import type { ReadView } from './read-view.ts'
import type { ReaderPool } from './reader-process.ts'
import { type CheckpointResult, checkpointResult } from './reader-query.ts'

/** A WAL from this size on is checkpointed by another process, bytes. */
const apartBytes = 1024 * 1024
/** A WAL above this makes readers wait, so that it can start over, bytes. Shippers empty theirs far earlier. */
const walBytesMax = 64 * 1024 * 1024

export interface CheckpointDeps {
  readonly path: string
  readonly writer: Connection
  readonly view: ReadView
  /** Without it, all is done here. */
  readonly pool: ReaderPool | undefined
}

/** The caller keeps writers out. */
export function runCheckpoint(deps: CheckpointDeps, mode: 'PASSIVE' | 'TRUNCATE'): MaybePromise<CheckpointResult> {
  const { path, pool } = deps
  const walBytes = statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0
  const isApart = pool !== undefined && mode === 'PASSIVE' && walBytes >= apartBytes
  const started = isApart ? pool.checkpoint(path) : null
  if (started === null) return checkpointHere(deps, mode)
  return started.then((result) => {
    if (result === null) return checkpointHere(deps, mode)
    makeRoomForReset(deps, result)
    return result
  })
}

function checkpointHere(deps: CheckpointDeps, mode: 'PASSIVE' | 'TRUNCATE'): CheckpointResult {
  // A cached statement of the reader that was not run to its end would pin the WAL; `all`, `get` and `values` reset.
  deps.view.end()
  const result = checkpointResult(deps.writer.sqlite.query(`PRAGMA wal_checkpoint(${mode})`).get())
  makeRoomForReset(deps, result)
  return result
}

function makeRoomForReset({ path, writer, pool }: CheckpointDeps, result: CheckpointResult): void {
  if (pool === undefined) return
  const { busy, logFrames, checkpointedFrames } = result
  // Who begins to read once all frames are in the file does not need the WAL, and the next write starts it over.
  const isDue = !busy && checkpointedFrames === logFrames && !pool.isReading(path)
  if (isDue || logFrames * writer.pageSize <= walBytesMax) pool.lift(path)
  else pool.hold(path)
}
