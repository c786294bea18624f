// Goal: mails arrive as written, in both versions, and nothing in a record or a template can add a header or a
// recipient. Method: a real SMTP server from npm, run in this process.

import { afterAll, beforeAll, expect, test } from 'bun:test'
import { SMTPServer } from 'smtp-server'
import { leastCpuMs } from '../../../../test/support/cpu.ts'
import { defaultSettings, type SmtpSettings } from '../settings/settings.ts'
import { htmlToText } from './html-to-text.ts'
import type { MailMessage } from './mailer.ts'
import { MailError, smtpMailer } from './smtp.ts'
import { escapeHtml, fillTemplate, mailDocument } from './template.ts'

interface Received {
  readonly from: string
  readonly to: string[]
  readonly source: string
  readonly user: string | undefined
  readonly isSecure: boolean
}

const received: Received[] = []
let refuseNext = false
const server = new SMTPServer({
  authOptional: true,
  authMethods: ['PLAIN', 'LOGIN'],
  allowInsecureAuth: true,
  onAuth(auth, _session, done) {
    if (auth.password === 'right') done(null, { user: `${auth.method}:${auth.username}` })
    else done(new Error('wrong password'))
  },
  onMailFrom(_address, _session, done) {
    const refused = refuseNext
    refuseNext = false
    done(refused ? new Error('not today') : null)
  },
  onData(stream, session, done) {
    const chunks: Uint8Array[] = []
    stream.on('data', (chunk: Uint8Array) => chunks.push(chunk))
    stream.on('end', () => {
      received.push({
        from: session.envelope.mailFrom === false ? '' : session.envelope.mailFrom.address,
        to: session.envelope.rcptTo.map(({ address }) => address),
        source: Buffer.concat(chunks).toString(),
        user: session.user as string | undefined,
        isSecure: session.secure,
      })
      done()
    })
  },
})
let smtp: SmtpSettings

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()))
  const { port } = server.server.address() as { port: number }
  smtp = { ...defaultSettings.smtp, enabled: true, host: '127.0.0.1', port, localName: 'mail.example.com' }
  // Its certificate is made by the server and nobody's; the STARTTLS tests below need exactly that.
})
afterAll(() => new Promise<void>((resolve) => server.close(() => resolve())))

const message: MailMessage = {
  from: { name: 'Support', address: 'support@example.com' },
  to: [{ address: 'test@example.com' }],
  subject: 'Grüße',
  html: mailDocument('<p>Hello <b>you</b></p><p><a class="btn" href="https://example.com/?a=1&amp;b=2">Verify</a></p>'),
}
const own = { mayReachPrivate: true }

/** A server whose certificate is trusted by nobody must not be talked to in secret; so these go without STARTTLS. */
const plain = () => new SMTPServer({ ...server.options, disabledCommands: ['STARTTLS'] })

async function withServer<T>(make: () => SMTPServer, body: (settings: SmtpSettings) => Promise<T>): Promise<T> {
  const other = make()
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', () => resolve()))
  try {
    return await body({ ...smtp, port: (other.server.address() as { port: number }).port })
  } finally {
    await new Promise<void>((resolve) => other.close(() => resolve()))
  }
}

const decoded = (source: string) =>
  source.replace(/=\r?\n/g, '').replace(/=([0-9A-F]{2})/g, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)))

test('a mail arrives with both versions', async () => {
  await withServer(plain, (settings) => smtpMailer(settings, own).send(message))
  const mail = received.pop()!
  expect(mail).toMatchObject({ from: 'support@example.com', to: ['test@example.com'], user: undefined })
  expect(mail.source).toContain('From: Support <support@example.com>')
  expect(mail.source).toMatch(/Subject: =\?UTF-8\?/)
  expect(mail.source).toMatch(/Message-ID: <[^>]+@example\.com>/)
  expect(decoded(mail.source)).toContain('[Verify](https://example.com/?a=1&b=2)')
  expect(decoded(mail.source)).toContain('<a class="btn"')
})

test('signs in with the configured method', async () => {
  await withServer(plain, async (settings) => {
    const login = { ...settings, username: 'me', password: 'right' }
    await smtpMailer(login, own).send(message)
    await smtpMailer({ ...login, authMethod: 'LOGIN' }, own).send(message)
    expect(received.splice(0).map(({ user }) => user)).toEqual(['PLAIN:me', 'LOGIN:me'])
    await expect(smtpMailer({ ...login, password: 'wrong' }, own).send(message)).rejects.toBeInstanceOf(MailError)
  })
})

