// Where signing in meets rules, expansion and the creation of records.

import { randomSecret } from '../engine/auth/random.ts'
import type { Collection, Rule } from '../engine/collections/collection.ts'
import { expandRecords } from '../engine/expand/expand.ts'
import { FilterError } from '../engine/filter/resolver.ts'
import { triggerRecord } from '../engine/records/events.ts'
import type { EngineRecord } from '../engine/records/record.ts'
import { findByRule, passesRule } from '../engine/rules/rules.ts'
import { showAllTo, showTo } from '../engine/rules/visibility.ts'
import { badRequest } from './error-map.ts'
import { createRecord } from './records.ts'
import type { RequestEvent } from './request-event.ts'

const passwordLength = 30
/** Characters, where the field sets no limit; bcrypt takes 72 bytes. */
const passwordLengthMax = 71

/** Whether `rule` lets this record sign in. A broken rule lets nobody, and is logged. */
export async function maySignIn(event: RequestEvent, record: EngineRecord, rule: Rule): Promise<boolean> {
  if (rule === '') return true
  try {
    return await passesRule(event.engine, record, rule, event.info(await event.body()))
  } catch (error) {
    if (!(error instanceof FilterError)) throw error
    event.engine.log.warn('auth rule is broken', { collection: record.collection.name, error })
    return false
  }
}

/** Whether a record matches a rule, whoever asks. Throws FilterError for a broken one. */
export async function matchesRule(event: RequestEvent, record: EngineRecord, rule: string): Promise<boolean> {
  const request = event.info(await event.body())
  return (await findByRule(event.engine, record.collection, record.id, rule, request)) !== null
}

/** Shows a record to itself: its e-mail, what `?expand=` names, everything for superusers. */
export async function enrichSignedIn(event: RequestEvent, record: EngineRecord): Promise<void> {
  const { engine } = event
  const { onRecordEnrich } = engine.chains
  const request = { ...event.info(), auth: record }
  await showTo(engine, record, request)
  record.ignoreEmailVisibility = true
  if (!onRecordEnrich.isEmpty) await triggerRecord(onRecordEnrich, { record, requestInfo: request }, () => {})
  const expand = event.query.get('expand') ?? ''
  if (expand !== '')
    await expandRecords(engine, [record], expand, {
      request,
      onRecords: (related) => showAllTo(engine, related, request),
    })
}

/** Creates the record of a first sign-in, held to the rules of every create; without a password it gets a random one. */
export async function createForSignIn(
  event: RequestEvent,
  collection: Collection,
  data: Readonly<Record<string, unknown>>,
  password = passwordFor(event, collection),
): Promise<EngineRecord> {
  if (Object.hasOwn(data, 'password')) return created(await createRecord(event, collection, data))
  return created(await createRecord(event, collection, { ...data, password, passwordConfirm: password }))
}

/** A random password that the collection takes. */
export function passwordFor(event: RequestEvent, collection: Collection): string {
  const field = collection.field('password')
  const limits = field?.type === 'password' ? field : { min: 0, max: 0 }
  const length = Math.max(limits.min, Math.min(passwordLength, limits.max || passwordLengthMax))
  return randomSecret(event.engine.rng, length)
}

/** A handler that stopped the creation left nobody to sign in. */
function created(record: EngineRecord | Response): EngineRecord {
  if (record instanceof Response) throw badRequest('Failed to authenticate.')
  return record
}
