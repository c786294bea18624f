// The records that hang on auth records: `_otps`, `_mfas`, `_authOrigins`, `_externalAuths`. Each names its owner by
// collection and record id; they go with it, and some go earlier, when what they vouched for has changed.

import {
  authOriginsName,
  type Collection,
  externalAuthsName,
  mfasName,
  otpsName,
  superusersName,
} from '../collections/collection.ts'
import { quoteName, type Row } from '../db/sql.ts'
import { ValidationFailed } from '../errors.ts'
import { formatDateTime, parseDateTime } from '../fields/datetime.ts'
import { PasswordValue } from '../fields/value.ts'
import type { RecordEvent } from '../records/events.ts'
import { EngineRecord } from '../records/record.ts'
import type { AuthHost } from './auth-host.ts'
import { findByEmail } from './lookup.ts'
import { oauth2Providers } from './oauth2/catalog.ts'

/** The address of the superuser that exists until there is a real one. */
export const installerEmail = '__pbinstaller@example.com'

export type SystemName = typeof otpsName | typeof mfasName | typeof authOriginsName | typeof externalAuthsName

const systemNames: readonly SystemName[] = [otpsName, mfasName, authOriginsName, externalAuthsName]
/** Expired records removed in one transaction, so that a clean-up never holds the writer for long. */
const expiredBatch = 200

/** All records of one kind that belong to `owner`, newest first. */
export function recordsOf(host: AuthHost, name: SystemName, owner: EngineRecord): EngineRecord[] {
  return select(host, name, '`collectionRef` = ? AND `recordRef` = ? ORDER BY `created` DESC, rowid DESC', [
    owner.collection.id,
    owner.id,
  ])
}

export async function deleteRecordsOf(host: AuthHost, name: SystemName, owner: EngineRecord): Promise<void> {
  for (const record of recordsOf(host, name, owner)) await host.records.delete(record)
}

/** Removes what belongs to records of a collection that is being deleted. Call it inside that transaction. */
export async function deleteRecordsOfCollection(host: AuthHost, collection: Collection): Promise<void> {
  for (const name of systemNames)
    for (const record of select(host, name, '`collectionRef` = ?', [collection.id])) await host.records.delete(record)
}

/** A new record of one kind for `owner`; not saved yet. */
export function newRecordOf(host: AuthHost, name: SystemName, owner: EngineRecord): EngineRecord {
  const record = EngineRecord.blank(host.collections.require(name))
  record.set('collectionRef', owner.collection.id)
  record.set('recordRef', owner.id)
  return record
}

/** Whether more than `durationS` have passed since a record was made. */
export function isExpired(host: AuthHost, record: EngineRecord, durationS: number): boolean {
  const createdMs = parseDateTime(record.text('created'))
  return createdMs === null || host.clock.now() - createdMs > durationS * 1000
}

/** Removes one-time passwords or MFA sessions past their time; what the hourly jobs do. @returns how many. */
export async function deleteExpired(host: AuthHost, name: typeof otpsName | typeof mfasName): Promise<number> {
  let deleted = 0
  for (const collection of host.collections.all()) {
    if (!collection.isAuth) continue
    // Also where the method is off now: leftovers must not wake up with it.
    const { duration } = name === otpsName ? collection.auth.otp : collection.auth.mfa
    const before = formatDateTime(host.clock.now() - duration * 1000)
    for (;;) {
      const where = `\`collectionRef\` = ? AND \`created\` < ? LIMIT ${expiredBatch}`
      const expired = select(host, name, where, [collection.id, before])
      if (expired.length === 0) break
      await host.data.transaction(async () => {
        for (const record of expired) await host.records.delete(record)
      })
      deleted += expired.length
    }
  }
  return deleted
}

