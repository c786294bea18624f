// An SMTP server in the test's process that keeps what it gets, decoded.

import { SMTPServer } from 'smtp-server'
import { until } from './wait.ts'

export interface ReceivedMail {
  readonly to: readonly string[]
  readonly subject: string
  /** The whole message with its quoted-printable parts decoded. */
  readonly text: string
}

export interface MailServer {
  readonly port: number
  readonly mails: ReceivedMail[]
  /** Waits for the next mail to `address` and takes it out. */
  take(address: string): Promise<ReceivedMail>
  stop(): Promise<void>
}

export async function startMailServer(): Promise<MailServer> {
  const mails: ReceivedMail[] = []
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ['STARTTLS', 'AUTH'],
    onData(stream, session, done) {
      const chunks: Uint8Array[] = []
      stream.on('data', (chunk: Uint8Array) => chunks.push(chunk))
      stream.on('end', () => {
        const source = Buffer.concat(chunks).toString('latin1')
        const text = source
          .replace(/=\r?\n/g, '')
          .replace(/=([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
        const subject = /^Subject: (.*)$/m.exec(source)?.[1]?.trim() ?? ''
        mails.push({ to: session.envelope.rcptTo.map(({ address }) => address), subject, text })
        done()
      })
    },
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()))
  return {
    port: (server.server.address() as { port: number }).port,
    mails,
    async take(address) {
      const isForIt = (mail: ReceivedMail) => mail.to.includes(address)
      await until(`a mail to ${address}`, () => mails.some(isForIt))
      return mails.splice(mails.findIndex(isForIt), 1)[0]!
    },
    stop: () => new Promise<void>((resolve) => server.close(() => resolve())),
  }
}
