// What a new tenant's databases hold, as PocketBase v0.39 makes them, so that a `pb_data` moves both ways.
// PocketBase: migrations/1640988000_init.go and 1640988000_aux_init.go.

import type { Clock } from '../../../lib/clock.ts'
import { randomText } from '../../../lib/id.ts'
import type { Rng } from '../../../lib/rng.ts'
import { defaultAuthOptions } from '../collections/auth-defaults.ts'
import {
  authOriginsName,
  type CollectionData,
  type CollectionType,
  externalAuthsName,
  mfasName,
  otpsName,
  superusersName,
} from '../collections/collection.ts'
import type { CollectionStore } from '../collections/collection-store.ts'
import { defaultCollectionId, makeField, withDefaultFields } from '../collections/default-fields.ts'
import type { Database } from '../db/database.ts'
import type { Field } from '../fields/field.ts'

/** Everything that PocketBase v0.39 would otherwise run again over our tables. */
const appliedMigrations = [
  '1640988000_aux_init.go',
  '1640988000_init.go',
  '1717233556_v0.23_migrate.go',
  '1717233557_v0.23_migrate2.go',
  '1717233558_v0.23_migrate3.go',
  '1717233559_v0.23_migrate4.go',
  '1763020353_update_default_auth_alert_templates.go',
  '1778828400_normalize_indexes.go',
]

const now = "(strftime('%Y-%m-%d %H:%M:%fZ'))"
const rowId = "TEXT PRIMARY KEY DEFAULT ('r'||lower(hex(randomblob(7)))) NOT NULL"

/** Whether the database has PocketBase's tables already. */
export function hasSystemTables(db: Database): boolean {
  return db.get("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = '_collections'") !== null
}

/** Makes the system tables of `data.db`; collections follow with {@link createSystemCollections}. */
export async function createSystemTables(db: Database, clock: Clock): Promise<void> {
  await db.transaction(() => {
    db.exec('CREATE TABLE `_migrations` (file VARCHAR(255) PRIMARY KEY NOT NULL, applied INTEGER NOT NULL)')
    db.exec(
      `CREATE TABLE \`_params\` (\`id\` ${rowId}, \`value\` JSON DEFAULT NULL, \`created\` TEXT DEFAULT ${now} NOT NULL, \`updated\` TEXT DEFAULT ${now} NOT NULL)`,
    )
    db.exec(`CREATE TABLE \`_collections\` (
  \`id\` ${rowId},
  \`system\` BOOLEAN DEFAULT FALSE NOT NULL,
  \`type\` TEXT DEFAULT "base" NOT NULL,
  \`name\` TEXT UNIQUE NOT NULL,
  \`fields\` JSON DEFAULT "[]" NOT NULL,
  \`indexes\` JSON DEFAULT "[]" NOT NULL,
  \`listRule\` TEXT DEFAULT NULL,
  \`viewRule\` TEXT DEFAULT NULL,
  \`createRule\` TEXT DEFAULT NULL,
  \`updateRule\` TEXT DEFAULT NULL,
  \`deleteRule\` TEXT DEFAULT NULL,
  \`options\` JSON DEFAULT "{}" NOT NULL,
  \`created\` TEXT DEFAULT ${now} NOT NULL,
  \`updated\` TEXT DEFAULT ${now} NOT NULL
)`)
    db.exec('CREATE INDEX IF NOT EXISTS idx__collections_type on `_collections` (`type`)')
    const appliedAtMicros = Math.floor(clock.now()) * 1_000
    for (const file of appliedMigrations)
      db.run('INSERT INTO `_migrations` (file, applied) VALUES (?, ?)', [file, appliedAtMicros])
  })
}

/** `auxiliary.db`: the logs. */
export async function createAuxiliaryTables(db: Database): Promise<void> {
  await db.transaction(() => {
    db.exec(`CREATE TABLE IF NOT EXISTS \`_logs\` (
  \`id\` ${rowId},
  \`level\` INTEGER DEFAULT 0 NOT NULL,
  \`message\` TEXT DEFAULT "" NOT NULL,
  \`data\` JSON DEFAULT "{}" NOT NULL,
  \`created\` TEXT DEFAULT ${now} NOT NULL
)`)
    db.exec('CREATE INDEX IF NOT EXISTS idx_logs_level on `_logs` (`level`)')
    db.exec('CREATE INDEX IF NOT EXISTS idx_logs_message on `_logs` (`message`)')
    db.exec("CREATE INDEX IF NOT EXISTS idx_logs_created_hour on `_logs` (strftime('%Y-%m-%d %H:00:00', `created`))")
  })
}

