// Sends through the mail server of a tenant's settings: one connection per mail, as PocketBase does.

import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { AppError } from '../../../lib/errors.ts'
import { isPublicAddress } from '../auth/oauth2/outbound.ts'
import { isEmail } from '../settings/formats.ts'
import type { SmtpSettings } from '../settings/settings.ts'
import { htmlToText } from './html-to-text.ts'
import { headerText, type MailAddress, type Mailer, type MailMessage } from './mailer.ts'

const connectTimeoutMs = 15_000
/** Silence of the server in the middle of a conversation. */
const socketTimeoutMs = 30_000

/** A mail was not taken. The message names the server's words, which are for admins and the log. */
export class MailError extends AppError {
  readonly code = 'mail'
}

export interface SmtpDeps {
  /** Whether the server may stand in a private network: yes on one's own machine, no on a node that others share. */
  readonly mayReachPrivate: boolean
}

export function smtpMailer(smtp: SmtpSettings, deps: SmtpDeps): Mailer {
  return { send: (message) => send(smtp, deps, message) }
}

async function send(smtp: SmtpSettings, deps: SmtpDeps, message: MailMessage): Promise<void> {
  for (const { address } of [message.from, ...message.to, ...(message.cc ?? []), ...(message.bcc ?? [])])
    if (!isEmail(address)) throw new MailError('a mail needs valid addresses')
  // Loaded with the first mail: it costs 50 ms, which a server without mails should not pay when it starts.
  const { createTransport } = await import('nodemailer')
  const hasCredentials = smtp.username !== '' || smtp.password !== ''
  const transport = createTransport({
    host: deps.mayReachPrivate ? smtp.host : await publicAddressOf(smtp.host),
    port: smtp.port,
    secure: smtp.tls,
    // Without TLS a password would be readable on the way; only this machine itself may get it like that.
    requireTLS: hasCredentials && !smtp.tls && !isThisMachine(smtp.host),
    tls: isIP(smtp.host) === 0 ? { servername: smtp.host } : {},
    name: smtp.localName || 'localhost',
    ...(hasCredentials
      ? {
          auth: { user: smtp.username, pass: smtp.password },
          authMethod: smtp.authMethod === 'LOGIN' ? 'LOGIN' : 'PLAIN',
        }
      : {}),
    connectionTimeout: connectTimeoutMs,
    greetingTimeout: connectTimeoutMs,
    socketTimeout: socketTimeoutMs,
    // A message is made of tenants' data, which must never name a file or an address to be read.
    disableFileAccess: true,
    disableUrlAccess: true,
  })
  try {
    await transport.sendMail({
      from: addressOf(message.from),
      to: message.to.map(addressOf),
      cc: (message.cc ?? []).map(addressOf),
      bcc: (message.bcc ?? []).map(addressOf),
      subject: headerText(message.subject),
      html: message.html,
      text: message.text ?? htmlToText(message.html),
      headers: Object.fromEntries(
        Object.entries(message.headers ?? {}).map(([name, value]) => [name, headerText(value)]),
      ),
    })
  } catch (cause) {
    throw new MailError(`the mail server did not take the message`, { cause })
  } finally {
    transport.close()
  }
}

function addressOf({ name, address }: MailAddress): { name: string; address: string } {
  return { name: headerText(name ?? ''), address }
}

function isThisMachine(host: string): boolean {
  return host === 'localhost' || host === '127.0.0.1' || host === '::1'
}

/** The address to connect to; looked up here, so that it is the one that was checked. */
async function publicAddressOf(host: string): Promise<string> {
  let addresses: readonly string[]
  try {
    addresses = isIP(host) === 0 ? (await lookup(host, { all: true })).map(({ address }) => address) : [host]
  } catch (cause) {
    throw new MailError(`the mail server's name cannot be resolved`, { cause })
  }
  const first = addresses[0]
  if (first === undefined || !addresses.every(isPublicAddress))
    throw new MailError('the mail server has an address that cannot be used from here')
  return first
}
