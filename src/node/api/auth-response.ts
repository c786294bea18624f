// What every way of signing in ends with: may this record sign in, is a second method wanted, what does the client get
// to see. PocketBase: apis/record_helpers.go.

import { noteOrigin } from '../engine/auth/origins.ts'
import { isExpired, newRecordOf } from '../engine/auth/system-records.ts'
import { newAuthToken } from '../engine/auth/tokens.ts'
import { mfasName } from '../engine/collections/collection.ts'
import { FilterError } from '../engine/filter/resolver.ts'
import type { RecordAuthRequestEvent } from '../engine/hook-events.ts'
import { isSuperuserIpAllowed } from '../engine/rate-limit/check.ts'
import type { EngineRecord } from '../engine/records/record.ts'
import { enrichSignedIn, matchesRule, maySignIn } from './auth-access.ts'
import { readTexts } from './auth-forms.ts'
import { badRequest, forbidden } from './error-map.ts'
import { hooked } from './hooked.ts'
import type { RequestEvent } from './request-event.ts'

/** Which of the methods that MFA combines a sign-in used; null for refreshes and impersonation, which need no second. */
export type AuthMethod = 'password' | 'oauth2' | 'otp' | null

/** Answers a successful sign-in with a new token. */
export function answerSignIn(
  event: RequestEvent,
  record: EngineRecord,
  method: AuthMethod,
  meta?: Readonly<Record<string, unknown>>,
): Promise<Response> {
  return answerWithToken(event, record, newAuthToken(record, event.engine.clock.now()), method, meta)
}

/** Answers with `token`, after all that may still stand in the way. */
export async function answerWithToken(
  event: RequestEvent,
  record: EngineRecord,
  token: string,
  method: AuthMethod,
  meta?: Readonly<Record<string, unknown>>,
): Promise<Response> {
  const { engine } = event
  if (record.collection.isSuperusers && !isSuperuserIpAllowed(engine.settings, event.realIp)) throw forbidden()
  if (!(await maySignIn(event, record, record.collection.auth.authRule)))
    throw forbidden("The request doesn't satisfy the collection requirements to authenticate.")
  const { collection } = record
  const facts = { requestEvent: event, collection, record, token, meta, authMethod: method ?? '' }
  return hooked(engine.chains.onRecordAuthRequest, facts, (e) => admit(event, e, method))
}

async function admit(event: RequestEvent, e: RecordAuthRequestEvent, method: AuthMethod): Promise<Response> {
  const { engine } = event
  const { record, token, meta } = e
  const mfaId = method === null ? null : await mfaStep(event, record, method)
  if (mfaId !== null) return event.json(401, { mfaId })
  await enrichSignedIn(event, record)
  if (method !== null && record.collection.auth.authAlert.enabled) {
    try {
      await noteOrigin(engine, record, { ip: event.realIp, userAgent: event.request.headers.get('user-agent') ?? '' })
    } catch (error) {
      // A mail server that is down must not lock people out.
      engine.log.warn('login alert not sent', { collection: record.collection.name, record: record.id, error })
    }
  }
  return event.json(200, { ...(meta === undefined ? {} : { meta }), record, token })
}

/**
 * MFA: the first method opens a session, a different one closes it.
 *
 * @returns the id of a session that was just opened, or null when nothing more is needed.
 */
async function mfaStep(event: RequestEvent, record: EngineRecord, method: string): Promise<string | null> {
  const { engine } = event
  const { mfa: options } = record.collection.auth
  if (!options.enabled || !(await wantsMfa(event, record, options.rule))) return null
  const given = event.query.get('mfaId') || readTexts(await event.body(), 'mfaId').mfaId
  if (given === '') {
    const session = newRecordOf(engine, mfasName, record)
    session.set('method', method)
    await engine.records.save(session)
    return session.id
  }
  const session = engine.auth.findMfa(given)
  if (session === null) throw badRequest('Invalid or expired MFA session.')
  if (isExpired(engine, session, options.duration)) {
    await engine.records.delete(session)
    throw badRequest('Invalid or expired MFA session.')
  }
  if (session.text('recordRef') !== record.id || session.text('collectionRef') !== record.collection.id)
    throw badRequest('Invalid MFA session.')
  if (session.text('method') === method) throw badRequest('A different authentication method is required.')
  await engine.records.delete(session)
  return null
}

async function wantsMfa(event: RequestEvent, record: EngineRecord, rule: string): Promise<boolean> {
  if (rule === '') return true
  try {
    return await matchesRule(event, record, rule)
  } catch (error) {
    if (!(error instanceof FilterError)) throw error
    event.engine.log.warn('MFA rule is broken', { collection: record.collection.name, error })
    throw badRequest('Failed to authenticate.')
  }
}