test('an untrusted certificate, a refusal and a closed port are errors', async () => {
  await expect(smtpMailer(smtp, own).send(message)).rejects.toBeInstanceOf(MailError) // STARTTLS with a self-made one
  await withServer(plain, async (settings) => {
    refuseNext = true
    await expect(smtpMailer(settings, own).send(message)).rejects.toBeInstanceOf(MailError)
    await smtpMailer(settings, own).send(message)
  })
  await expect(smtpMailer({ ...smtp, port: 1 }, own).send(message)).rejects.toBeInstanceOf(MailError)
  expect(received.splice(0)).toHaveLength(1)
})

test('a shared node does not connect to its own network', async () => {
  for (const host of ['127.0.0.1', 'localhost', '10.0.0.1', '169.254.169.254', '::1'])
    await expect(smtpMailer({ ...smtp, host }, { mayReachPrivate: false }).send(message)).rejects.toBeInstanceOf(
      MailError,
    )
})

test('no header and no recipient can be smuggled in', async () => {
  await withServer(plain, async (settings) => {
    const mailer = smtpMailer(settings, own)
    await mailer.send({
      ...message,
      subject: 'Hi\r\nBcc: evil@example.com\r\n\r\n<b>body</b>',
      from: { name: 'Me\r\nX-Evil: 1', address: 'support@example.com' },
      headers: { 'X-Own': 'a\r\nX-Evil: 2' },
    })
    const { to, source } = received.pop()!
    expect(to).toEqual(['test@example.com'])
    expect(source).not.toMatch(/^(?:Bcc|X-Evil):/im)
    for (const address of ['a@b.c\r\nRCPT TO:<evil@example.com>', 'a@b.c, evil@example.com', '<a@b.c>', ''])
      await expect(mailer.send({ ...message, to: [{ address }] })).rejects.toBeInstanceOf(MailError)
  })
  expect(received).toEqual([])
})

test('placeholders are filled once', () => {
  const values = new Map([
    ['{TOKEN}', 'secret'],
    ['{RECORD:name}', '{TOKEN} $& $1'],
    ['{APP_NAME}', 'Acme'],
  ])
  const filled = fillTemplate(
    { subject: '{APP_NAME}: {RECORD:name}', body: '{TOKEN}|{UNKNOWN}|{RECORD:x}|{ TOKEN}' },
    values,
  )
  expect(filled).toEqual({ subject: 'Acme: {TOKEN} $& $1', body: 'secret|{UNKNOWN}|{RECORD:x}|{ TOKEN}' })
  expect(escapeHtml(`<a href="x">'&'</a>`)).toBe('&lt;a href=&#34;x&#34;&gt;&#39;&amp;&#39;&lt;/a&gt;')
})

test('HTML to text', () => {
  const cases: [html: string, text: string][] = [
    ['', ''],
    ['ab  c', 'ab c'],
    ['<!-- test html comment -->', ''],
    ['<!-- test html comment --> a ', 'a'],
    ['<span>a</span>b<span>c</span>', 'abc'],
    ['<a href="a/b/c">test</span>', '[test](a/b/c)'],
    ['<a href="">test</span>', '[test]'],
    ['<span>a</span> <span>b</span>', 'a b'],
    ['<span>a</span> b <span>c</span>', 'a b c'],
    ['<span>a</span> b <div>c</div>', 'a b \r\nc'],
    ['<p>a</p>\n   <p>b</p><br><br>c', 'a \r\nb\r\n\r\nc'],
    ['<ul><li>a</li><li>b</li></ul>', '- a\r\n- b'],
    ['<style>p > a { x: "</b>" }</style>a<script>if (a < b) "<p>"</script>b', 'ab'],
    ["<a href='x\"y'><b>bold</b> <i></i></a>", '[bold](x"y)'],
    ['<a href="x"><img src="y"></a>', '[LINK](x)'],
    ['a &lt;b&gt; &amp;amp; &#39;&#x41;&nope; &#0;', "a <b> &amp; 'A&nope; \ufffd"],
    ['a < b > c', 'a < b > c'],
    ['<svg><svg></svg>x</svg>y', 'y'],
  ]
  for (const [html, text] of cases) expect([html, htmlToText(html)]).toEqual([html, text])
})

test('hostile HTML costs next to nothing', () => {
  const hostile = [
    '<'.repeat(50_000),
    '<a '.repeat(20_000),
    `<a ${'"'.repeat(20_001)}`,
    '<!--'.repeat(5_000),
    '&'.repeat(50_000),
  ]
  for (const html of hostile) expect(leastCpuMs(() => htmlToText(html))).toBeLessThan(1_000)
})
