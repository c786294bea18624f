// Settings and their tests, for superusers. PocketBase: apis/settings.go, forms/.

import { recordId } from '../../lib/id.ts'
import { AppleKeyError, appleSecretDurationMaxS, createAppleSecret } from '../engine/auth/oauth2/apple-secret.ts'
import { parseJsonObject } from '../engine/body/body.ts'
import { superusersName } from '../engine/collections/collection.ts'
import { formatDateTime } from '../engine/fields/datetime.ts'
import {
  sendAuthAlert,
  sendEmailChange,
  sendOtp,
  sendPasswordReset,
  sendVerification,
} from '../engine/mails/record-mails.ts'
import { MailError } from '../engine/mails/smtp.ts'
import { EngineRecord } from '../engine/records/record.ts'
import { atLeast, atMost, lengthBetween, oneOf, required } from '../engine/settings/checks.ts'
import { cronProblem } from '../engine/settings/cron-check.ts'
import { S3TestError, testS3 } from '../engine/settings/s3-test.ts'
import { mergeSettings, publicSettings, type Settings } from '../engine/settings/settings.ts'
import { validateSettings } from '../engine/settings/validate.ts'
import { check, emailFormat, readBody, readInteger, readTexts, refuseIf, unreadable } from './auth-forms.ts'
import { requireSuperuser } from './auth-guards.ts'
import { badRequest } from './error-map.ts'
import { hooked } from './hooked.ts'
import type { RequestEvent } from './request-event.ts'
import type { Route } from './router.ts'

export function viewSettings(event: RequestEvent): Response | Promise<Response> {
  requireSuperuser(event)
  const { chains, settings } = event.engine
  return hooked(chains.onSettingsListRequest, { requestEvent: event, settings }, (e) =>
    event.json(200, publicSettings(e.settings)),
  )
}

export async function updateSettings(event: RequestEvent): Promise<Response> {
  requireSuperuser(event)
  const { engine } = event
  const facts = { requestEvent: event, oldSettings: engine.settings, newSettings: await submittedSettings(event) }
  return hooked(engine.chains.onSettingsUpdateRequest, facts, async (e) => {
    const errors = validateSettings(e.newSettings, { cronProblem })
    if (errors !== null) throw badRequest('An error occurred while saving the new settings.', errors)
    await engine.settingsStore.save(e.newSettings)
    return event.json(200, publicSettings(engine.settings))
  })
}

/** What is there with what was sent in its place; of a form first its fields, then its `@jsonPayload`. */
async function submittedSettings(event: RequestEvent): Promise<Settings> {
  const current = event.engine.settings
  const body = await readBody(event, unreadable)
  const { fields } = await event.parsedBody()
  if (fields === undefined) return loaded(current, body)
  const payloads = (fields.get('@jsonPayload') ?? []).map(parseJsonObject)
  return payloads.reduce(loaded, loaded(current, settingsOfFields(current, fields)))
}

function loaded(current: Settings, json: Readonly<Record<string, unknown>>): Settings {
  const merged = mergeSettings(current, json)
  if (!merged.ok) throw badRequest(unreadable)
  return merged.value
}

/** Fields of a form are named by group and member, as `meta.appName`; what is no such member is left out. */
function settingsOfFields(
  current: Settings,
  fields: ReadonlyMap<string, readonly string[]>,
): Readonly<Record<string, unknown>> {
  const settings = new Map<string, unknown>()
  for (const [name, texts] of fields) {
    if (name === 'superuserIPs') settings.set(name, texts)
    const [group = '', member = '', ...tooDeep] = name.split('.')
    const known = (current as unknown as Record<string, Record<string, unknown>>)[group]
    if (tooDeep.length > 0 || known === undefined || Array.isArray(known) || !Object.hasOwn(known, member)) continue
    settings.set(group, { ...(settings.get(group) ?? {}), [member]: fromForm(texts, known[member]) })
  }
  return Object.fromEntries(settings)
}

/** A form's texts in the kind of the value that is there; lists of objects have no form. */
function fromForm(texts: readonly string[], before: unknown): unknown {
  if (Array.isArray(before)) return before.some((each) => typeof each === 'object') ? before : texts
  const [text = ''] = texts
  if (typeof before === 'number') {
    if (!/^[+-]?\d{0,15}$/.test(text)) throw badRequest(unreadable)
    return Number(text)
  }
  if (typeof before !== 'boolean') return typeof before === 'string' ? text : before
  if (['', '0', 'f', 'F', 'false', 'FALSE', 'False'].includes(text)) return false
  if (['1', 't', 'T', 'true', 'TRUE', 'True'].includes(text)) return true
  throw badRequest(unreadable)
}

