// One-time passwords by mail.

import { recordId } from '../../lib/id.ts'
import { findByEmail } from '../engine/auth/lookup.ts'
import { isExpired } from '../engine/auth/system-records.ts'
import type { RecordCreateOTPRequestEvent } from '../engine/hook-events.ts'
import { sendOtp } from '../engine/mails/record-mails.ts'
import type { EngineRecord } from '../engine/records/record.ts'
import { lengthBetween, required } from '../engine/settings/checks.ts'
import { check, emailFormat, readBody, readTexts } from './auth-forms.ts'
import { authCollectionOf } from './auth-guards.ts'
import { answerSignIn } from './auth-response.ts'
import { badRequest, forbidden, tooManyRequests } from './error-map.ts'
import { hooked } from './hooked.ts'
import type { RequestEvent } from './request-event.ts'

const disabled = 'The collection is not configured to allow OTP authentication.'
/** One answer for every reason, so that ids and passwords cannot be told apart. */
const refused = 'Invalid or expired OTP'

export async function requestOtp(event: RequestEvent): Promise<Response> {
  const { engine } = event
  const collection = authCollectionOf(event)
  if (!collection.auth.otp.enabled) throw forbidden(disabled)
  const { email } = readTexts(await readBody(event), 'email')
  check({ email: [email, required, lengthBetween(1, 255), emailFormat] })
  const record = findByEmail(engine, collection, email)
  const facts = { requestEvent: event, collection, record, password: engine.auth.newOtpPassword(collection) }
  return hooked(engine.chains.onRecordRequestOTPRequest, facts, (e) => sendNewOtp(event, e))
}

async function sendNewOtp(event: RequestEvent, e: RecordCreateOTPRequestEvent): Promise<Response> {
  const { engine } = event
  const { collection, record } = e
  if (record === null) {
    await engine.auth.pretendToCreateOtp(collection)
    return event.json(200, { otpId: recordId(engine.rng) })
  }
  const reused = engine.auth.otpToReuse(record)
  if (reused !== null) {
    engine.log.warn('too many one-time passwords, the last one stays', { record: record.id, otp: reused.id })
    return event.json(200, { otpId: reused.id })
  }
  const { otp, password } = await engine.auth.createOtp(record, e.password)
  engine.auth.inBackground('one-time password not sent', async () => {
    try {
      await sendOtp(engine, record, otp.id, password)
    } catch (error) {
      const unsent = engine.auth.findOtp(otp.id)
      if (unsent !== null) await engine.records.delete(unsent)
      throw error
    }
  })
  return event.json(200, { otpId: otp.id })
}

export async function authWithOtp(event: RequestEvent): Promise<Response> {
  const { engine } = event
  const collection = authCollectionOf(event)
  if (!collection.auth.otp.enabled) throw forbidden(disabled)
  const form = readTexts(await readBody(event), 'otpId', 'password')
  check({
    otpId: [form.otpId, required, lengthBetween(1, 255)],
    password: [form.password, required, lengthBetween(1, 71)],
  })
  event.context = 'otp'
  const otp = engine.auth.findOtp(form.otpId)
  if (otp === null || otp.text('collectionRef') !== collection.id) throw badRequest(refused)
  if (isExpired(engine, otp, collection.auth.otp.duration)) throw badRequest(refused)
  const record = engine.records.findById(collection, otp.text('recordRef'))
  if (record === null) throw badRequest(refused)
  if (!engine.auth.mayTryOtp(record, event.realIp))
    throw tooManyRequests('Too many attempts, please try again later with a new OTP.')
  if (!(await engine.auth.verifyPassword(otp, form.password))) throw badRequest(refused)
  const facts = { requestEvent: event, collection, record, otp }
  return hooked(engine.chains.onRecordAuthWithOTPRequest, facts, async (e) => {
    await useUp(event, otp)
    await proveAddress(event, e.record, otp.text('sentTo'))
    return answerSignIn(event, e.record, 'otp')
  })
}

/** A one-time password is good once: of two requests that found it, the one that deletes it wins. */
async function useUp(event: RequestEvent, otp: EngineRecord): Promise<void> {
  const { engine } = event
  await engine.transaction(async () => {
    const current = engine.auth.findOtp(otp.id)
    if (current === null) throw badRequest(refused)
    await engine.records.delete(current)
  })
}

/** Who reads the mails of an address owns it, whatever the sign-in leads to. */
async function proveAddress(event: RequestEvent, record: EngineRecord, sentTo: string): Promise<void> {
  const { engine } = event
  if (record.bool('verified') || sentTo === '' || sentTo !== record.text('email')) return
  record.set('verified', true)
  // Somebody else may have made this account with a password of theirs; with MFA that alone would not let them in.
  if (!record.collection.auth.mfa.enabled) await engine.auth.setRandomPassword(record)
  try {
    await engine.records.save(record)
  } catch (error) {
    engine.log.error('verified state not saved after a one-time password', { record: record.id, error })
  }
}
