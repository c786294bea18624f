// The mails that auth records get: which template, which token, and to whom. PocketBase: mails/record.go.

import type { AuthHost } from '../auth/auth-host.ts'
import { installerEmail } from '../auth/system-records.ts'
import { newEmailChangeToken, newPasswordResetToken, newVerificationToken } from '../auth/tokens.ts'
import { otpsName } from '../collections/collection.ts'
import { toText } from '../fields/cast.ts'
import type { Field } from '../fields/field.ts'
import { kindOf } from '../fields/kinds.ts'
import type { HookChain } from '../hook-chain.ts'
import type { MailerEvent, MailerRecordEvent } from '../hook-events.ts'
import type { EngineRecord } from '../records/record.ts'
import { logMailer, type Mailer, type MailMessage } from './mailer.ts'
import { MailError, smtpMailer } from './smtp.ts'
import { escapeHtml, fillTemplate, type MailTemplate, mailDocument } from './template.ts'

/** The mail server of the settings; without one, the log. */
export function mailerOf(host: AuthHost): Mailer {
  const { smtp } = host.settings
  return smtp.enabled ? smtpMailer(smtp, { mayReachPrivate: host.mayReachPrivate }) : logMailer(host.log)
}

export function sendVerification(host: AuthHost, record: EngineRecord): Promise<void> {
  const token = newVerificationToken(record, host.clock.now())
  return send(host, record, {
    chain: host.chains.onMailerRecordVerificationSend,
    template: record.collection.auth.verificationTemplate,
    values: { '{TOKEN}': token },
    meta: { token },
  })
}

export async function sendPasswordReset(host: AuthHost, record: EngineRecord): Promise<void> {
  if (record.collection.isSuperusers && record.text('email') === installerEmail)
    throw new MailError('the installer has no password to reset')
  const token = newPasswordResetToken(record, host.clock.now())
  await send(host, record, {
    chain: host.chains.onMailerRecordPasswordResetSend,
    template: record.collection.auth.resetPasswordTemplate,
    values: { '{TOKEN}': token },
    meta: { token },
  })
}

export function sendEmailChange(host: AuthHost, record: EngineRecord, newEmail: string): Promise<void> {
  const token = newEmailChangeToken(record, newEmail, host.clock.now())
  return send(host, record, {
    chain: host.chains.onMailerRecordEmailChangeSend,
    template: record.collection.auth.confirmEmailChangeTemplate,
    values: { '{TOKEN}': token },
    meta: { token, newEmail },
    to: newEmail,
  })
}

/** @param info when, from where and with what somebody signed in; as plain text. */
export function sendAuthAlert(host: AuthHost, record: EngineRecord, info: string): Promise<void> {
  const { emailTemplate } = record.collection.auth.authAlert
  return send(host, record, {
    chain: host.chains.onMailerRecordAuthAlertSend,
    template: emailTemplate,
    values: { '{ALERT_INFO}': escapeHtml(info) },
    meta: { info },
  })
}

/** Sends a one-time password and notes on it where it was sent to, which later counts as proof of the address. */
export async function sendOtp(host: AuthHost, record: EngineRecord, otpId: string, password: string): Promise<void> {
  const email = record.text('email')
  await send(host, record, {
    chain: host.chains.onMailerRecordOTPSend,
    template: record.collection.auth.otp.emailTemplate,
    values: { '{OTP_ID}': otpId, '{OTP}': password },
    meta: { otpId, password },
  })
  const otp = host.records.findById(host.collections.require(otpsName), otpId)
  if (otp === null || otp.text('sentTo') !== '') return // used up in the meantime, or already sent elsewhere
  otp.set('sentTo', email)
  await host.records.save(otp)
}

interface RecordMail {
  readonly chain: HookChain<MailerRecordEvent>
  readonly template: MailTemplate
  /** What its placeholders stand for, beside those of every mail. */
  readonly values: Readonly<Record<string, string>>
  /** For handlers of the chain. */
  readonly meta: Readonly<Record<string, unknown>>
  /** Default: the record's address. */
  readonly to?: string
}

async function send(host: AuthHost, record: EngineRecord, mail: RecordMail): Promise<void> {
  const { meta } = host.settings
  const filled = fillTemplate(mail.template, new Map([...commonValues(host, record), ...Object.entries(mail.values)]))
  await mayLeave(host)
  const message = {
    from: { name: meta.senderName, address: meta.senderAddress },
    to: [{ address: mail.to ?? record.text('email') }],
    subject: filled.subject,
    html: mailDocument(filled.body),
  }
  const event: MailerRecordEvent = { app: host, mailer: mailerOf(host), message, record, meta: mail.meta, next() {} }
  const { collection } = record
  await mail.chain.trigger(event, () => deliver(host, event.message, event.mailer), [collection.id, collection.name])
}

/** Sends a message; every mail of a tenant passes here. */
export async function deliver(host: AuthHost, message: MailMessage, mailer = mailerOf(host)): Promise<void> {
  await mayLeave(host)
  const event: MailerEvent = { app: host, mailer, message, next() {} }
  await host.chains.onMailerSend.trigger(event, () => event.mailer.send(event.message))
}

/** Before handlers see a mail and before it goes: it may tell of a commit, and another owner may send it too. */
async function mayLeave({ gate }: AuthHost): Promise<void> {
  await gate.admit()
  await gate.pass()
}

/** Values that stand for nothing but themselves, whoever reads the mail. */
const unescapedTypes: readonly string[] = ['autodate', 'date', 'bool', 'number']

function commonValues(host: AuthHost, record: EngineRecord): [string, string][] {
  const { meta } = host.settings
  const values: [string, string][] = [
    ['{APP_NAME}', meta.appName],
    ['{APP_URL}', meta.appURL],
  ]
  for (const field of record.collection.fields) {
    if (field.hidden || field.type === 'password') continue
    const shown = textOf(record, field)
    values.push([`{RECORD:${field.name}}`, unescapedTypes.includes(field.type) ? shown : escapeHtml(shown)])
  }
  return values
}

function textOf(record: EngineRecord, field: Field): string {
  const value = record.get(field.name)
  if (value === undefined) return ''
  const shown = kindOf(field).show(field, value)
  return typeof shown === 'object' && shown !== null ? JSON.stringify(shown) : toText(shown)
}
