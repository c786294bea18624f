// A new password by a link in a mail.

import { findByEmail } from '../engine/auth/lookup.ts'
import { unverifiedClaims } from '../engine/auth/tokens.ts'
import type { Collection } from '../engine/collections/collection.ts'
import { sendPasswordReset } from '../engine/mails/record-mails.ts'
import type { EngineRecord } from '../engine/records/record.ts'
import { type Check, lengthBetween, required } from '../engine/settings/checks.ts'
import { check, emailFormat, readBody, readTexts, unreadable } from './auth-forms.ts'
import { authCollectionOf } from './auth-guards.ts'
import { badRequest } from './error-map.ts'
import { hooked } from './hooked.ts'
import type { RequestEvent } from './request-event.ts'

const mailKey = (record: EngineRecord) => `password reset ${record.collection.id} ${record.id}`

export async function requestPasswordReset(event: RequestEvent): Promise<Response> {
  const { engine } = event
  const collection = authCollectionOf(event)
  if (!collection.auth.passwordAuth.enabled)
    throw badRequest('The collection is not configured to allow password authentication.')
  const { email } = readTexts(await readBody(event), 'email')
  check({ email: [email, required, lengthBetween(1, 255), emailFormat] })
  const record = findByEmail(engine, collection, email)
  // The same answer whether the address is known or was sent a mail a moment ago.
  if (record === null || engine.auth.recentMails.has(mailKey(record))) return event.noContent()
  const facts = { requestEvent: event, collection, record }
  return hooked(engine.chains.onRecordRequestPasswordResetRequest, facts, (e) => {
    engine.auth.recentMails.set(mailKey(e.record), true)
    engine.auth.inBackground('password reset mail not sent', async () => {
      try {
        await sendPasswordReset(engine, e.record)
      } catch (error) {
        engine.auth.recentMails.delete(mailKey(e.record)) // may be asked for again at once
        throw error
      }
    })
    return event.noContent()
  })
}

export async function confirmPasswordReset(event: RequestEvent): Promise<Response> {
  const { engine } = event
  const collection = authCollectionOf(event)
  const form = readTexts(await readBody(event, unreadable), 'token', 'password', 'passwordConfirm')
  const field = collection.field('password')
  const min = field?.type === 'password' && field.min > 0 ? field.min : 1
  check({
    token: [form.token, required, isTokenFor(event, collection)],
    password: [form.password, required, lengthBetween(min, 255)],
    passwordConfirm: [form.passwordConfirm, required, equals(form.password)],
  })
  const record = engine.auth.findByToken(form.token, ['passwordReset'])
  if (record === null) throw badRequest('Invalid or expired password reset token.')
  const facts = { requestEvent: event, collection, record }
  return hooked(engine.chains.onRecordConfirmPasswordResetRequest, facts, async (e) => {
    e.record.set('password', form.password)
    // The mail was read, so the address is proven, if it still is the one the mail went to.
    if (e.record.text('email') === unverifiedClaims(form.token)['email']) e.record.set('verified', true)
    await engine.records.save(e.record)
    engine.auth.recentMails.delete(mailKey(e.record))
    return event.noContent()
  })
}

function isTokenFor(event: RequestEvent, collection: Collection): Check {
  return (value) => {
    const record = event.engine.auth.findByToken(String(value), ['passwordReset'])
    if (record === null) return { code: 'validation_invalid_token', message: 'Invalid or expired token.' }
    return record.collection.id === collection.id
      ? null
      : {
          code: 'validation_token_collection_mismatch',
          message: 'The provided token is for different auth collection.',
        }
  }
}

function equals(password: string): Check {
  return (value) => (value === password ? null : { code: 'validation_values_mismatch', message: "Values don't match." })
}
