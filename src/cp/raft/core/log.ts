// The part of the log that is in memory: everything after the last compaction. The driver bounds it by compacting.

import { assert } from '../../../lib/assert.ts'
import type { Entry, Index, Membership, SnapshotMeta, Term } from './types.ts'

export class RaftLog {
  /** What stands before `#entries[0]`. */
  #base: SnapshotMeta
  #entries: Entry[]

  constructor(base: SnapshotMeta, entries: readonly Entry[]) {
    this.#base = base
    this.#entries = [...entries]
    for (const [at, { index }] of entries.entries())
      assert(index === base.index + 1 + at, `log entry ${index} is out of place`)
  }

  get baseIndex(): Index {
    return this.#base.index
  }

  get base(): SnapshotMeta {
    return this.#base
  }

  get lastIndex(): Index {
    return (this.#base.index + this.#entries.length) as Index
  }

  get lastTerm(): Term {
    return this.#entries.at(-1)?.term ?? this.#base.term
  }

  /** The membership in force: the newest in the log, committed or not (§4.1). */
  get membership(): Membership {
    return this.membershipAt(this.lastIndex)
  }

  membershipAt(index: Index): Membership {
    for (let at = index - this.#base.index - 1; at >= 0; at--) {
      const { payload } = this.#entries[at]!
      if (payload.type === 'membership') return payload.membership
    }
    return this.#base.membership
  }

  /** Where the newest membership entry lies; the base's index when the log has none. */
  get membershipIndex(): Index {
    return this.#entries.findLast(({ payload }) => payload.type === 'membership')?.index ?? this.#base.index
  }

  /** Undefined for what is compacted away or not there yet. */
  termAt(index: Index): Term | undefined {
    if (index === this.#base.index) return this.#base.term
    return this.#entries[index - this.#base.index - 1]?.term
  }

  /** Entries in [from, to), at most `bytesMax` bytes of data but at least one. */
  slice(from: Index, to: number, bytesMax = Number.POSITIVE_INFINITY): Entry[] {
    const part: Entry[] = []
    let sizeBytes = 0
    for (let index = from; index < to; index++) {
      const entry = this.#entries[index - this.#base.index - 1]
      if (entry === undefined) break
      sizeBytes += entryBytes(entry)
      if (part.length > 0 && sizeBytes > bytesMax) break
      part.push(entry)
    }
    return part
  }

  /** Appends, first dropping what lies at and after entries[0].index. */
  replaceFrom(entries: readonly Entry[]): void {
    const first = entries[0]
    if (first === undefined) return
    assert(first.index > this.#base.index && first.index <= this.lastIndex + 1, 'entries leave a hole in the log')
    this.#entries.length = first.index - this.#base.index - 1
    for (const entry of entries) this.#entries.push(entry)
  }

  /** Forgets entries up to `index`. */
  compact(index: Index): void {
    if (index <= this.#base.index) return
    const term = this.termAt(index)
    assert(term !== undefined, `cannot compact to ${index}, which is not in the log`)
    const membership = this.membershipAt(index)
    this.#entries = this.#entries.slice(index - this.#base.index)
    this.#base = { index, term, membership }
  }

  restore(meta: SnapshotMeta): void {
    this.#base = meta
    this.#entries = []
  }

  /**
   * The last index at or before `index` whose term is `term` or lower: where two logs may meet. One before the base when
   * even that is of a later term: the logs meet somewhere in what is compacted away.
   */
  lastWithTermUpTo(term: Term, index: Index): Index {
    let at = Math.min(index, this.lastIndex)
    while (at >= this.#base.index && (this.termAt(at as Index) ?? 0) > term) at--
    return at as Index
  }
}

/** What an entry weighs, for limits of messages and memory. */
export function entryBytes(entry: Entry): number {
  return 32 + (entry.payload.type === 'command' ? entry.payload.data.length : 64)
}
