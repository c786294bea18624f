// Upkeep in this process, where the product has a process of its own for it.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Clock, systemClock } from '../../src/lib/clock.ts'
import type { ObjectStore } from '../../src/lib/object-store/object-store.ts'
import type { MergeJob } from '../../src/replicate/compaction.ts'
import type { ManifestFile } from '../../src/replicate/history-manifest.ts'
import { mergeFiles, Pacer } from '../../src/replicate/merge-files.ts'
import { defaultRetention } from '../../src/replicate/retention.ts'
import { type RetentionOutcome, type RetentionState, retainHistory } from '../../src/replicate/retention-pass.ts'
import type { UpkeepRunner } from '../../src/replicate/upkeep.ts'

/** Fast enough never to wait. */
const unpaced = new Pacer({ ...systemClock, setTimer: () => () => {} }, Number.POSITIVE_INFINITY)

export class UpkeepHere implements UpkeepRunner, Disposable {
  readonly #store: ObjectStore
  readonly #clock: Clock
  readonly #scratchDir = mkdtempSync(join(tmpdir(), 'pf-upkeep-'))

  constructor(store: ObjectStore, clock: Clock = systemClock) {
    this.#store = store
    this.#clock = clock
  }

  merge(historyPrefix: string, job: MergeJob): Promise<ManifestFile> {
    const deps = { clock: this.#clock, scratchDir: this.#scratchDir, pacer: unpaced }
    return mergeFiles({ store: this.#store, prefix: historyPrefix }, job, deps)
  }

  retain(historyPrefix: string, state: RetentionState): Promise<RetentionOutcome> {
    const deps = { clock: this.#clock, policy: defaultRetention, pacer: unpaced }
    return retainHistory({ store: this.#store, prefix: historyPrefix }, state, deps)
  }

  [Symbol.dispose](): void {
    rmSync(this.#scratchDir, { recursive: true, force: true })
  }
}
