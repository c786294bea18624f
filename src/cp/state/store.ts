// The durable image of the applied state: rows and the applied index change in one batch, so a replayed command is seen
// to be one. The batch need not be synced: the log is, and what is lost here is applied again from it.

import { utf8 } from '../../lib/bytes.ts'
import { varint, versioned } from '../binary.ts'
import { Batch } from '../rocks/batch.ts'
import type { RocksDb } from '../rocks/db.ts'
import { prefixEnd } from '../rocks/iterator.ts'
import { apply, type Outcome } from './apply.ts'
import { commands } from './command.ts'
import { type Changes, ClusterState, StateBatch, statePrefix } from './state.ts'

const appliedKey = utf8('a/index')
const appliedRows = versioned(1, varint)

export interface CommittedCommand {
  readonly index: number
  /** Null for entries that carry no command: they only raise the applied index. */
  readonly data: Uint8Array | null
}

export class StateStore {
  readonly state = new ClusterState()
  readonly #db: RocksDb
  #appliedIndex = 0
  readonly #listeners = new Set<(changes: Changes) => void>()

  constructor(db: RocksDb) {
    this.#db = db
  }

  get appliedIndex(): number {
    return this.#appliedIndex
  }

  /** Reads the whole image; throws DecodeError that names a bad row. */
  async load(): Promise<void> {
    const stored = await this.#db.get(appliedKey)
    this.#appliedIndex = stored === null ? 0 : appliedRows.decode(stored)
    const gte = utf8(statePrefix)
    for await (const { key, value } of this.#db.range({ gte, lt: prefixEnd(gte) })) this.state.load(key, value)
  }

  /** Calls `listener` after every batch that changed tenants, placements or nodes. */
  onChange(listener: (changes: Changes) => void): void {
    this.#listeners.add(listener)
  }

  /**
   * Applies committed commands in index order and answers with the outcome of each (null without a command). Throws
   * DecodeError for a command that this version does not know: the member must stop, not skip it.
   */
  async apply(committed: readonly CommittedCommand[]): Promise<(Outcome | null)[]> {
    const batch = new StateBatch(this.state)
    const outcomes = committed.map(({ data }) =>
      data === null ? null : apply(this.state, batch, commands.decode(data)),
    )
    const last = committed.at(-1)
    if (last === undefined) return outcomes
    const rows = new Batch()
    for (const { key, value } of batch.writes) value === null ? rows.delete(key) : rows.put(key, value)
    rows.put(appliedKey, appliedRows.encode(last.index))
    await this.#db.write(rows, { sync: false })
    this.#appliedIndex = last.index
    const { changes } = batch
    if (changes.tenants.size > 0 || changes.nodes.size > 0) for (const listener of this.#listeners) listener(changes)
    return outcomes
  }
}
