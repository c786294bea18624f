// Proving an address by a link in a mail.

import { findByEmail } from '../engine/auth/lookup.ts'
import { unverifiedClaims } from '../engine/auth/tokens.ts'
import type { Collection } from '../engine/collections/collection.ts'
import { sendVerification } from '../engine/mails/record-mails.ts'
import type { EngineRecord } from '../engine/records/record.ts'
import { type Check, lengthBetween, required } from '../engine/settings/checks.ts'
import { check, emailFormat, readBody, readTexts } from './auth-forms.ts'
import { authCollectionOf } from './auth-guards.ts'
import { badRequest } from './error-map.ts'
import { hooked } from './hooked.ts'
import type { RequestEvent } from './request-event.ts'

const mailKey = (record: EngineRecord) => `verification ${record.collection.id} ${record.id}`

export async function requestVerification(event: RequestEvent): Promise<Response> {
  const { engine } = event
  const collection = verifiableOf(event)
  const { email } = readTexts(await readBody(event), 'email')
  check({ email: [email, required, lengthBetween(1, 255), emailFormat] })
  const record = findByEmail(engine, collection, email)
  // The same answer whether the address is known, verified, or was sent a mail a moment ago.
  if (record === null || record.bool('verified') || engine.auth.recentMails.has(mailKey(record)))
    return event.noContent()
  const facts = { requestEvent: event, collection, record }
  return hooked(engine.chains.onRecordRequestVerificationRequest, facts, (e) => {
    engine.auth.recentMails.set(mailKey(e.record), true)
    engine.auth.inBackground('verification mail not sent', () => sendVerification(engine, e.record))
    return event.noContent()
  })
}

export async function confirmVerification(event: RequestEvent): Promise<Response> {
  const { engine } = event
  const collection = verifiableOf(event)
  const { token } = readTexts(await readBody(event), 'token')
  check({ token: [token, required, isTokenFor(event, collection)] })
  const record = engine.auth.findByToken(token, ['verification'])
  if (record === null) throw badRequest('Invalid or expired verification token.')
  const facts = { requestEvent: event, collection, record }
  return hooked(engine.chains.onRecordConfirmVerificationRequest, facts, async (e) => {
    if (!e.record.bool('verified')) {
      e.record.set('verified', true)
      // The password may be of whoever made the account before its owner came; it must not work should it be allowed again.
      if (!collection.auth.passwordAuth.enabled) await engine.auth.setRandomPassword(e.record)
      await engine.records.save(e.record)
    }
    engine.auth.recentMails.delete(mailKey(e.record))
    return event.noContent()
  })
}

function verifiableOf(event: RequestEvent): Collection {
  const collection = authCollectionOf(event)
  if (collection.isSuperusers) throw badRequest('All superusers are verified by default.')
  return collection
}

function isTokenFor(event: RequestEvent, collection: Collection): Check {
  return (value) => {
    const token = String(value)
    const { email } = unverifiedClaims(token)
    if (typeof email !== 'string' || email === '')
      return { code: 'validation_invalid_token_claims', message: 'Missing email token claim.' }
    const record = event.engine.auth.findByToken(token, ['verification'])
    if (record === null) return { code: 'validation_invalid_token', message: 'Invalid or expired token.' }
    if (record.collection.id !== collection.id)
      return {
        code: 'validation_token_collection_mismatch',
        message: 'The provided token is for different auth collection.',
      }
    return record.text('email') === email
      ? null
      : {
          code: 'validation_token_email_mismatch',
          message: "The record email doesn't match with the requested token claims.",
        }
  }
}