export async function testS3Settings(event: RequestEvent): Promise<Response> {
  requireSuperuser(event)
  const { filesystem } = readTexts(await readBody(event, unreadable), 'filesystem')
  check({ filesystem: [filesystem, required, oneOf(['storage', 'backups'])] }, 'Failed to test the S3 filesystem.')
  const { s3, backups } = event.engine.settings
  try {
    await testS3(filesystem === 'backups' ? backups.s3 : s3, event.engine)
  } catch (error) {
    if (!(error instanceof S3TestError)) throw error
    throw badRequest(`Failed to test the S3 filesystem. Raw error: \n${error.message}`)
  }
  return event.noContent()
}

const templates = ['verification', 'password-reset', 'email-change', 'otp', 'login-alert']

export async function sendTestEmail(event: RequestEvent): Promise<Response> {
  requireSuperuser(event)
  const { engine } = event
  const form = readTexts(await readBody(event, unreadable), 'email', 'template', 'collection')
  const isNoAuth = (name: string) => !engine.collections.find(name)?.isAuth
  const noAuth = refuseIf(isNoAuth, 'validation_invalid_auth_collection', 'Must be a valid auth collection id or name.')
  check(
    {
      collection: [form.collection, lengthBetween(1, 255), noAuth],
      email: [form.email, required, lengthBetween(1, 255), emailFormat],
      template: [form.template, required, oneOf(templates)],
    },
    'Failed to send the test email.',
  )
  const record = testRecord(event, form.collection || superusersName, form.email)
  try {
    await sendTemplate(event, record, form.template)
  } catch (error) {
    if (!(error instanceof MailError)) throw error
    const words = error.cause instanceof Error ? error.cause.message : error.message
    throw badRequest(`Failed to send the test email. Raw error: \n${words}`)
  }
  return event.noContent()
}

function sendTemplate({ engine }: RequestEvent, record: EngineRecord, template: string): Promise<void> {
  switch (template) {
    case 'verification':
      return sendVerification(engine, record)
    case 'password-reset':
      return sendPasswordReset(engine, record)
    case 'email-change':
      return sendEmailChange(engine, record, record.text('email'))
    case 'otp':
      return sendOtp(engine, record, '_PB_TEST_OTP_ID_', '123456')
    default:
      return sendAuthAlert(engine, record, `${formatDateTime(engine.clock.now())} - TEST_IP TEST_USER_AGENT`)
  }
}

/** A record that is nobody's, with texts that show where a template puts them. */
function testRecord({ engine }: RequestEvent, collection: string, email: string): EngineRecord {
  const record = EngineRecord.blank(engine.collections.require(collection))
  for (const field of record.collection.fields)
    if (!field.hidden && field.type !== 'file') record.set(field.name, `__pb_test_${field.name}__`)
  record.set('id', recordId(engine.rng))
  engine.records.refreshTokenKey(record)
  record.set('email', email)
  return record
}

/** PEM in PKCS #8, by its first and last line; the rest is the parser's matter. */
function isPrivateKey(text: string): boolean {
  const start = text.indexOf('-----BEGIN PRIVATE KEY----')
  return start >= 0 && text.lastIndexOf('-----END PRIVATE KEY-----') > start
}

const notPrivateKey = refuseIf((text) => !isPrivateKey(text), 'validation_match_invalid', 'Must be in a valid format.')

export async function generateAppleSecret(event: RequestEvent): Promise<Response> {
  requireSuperuser(event)
  const body = await readBody(event, unreadable)
  const form = readTexts(body, 'clientId', 'teamId', 'keyId', 'privateKey')
  const duration = readInteger(body, 'duration')
  check(
    {
      clientId: [form.clientId, required],
      teamId: [form.teamId, required, lengthBetween(10, 10)],
      keyId: [form.keyId, required, lengthBetween(10, 10)],
      privateKey: [form.privateKey, required, notPrivateKey],
      duration: [duration, required, atLeast(1), atMost(appleSecretDurationMaxS)],
    },
    'Invalid client secret data.',
  )
  try {
    const secret = await createAppleSecret({ ...form, durationS: duration, nowMs: event.engine.clock.now() })
    return event.json(200, { secret })
  } catch (error) {
    if (!(error instanceof AppleKeyError)) throw error
    throw badRequest(`Failed to generate client secret. Raw error: \n${error.message}`)
  }
}

export const settingsRoutes: readonly Route[] = [
  { method: 'GET', path: '/api/settings', limit: 'path', handle: viewSettings },
  { method: 'PATCH', path: '/api/settings', limit: 'path', handle: updateSettings },
  { method: 'POST', path: '/api/settings/test/s3', limit: 'path', handle: testS3Settings },
  { method: 'POST', path: '/api/settings/test/email', limit: 'path', handle: sendTestEmail },
  { method: 'POST', path: '/api/settings/apple/generate-client-secret', limit: 'path', handle: generateAppleSecret },
]
