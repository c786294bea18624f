// Linearizable reads without the log (§6.4): remember the commit index, prove in a round of heartbeats that nobody else
// leads, then answer.

import type { Index } from './types.ts'

interface PendingRead {
  readonly id: number
  readonly index: Index
  readonly round: number
}

export class ReadIndex {
  #round = 0
  #pending: PendingRead[] = []

  get round(): number {
    return this.#round
  }

  /** Begins a round that must be heard of by a quorum; all reads added since the last one share it. */
  add(id: number, index: Index): void {
    this.#pending.push({ id, index, round: ++this.#round })
  }

  /** Takes out the reads that `isConfirmed` proves. */
  take(isConfirmed: (round: number) => boolean): { readonly id: number; readonly index: Index }[] {
    const done: PendingRead[] = []
    while (this.#pending.length > 0 && isConfirmed(this.#pending[0]!.round)) done.push(this.#pending.shift()!)
    return done
  }

  /** We no longer lead: every read must be asked again. */
  clear(): number[] {
    return this.#pending.splice(0).map(({ id }) => id)
  }
}
