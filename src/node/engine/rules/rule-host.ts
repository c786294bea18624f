// What rules, expansion and realtime need of an engine: a part of it, so that the engine may know them.

import type { Clock } from '../../../lib/clock.ts'
import type { Logger } from '../../../lib/obs/log.ts'
import type { CollectionStore } from '../collections/collection-store.ts'
import type { Database } from '../db/database.ts'
import type { RecordStore } from '../records/record-store.ts'

export interface RuleHost {
  readonly data: Database
  readonly collections: CollectionStore
  readonly records: RecordStore
  readonly clock: Clock
  readonly log: Logger
}
