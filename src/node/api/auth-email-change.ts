// Another address, confirmed by a link in a mail to it and by the password.

import { findByEmail } from '../engine/auth/lookup.ts'
import { unverifiedClaims } from '../engine/auth/tokens.ts'
import type { Collection } from '../engine/collections/collection.ts'
import { sendEmailChange } from '../engine/mails/record-mails.ts'
import type { EngineRecord } from '../engine/records/record.ts'
import { lengthBetween, noneOf, required, type ValidationError } from '../engine/settings/checks.ts'
import { check, emailFormat, readBody, readTexts, refuseIf } from './auth-forms.ts'
import { authCollectionOf } from './auth-guards.ts'
import { badRequest, unauthorized } from './error-map.ts'
import { hooked } from './hooked.ts'
import type { RequestEvent } from './request-event.ts'

export async function requestEmailChange(event: RequestEvent): Promise<Response> {
  const { engine } = event
  const collection = changeableOf(event)
  const record = event.auth
  if (record === null) throw unauthorized('The request requires valid auth record.')
  const { newEmail } = readTexts(await readBody(event), 'newEmail')
  const isTaken = (email: string) => {
    const other = findByEmail(engine, collection, email)
    return other !== null && other.id !== record.id
  }
  check({
    newEmail: [
      newEmail,
      required,
      lengthBetween(1, 255),
      emailFormat,
      noneOf([record.text('email')]),
      refuseIf(isTaken, 'validation_invalid_new_email', 'Invalid new email address.'),
    ],
  })
  const facts = { requestEvent: event, collection, record, newEmail }
  return hooked(engine.chains.onRecordRequestEmailChangeRequest, facts, async (e) => {
    try {
      await sendEmailChange(engine, e.record, e.newEmail)
    } catch (error) {
      engine.log.error('email change mail not sent', { record: e.record.id, error })
      throw badRequest('Failed to request email change.')
    }
    return event.noContent()
  })
}

export async function confirmEmailChange(event: RequestEvent): Promise<Response> {
  const { engine } = event
  const collection = changeableOf(event)
  const form = readTexts(await readBody(event), 'token', 'password')
  const parsed = form.token === '' ? null : parseToken(event, collection, form.token)
  const record = parsed !== null && 'record' in parsed ? parsed.record : null
  const isPassword =
    record !== null && form.password !== '' && (await engine.auth.verifyPassword(record, form.password))
  const wrongPassword = refuseIf(
    () => !isPassword,
    'validation_invalid_password',
    'Missing or invalid auth record password.',
  )
  check({
    token: [form.token, required, () => (parsed !== null && 'error' in parsed ? parsed.error : null)],
    password: [form.password, required, lengthBetween(1, 100), wrongPassword],
  })
  if (parsed === null || !('record' in parsed)) throw badRequest('Invalid or expired token.')
  const facts = { requestEvent: event, collection, record: parsed.record, newEmail: parsed.newEmail }
  return hooked(engine.chains.onRecordConfirmEmailChangeRequest, facts, async (e) => {
    e.record.set('email', e.newEmail)
    e.record.set('verified', true)
    await engine.records.save(e.record)
    return event.noContent()
  })
}

type ParsedToken = { readonly record: EngineRecord; readonly newEmail: string } | { readonly error: ValidationError }

function parseToken(event: RequestEvent, collection: Collection, token: string): ParsedToken {
  const { newEmail } = unverifiedClaims(token)
  const error = (code: string, message: string) => ({ error: { code, message } })
  if (typeof newEmail !== 'string' || newEmail === '')
    return error('validation_invalid_token_payload', 'Invalid token payload - newEmail must be set.')
  const record = event.engine.auth.findByToken(token, ['emailChange'])
  if (record === null) return error('validation_invalid_token', 'Invalid or expired token.')
  if (record.collection.id !== collection.id)
    return error('validation_token_collection_mismatch', 'The provided token is for different auth collection.')
  if (findByEmail(event.engine, collection, newEmail) !== null)
    return error('validation_invalid_token_email', 'The new email address is invalid.')
  return { record, newEmail }
}

function changeableOf(event: RequestEvent): Collection {
  const collection = authCollectionOf(event)
  if (collection.isSuperusers) throw badRequest('All superusers can change their emails directly.')
  return collection
}
