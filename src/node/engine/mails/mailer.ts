// What a mail is, and who can send one. Senders know nothing of records and templates.

import type { Logger } from '../../../lib/obs/log.ts'

export interface MailAddress {
  readonly name?: string
  readonly address: string
}

export interface MailMessage {
  readonly from: MailAddress
  readonly to: readonly MailAddress[]
  readonly cc?: readonly MailAddress[]
  readonly bcc?: readonly MailAddress[]
  readonly subject: string
  readonly html: string
  /** Made from `html` when missing. */
  readonly text?: string
  readonly headers?: Readonly<Record<string, string>>
}

export interface Mailer {
  /** Resolves when the next server has taken the message. Fails with MailError. */
  send(message: MailMessage): Promise<void>
}

/** For development and for tenants without a mail server: the mail stands in the log, where its links can be followed. */
export function logMailer(log: Logger): Mailer {
  return {
    async send(message) {
      const { subject, html } = message
      const links = [...html.matchAll(/href="([^"]+)"/g)].map((match) => match[1])
      log.info('mail not sent: no mail server is configured', {
        to: message.to.map(({ address }) => address),
        subject,
        links,
      })
    },
  }
}

/** Text that goes into a header: one line, whatever was typed into a template or a record. */
export function headerText(text: string): string {
  return text.replace(/[\r\n\0]+/g, ' ').trim()
}
