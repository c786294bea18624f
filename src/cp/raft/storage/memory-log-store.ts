// A log that is lost with the process; for simulation and tests.

import type { Entry, HardState, SnapshotMeta } from '../core/types.ts'
import type { LogStore, LogWrite, StoredLog } from './log-store.ts'

export class MemoryLogStore implements LogStore {
  #hardState: HardState | null = null
  #base: SnapshotMeta | null = null
  #entries: Entry[] = []

  async load(): Promise<StoredLog | null> {
    if (this.#hardState === null || this.#base === null) return null
    return { hardState: this.#hardState, base: this.#base, entries: [...this.#entries] }
  }

  async write(changes: readonly LogWrite[]): Promise<void> {
    for (const { hardState, entries, base } of changes) {
      if (hardState !== null) this.#hardState = hardState
      const first = entries[0]
      if (first !== undefined) this.#entries = [...this.#entries.filter(({ index }) => index < first.index), ...entries]
      if (base !== null) {
        this.#base = base
        this.#entries = this.#entries.filter(({ index }) => index > base.index)
      }
    }
  }
}
