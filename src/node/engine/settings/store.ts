// The settings in use and the row they live in: `_params`, key `settings`, JSON as a BLOB, or base64 text when it is
// encrypted. Readers get one frozen object that is replaced as a whole, never changed.

import type { Clock } from '../../../lib/clock.ts'
import { AppError } from '../../../lib/errors.ts'
import type { Rng } from '../../../lib/rng.ts'
import type { Database } from '../db/database.ts'
import { formatDateTime } from '../fields/datetime.ts'
import { decryptSettings, encryptSettings } from './encryption.ts'
import { defaultSettings, mergeSettings, type Settings, storedSettings } from './settings.ts'

const rowId = 'settings'

/** What is stored is neither JSON nor opens with the key that was given. */
export class SettingsUnreadableError extends AppError {
  readonly code = 'settings_unreadable'
}

export interface SettingsStoreDeps {
  readonly database: Database
  readonly clock: Clock
  readonly rng: Rng
  /** 32 bytes; null: stored in the clear. */
  readonly encryptionKey: string | null
}

export class SettingsStore {
  readonly #deps: SettingsStoreDeps
  #current: Settings
  readonly #listeners = new Set<(settings: Settings) => void>()

  private constructor(deps: SettingsStoreDeps, current: Settings) {
    this.#deps = deps
    this.#current = current
  }

  /**
   * Loads the stored settings over the defaults; stores the defaults when there are none yet.
   * Fails with SettingsUnreadableError or SettingsEncryptionError.
   */
  static async open(deps: SettingsStoreDeps): Promise<SettingsStore> {
    const stored = await readStored(deps)
    const store = new SettingsStore(deps, stored ?? defaultSettings)
    if (stored === null) await store.save(defaultSettings)
    return store
  }

  get current(): Settings {
    return this.#current
  }

  /** Stores settings that were checked before. They are in use once the transaction around the call has committed. */
  async save(next: Settings): Promise<void> {
    const { database, clock, rng, encryptionKey } = this.#deps
    const plain = storedSettings(next)
    const value = encryptionKey === null ? Buffer.from(plain) : await encryptSettings(plain, encryptionKey, rng)
    const now = formatDateTime(clock.now())
    await database.transaction(() => {
      database.run(
        'INSERT INTO `_params` (`id`, `value`, `created`, `updated`) VALUES (?1, ?2, ?3, ?3) ' +
          'ON CONFLICT (`id`) DO UPDATE SET `value` = ?2, `updated` = ?3',
        [rowId, value, now],
      )
      return database.afterCommit(() => this.#use(next))
    })
  }

  /** The settings as this transaction would leave them; outside of one, those in use. */
  async pending(): Promise<Settings> {
    return this.#deps.database.inTransaction ? ((await readStored(this.#deps)) ?? this.#current) : this.#current
  }

  /** Reads the row again: the database under us was replaced. */
  async reload(): Promise<void> {
    this.#use((await readStored(this.#deps)) ?? defaultSettings)
  }

  /** Throws as {@link open} does unless the settings of another database could be used with this key. */
  async checkReadable(database: Database): Promise<void> {
    await readStored({ ...this.#deps, database })
  }

  /** Calls `listener` after every change. @returns what stops that. */
  onChange(listener: (settings: Settings) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #use(settings: Settings): void {
    this.#current = settings
    for (const listener of this.#listeners) listener(settings)
  }
}

async function readStored({ database, encryptionKey }: SettingsStoreDeps): Promise<Settings | null> {
  const row = database.get<{ value: Uint8Array | string | null }>('SELECT `value` FROM `_params` WHERE `id` = ?', [
    rowId,
  ])
  if (row === null || row.value === null) return null
  const text = typeof row.value === 'string' ? row.value : new TextDecoder().decode(row.value)
  let json = parse(text)
  if (json === undefined) {
    if (encryptionKey === null)
      throw new SettingsUnreadableError('the stored settings are encrypted or damaged, and no encryption key was given')
    json = parse(await decryptSettings(text, encryptionKey))
  }
  const loaded = mergeSettings(defaultSettings, json)
  if (!loaded.ok)
    throw new SettingsUnreadableError(`stored settings: ${loaded.error.path} is no ${loaded.error.expected}`)
  return loaded.value
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined // not JSON: encrypted, or damaged
  }
}