/** A collection without fields, rules or times: what a new one starts from. */
export function blankCollection(type: CollectionType, name: string, rng: Rng, id?: string): CollectionData {
  return {
    id: id ?? defaultCollectionId(type, name),
    name,
    type,
    system: false,
    fields: [],
    indexes: [],
    listRule: null,
    viewRule: null,
    createRule: null,
    updateRule: null,
    deleteRule: null,
    auth: type === 'auth' ? defaultAuthOptions(() => randomText(rng, 50)) : null,
    view: type === 'view' ? { viewQuery: '' } : null,
    created: '',
    updated: '',
  }
}

const ownerRule = "@request.auth.id != '' && recordRef = @request.auth.id && collectionRef = @request.auth.collectionId"

const dates = (system: boolean): Field[] => [
  makeField('autodate', 'created', { system, onCreate: true }),
  makeField('autodate', 'updated', { system, onCreate: true, onUpdate: true }),
]

const reference = (name: string) => makeField('text', name, { system: true, required: true })

/** Makes the collections that every tenant has; an existing one is left alone. */
export async function createSystemCollections(collections: CollectionStore, rng: Rng): Promise<void> {
  const owned = (
    name: string,
    fields: readonly Field[],
    indexes: readonly string[],
    canDelete: boolean,
  ): CollectionData => ({
    ...blankCollection('base', name, rng),
    system: true,
    listRule: ownerRule,
    viewRule: ownerRule,
    deleteRule: canDelete ? ownerRule : null,
    fields: [reference('collectionRef'), reference('recordRef'), ...fields, ...dates(true)],
    indexes,
  })
  const superusers = blankCollection('auth', superusersName, rng)
  const users = blankCollection('auth', 'users', rng, '_pb_users_auth_')
  const all: CollectionData[] = [
    owned(
      mfasName,
      [reference('method')],
      [`CREATE INDEX \`idx_mfas_collectionRef_recordRef\` ON \`${mfasName}\` (collectionRef,recordRef)`],
      false,
    ),
    owned(
      otpsName,
      [
        makeField('password', 'password', { system: true, hidden: true, required: true, cost: 8 }),
        makeField('text', 'sentTo', { system: true, hidden: true }),
      ],
      [`CREATE INDEX \`idx_otps_collectionRef_recordRef\` ON \`${otpsName}\` (collectionRef, recordRef)`],
      false,
    ),
    owned(
      externalAuthsName,
      [reference('provider'), reference('providerId')],
      [
        `CREATE UNIQUE INDEX \`idx_externalAuths_record_provider\` ON \`${externalAuthsName}\` (collectionRef, recordRef, provider)`,
        `CREATE UNIQUE INDEX \`idx_externalAuths_collection_provider\` ON \`${externalAuthsName}\` (collectionRef, provider, providerId)`,
      ],
      true,
    ),
    owned(
      authOriginsName,
      [reference('fingerprint')],
      [
        `CREATE UNIQUE INDEX \`idx_authOrigins_unique_pairs\` ON \`${authOriginsName}\` (collectionRef, recordRef, fingerprint)`,
      ],
      true,
    ),
    {
      ...superusers,
      system: true,
      auth: { ...superusers.auth!, authToken: { ...superusers.auth!.authToken, duration: 86_400 } },
      fields: [...withDefaultFields(superusers).fields, ...dates(true)],
    },
    {
      ...users,
      listRule: 'id = @request.auth.id',
      viewRule: 'id = @request.auth.id',
      createRule: '',
      updateRule: 'id = @request.auth.id',
      deleteRule: 'id = @request.auth.id',
      fields: [
        ...withDefaultFields(users).fields,
        makeField('text', 'name', { max: 255 }),
        makeField('file', 'avatar', {
          maxSelect: 1,
          mimeTypes: ['image/jpeg', 'image/png', 'image/svg+xml', 'image/gif', 'image/webp'],
        }),
        ...dates(false),
      ],
      auth: {
        ...users.auth!,
        oauth2: { ...users.auth!.oauth2, mappedFields: { id: '', name: 'name', username: '', avatarURL: 'avatar' } },
      },
    },
  ]
  for (const collection of all) if (collections.find(collection.name) === undefined) await collections.save(collection)
}