/** Hangs the rules of these records on the engine's chains. */
export function bindSystemRecords(host: AuthHost): void {
  const { chains } = host
  chains.onRecordValidate.bind({
    id: 'pfSystemReferences',
    tags: systemNames,
    priority: 99,
    handle: async (event) => {
      await event.next() // what the fields say of themselves comes first, all of it
      checkReferences(host, event.record)
    },
  })
  chains.onRecordDeleteExecute.bind({
    id: 'pfSystemReferences',
    priority: 99,
    handle: (event) => (event.record.collection.isAuth ? deleteWithDependents(host, event) : event.next()),
  })
  chains.onRecordUpdateExecute.bind({
    id: 'pfSystemReferences',
    priority: 99,
    handle: (event) => (event.record.collection.isAuth ? updateWithDependents(host, event) : event.next()),
  })
  for (const chain of [chains.onRecordCreateExecute, chains.onRecordUpdateExecute])
    chain.bind({
      id: 'pfSuperusers',
      tags: [superusersName],
      priority: -99,
      handle: (event) => saveSuperuser(host, event),
    })
}

function checkReferences(host: AuthHost, record: EngineRecord): void {
  const collectionRef = record.text('collectionRef')
  if (collectionRef === '') refuse('collectionRef', 'validation_required', 'Cannot be blank.')
  const collection = host.collections.all().find(({ id }) => id === collectionRef)
  if (collection === undefined)
    refuse('collectionRef', 'validation_invalid_collection_id', 'Missing or invalid collection.')
  if (!collection.isAuth)
    refuse('collectionRef', 'validation_invalid_collection_type', 'Invalid collection type - must be auth.')
  const recordRef = record.text('recordRef')
  if (recordRef === '') refuse('recordRef', 'validation_required', 'Cannot be blank.')
  if (host.records.findById(collection, recordRef) === null)
    refuse('recordRef', 'validation_invalid_record', 'Missing or invalid record.')
  if (record.collection.name !== externalAuthsName) return
  const provider = record.text('provider')
  if (provider === '') refuse('provider', 'validation_required', 'Cannot be blank.')
  if (!oauth2Providers.some(({ name }) => name === provider))
    refuse('provider', 'validation_in_invalid', 'Must be a valid value.')
}

function refuse(field: string, code: string, message: string): never {
  throw ValidationFailed.of(field, { code, message })
}

async function deleteWithDependents(host: AuthHost, event: RecordEvent): Promise<void> {
  await event.next()
  for (const name of systemNames) await deleteRecordsOf(host, name, event.record)
}

async function updateWithDependents(host: AuthHost, event: RecordEvent): Promise<void> {
  const { record } = event
  const { original } = record
  const isVerifiedNow = original['verified'] !== true && record.bool('verified')
  // Whoever linked an account before the address was proven may not be who proved it.
  if (isVerifiedNow && recordsOf(host, externalAuthsName, record).length > 0) {
    await deleteRecordsOf(host, externalAuthsName, record)
    host.records.refreshTokenKey(record)
  }
  const hashBefore = hashOf(original['password'])
  await event.next()
  if (original['tokenKey'] !== record.get('tokenKey')) await deleteRecordsOf(host, otpsName, record)
  if (hashBefore !== hashOf(record.get('password'))) {
    await deleteRecordsOf(host, mfasName, record)
    await deleteRecordsOf(host, authOriginsName, record)
  }
}

async function saveSuperuser(host: AuthHost, event: RecordEvent): Promise<void> {
  const { record } = event
  record.set('verified', true)
  const isCreate = record.isNew
  await event.next()
  if (!isCreate || record.text('email') === installerEmail) return
  const installer = findByEmail(host, record.collection, installerEmail)
  if (installer !== null) await host.records.delete(installer)
}

function hashOf(value: unknown): string {
  return value instanceof PasswordValue ? value.hash : ''
}

function select(host: AuthHost, name: SystemName, where: string, params: readonly string[]): EngineRecord[] {
  const collection = host.collections.require(name)
  return host.data
    .all<Row>(`SELECT * FROM ${quoteName(name)} WHERE ${where}`, params)
    .map((row) => EngineRecord.fromRow(collection, row))
}
