// What the auth part needs of an engine. The engine fits by its shape, so that neither file imports the other.

import type { Clock } from '../../../lib/clock.ts'
import type { Logger } from '../../../lib/obs/log.ts'
import type { MaybePromise } from '../../../lib/result.ts'
import type { Rng } from '../../../lib/rng.ts'
import type { Chains } from '../chains.ts'
import type { CollectionStore } from '../collections/collection-store.ts'
import type { Database } from '../db/database.ts'
import type { OutputGate } from '../output-gate.ts'
import type { RecordStore } from '../records/record-store.ts'
import type { Settings } from '../settings/settings.ts'
import type { SettingsStore } from '../settings/store.ts'
import type { PasswordHasher } from './password.ts'

export interface AuthHost {
  readonly data: Database
  readonly collections: CollectionStore
  readonly records: RecordStore
  readonly chains: Chains
  readonly settings: Settings
  readonly settingsStore: SettingsStore
  readonly passwords: PasswordHasher
  readonly clock: Clock
  readonly rng: Rng
  readonly log: Logger
  readonly gate: OutputGate
  readonly isDev: boolean
  /** Whether mails and OAuth2 requests may go to private networks. */
  readonly mayReachPrivate: boolean
  onClose(end: () => MaybePromise<void>): void
}
