// Goal: every documented way of signing in works with the official SDK, and attacks on each end where they should.
// Method: a standalone tenant on a port, a real SMTP server, a strict OpenID provider, the `pocketbase` package.

import { afterAll, beforeAll, beforeEach, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { EventSource } from 'eventsource'
import PocketBase, { ClientResponseError } from 'pocketbase'
import { createInstallerPath } from '../../src/node/engine/auth/superusers.ts'
import { recordsOf } from '../../src/node/engine/auth/system-records.ts'
import {
  newAuthToken,
  newEmailChangeToken,
  newPasswordResetToken,
  newVerificationToken,
} from '../../src/node/engine/auth/tokens.ts'
import type { Engine } from '../../src/node/engine/engine.ts'
import { openTestEngine, saveUser, setAuthOptions } from '../support/engine.ts'
import { type MailServer, startMailServer } from '../support/mail-server.ts'
import { type OidcProvider, startOidcProvider } from '../support/oidc-provider.ts'
import { type Standalone, startStandalone } from '../support/standalone.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

Object.assign(globalThis, { EventSource })

let server: Standalone
let engine: Engine
let mail: MailServer
let oidc: OidcProvider
let root: PocketBase

const password = 'password123'
const users = () => engine.collections.require('users')
const client = () => {
  const pb = new PocketBase(server.url)
  pb.autoCancellation(false)
  return pb
}

beforeAll(async () => {
  ;[server, mail, oidc] = await Promise.all([startStandalone(), startMailServer(), startOidcProvider()])
  engine = server.engine
  await setAuthOptions(engine, '_superusers', {})
  const { settings } = engine
  const smtp = { ...settings.smtp, enabled: true, host: '127.0.0.1', port: mail.port }
  await engine.settingsStore.save({ ...settings, smtp })
  root = client()
  const path = await createInstallerPath(engine)
  root.authStore.save(path!.replace('/_/#/pbinstall/', ''))
  await root.collection('_superusers').create({ email: 'root@example.com', password, passwordConfirm: password })
  await root.collection('_superusers').authWithPassword('root@example.com', password)
})

afterAll(async () => {
  await Promise.all([server.stop(), mail.stop(), oidc.stop()])
})

let email: string
let user: PocketBase
let userId: string
let serial = 0

/** Options that a test changed are put back. */
beforeEach(async () => {
  const provider = {
    ...{
      pkce: null,
      name: 'oidc',
      clientId: oidc.clientId,
      clientSecret: oidc.clientSecret,
      displayName: '',
      extra: null,
    },
    ...{ authURL: `${oidc.url}/authorize`, tokenURL: `${oidc.url}/token`, userInfoURL: `${oidc.url}/userinfo` },
  }
  await setAuthOptions(engine, 'users', {
    authRule: '',
    mfa: { enabled: false, duration: 600, rule: '' },
    otp: { ...users().auth.otp, enabled: true },
    oauth2: {
      providers: [provider],
      mappedFields: { id: '', name: 'name', username: '', avatarURL: '' },
      enabled: true,
    },
    authAlert: { ...users().auth.authAlert, enabled: false },
  })
  email = `user${++serial}@example.com`
  user = client()
  const created = await user.collection('users').create({ email, password, passwordConfirm: password })
  userId = created.id
  await engine.auth.settle()
  mail.mails.length = 0
})

async function statusOf(work: Promise<unknown>): Promise<number> {
  return (await refusalOf(work)).status
}
async function refusalOf(work: Promise<unknown>): Promise<ClientResponseError> {
  const error = await work.then(
    () => null,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(ClientResponseError)
  return error as ClientResponseError
}
const linkIn = (text: string, page: string) => new RegExp(`/_/#/auth/${page}/([\\w.-]+)`).exec(text)![1]!
const record = () => engine.records.findById(users(), userId)!
const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
  fetch(`${server.url}/api/collections/${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  })

describe('password', () => {
  test('sign in, refresh, sign in with a wrong one', async () => {
    const { token, record } = await user.collection('users').authWithPassword(email, password)
    expect(record).toMatchObject({ id: userId, email, collectionName: 'users', verified: false })
    for (const hidden of ['password', 'tokenKey']) expect(record).not.toHaveProperty(hidden)
    expect(user.authStore.isValid).toBe(true)
    const refreshed = await user.collection('users').authRefresh()
    expect(refreshed.record.id).toBe(userId)
    expect(token.split('.')).toHaveLength(3)
    for (const wrong of ['password124', ' password123', 'x'])
      expect(await statusOf(user.collection('users').authWithPassword(email, wrong))).toBe(400)
  })

  test('unknown names and wrong passwords look and last the same', async () => {
    const [unknown, wrong] = await Promise.all([
      refusalOf(client().collection('users').authWithPassword('nobody@example.com', password)),
      refusalOf(client().collection('users').authWithPassword(email, 'wrong-password')),
    ])
    expect(unknown.response).toEqual(wrong.response)
    let hashes = 0
    const original = engine.passwords.verify
    const counting = (...args: Parameters<typeof original>) => {
      hashes++
      return original(...args)
    }
    Object.assign(engine.passwords, { verify: counting })
    try {
      await post('users/auth-with-password', { identity: 'nobody@example.com', password })
      await post('users/auth-with-password', { identity: email, password: 'wrong-password' })
    } finally {
      Object.assign(engine.passwords, { verify: original })
    }
    expect(hashes).toBe(2) // one comparison each
  })

  test('bodies that are no form', async () => {
    for (const body of [null, [], 'x', { identity: 5, password }, { identity: email, password: { $ne: '' } }, {}])
      expect([body, (await post('users/auth-with-password', body)).status]).toEqual([body, 400])
    expect((await post('users/auth-with-password', { identity: email, password, identityField: 'id' })).status).toBe(
      400,
    )
    expect((await post('missing/auth-with-password', { identity: email, password })).status).toBe(404)
    expect((await post('_mfas/auth-with-password', { identity: email, password })).status).toBe(404)
  })

  test('the auth rule decides who may', async () => {
    await setAuthOptions(engine, 'users', { authRule: 'verified = true' })
    expect(await statusOf(user.collection('users').authWithPassword(email, password))).toBe(403)
    await root.collection('users').update(userId, { verified: true })
    await user.collection('users').authWithPassword(email, password)
    await setAuthOptions(engine, 'users', { authRule: null })
    expect(await statusOf(user.collection('users').authWithPassword(email, password))).toBe(403)
  })

  test('the methods of a collection', async () => {
    const methods = await user.collection('users').listAuthMethods()
    expect(methods).toMatchObject({
      password: { enabled: true, identityFields: ['email'] },
      mfa: { enabled: false },
      otp: { enabled: true },
    })
    expect(methods.oauth2.providers[0]).toMatchObject({ name: 'oidc', codeChallengeMethod: 'S256' })
    expect(JSON.stringify(methods)).not.toContain(oidc.clientSecret)
  })
})

describe('tokens', () => {
  test('a changed password or a fresh token key ends every token', async () => {
    await user.collection('users').authWithPassword(email, password)
    await root.collection('users').update(userId, { 'tokenKey:autogenerate': '' })
    expect(await statusOf(user.collection('users').authRefresh())).toBe(401)
  })

  test('no token serves another purpose, collection or tenant', async () => {
    const now = Date.now()
    await using other = await openTestEngine() // another tenant with the same record
    const foreign = await saveUser(other.engine, 'users', { id: userId, email, password })
    const forged = `${btoa('{"alg":"none","typ":"JWT"}')}.${newAuthToken(record(), now).split('.')[1]}.`
    const tokens = {
      verification: newVerificationToken(record(), now),
      passwordReset: newPasswordResetToken(record(), now),
      emailChange: newEmailChangeToken(record(), 'x@example.com', now),
      file: await user
        .collection('users')
        .authWithPassword(email, password)
        .then(() => user.files.getToken()),
      none: forged,
      foreign: newAuthToken(foreign, now),
      expired: newAuthToken(record(), now - 10 * 365 * 86_400_000),
      superuser: root.authStore.token,
    }
    for (const [name, token] of Object.entries(tokens)) {
      const { status } = await post('users/auth-refresh', {}, { authorization: token })
      expect([name, status]).toEqual([name, name === 'superuser' ? 403 : 401])
    }
    const auth = newAuthToken(record(), now)
    expect((await post('users/confirm-verification', { token: auth })).status).toBe(400)
    expect(
      (await post('users/confirm-password-reset', { token: auth, password, passwordConfirm: password })).status,
    ).toBe(400)
    expect((await post('users/confirm-email-change', { token: tokens.verification, password })).status).toBe(400)
    expect(
      (
        await post('_superusers/confirm-password-reset', {
          token: tokens.passwordReset,
          password,
          passwordConfirm: password,
        })
      ).status,
    ).toBe(400)
    expect((await post('users/auth-refresh', {}, { authorization: `bEaReR ${auth}` })).status).toBe(200)
  })

  test('impersonation: for superusers only, for a time, not refreshable', async () => {
    const impersonated = await root.collection('users').impersonate(userId, 60)
    const token = impersonated.authStore.token
    const refreshed = await impersonated.collection('users').authRefresh()
    expect(refreshed.token).toBe(token)
    await user.collection('users').authWithPassword(email, password)
    expect(await statusOf(user.collection('users').impersonate(userId, 60))).toBe(403)
    expect(await statusOf(client().collection('users').impersonate(userId, 60))).toBe(401)
    expect(await statusOf(root.collection('users').impersonate(userId, -1))).toBe(400)
    expect(await statusOf(root.collection('users').impersonate('missing', 1))).toBe(404)
  })
})

describe('mass assignment', () => {
  test('nobody makes or changes what is not theirs to set', async () => {
    const base = { password, passwordConfirm: password }
    const create = (data: Record<string, unknown>) =>
      client()
        .collection('users')
        .create({ ...base, ...data })
    expect(await statusOf(create({ email: 'x1@example.com', verified: true }))).toBe(400)
    const made = await create({
      email: 'x2@example.com',
      tokenKey: 'k'.repeat(50),
      created: '2000-01-01 00:00:00.000Z',
    })
    expect(engine.records.findById(users(), made.id)!.text('tokenKey')).not.toBe('k'.repeat(50))
    await user.collection('users').authWithPassword(email, password)
    const update = (data: Record<string, unknown>) => user.collection('users').update(userId, data)
    expect(await statusOf(update({ verified: true }))).toBe(400)
    expect(await statusOf(update({ email: 'new@example.com' }))).toBe(400)
    expect(await statusOf(update({ password: 'another123', passwordConfirm: 'another123' }))).toBe(400) // the old one is missing
    const before = record().text('tokenKey')
    await update({ tokenKey: 'k'.repeat(50), name: 'x' })
    expect(record().text('tokenKey')).toBe(before)
    const rename = { oldPassword: password, password: 'another123', passwordConfirm: 'another123' }
    await update(rename)
    expect(await statusOf(user.collection('users').authRefresh())).toBe(401)
  })
})

describe('one-time passwords', () => {
  test('by mail; they prove the address and are good once', async () => {
    const { otpId } = await user.collection('users').requestOTP(email)
    const { text, subject } = await mail.take(email)
    expect(subject).toBe('OTP for Acme')
    const code = /<strong>(\d{8})<\/strong>/.exec(text)![1]!
    await engine.auth.settle()
    const { record: signedIn } = await user.collection('users').authWithOTP(otpId, code)
    expect(signedIn).toMatchObject({ id: userId, verified: true })
    expect(await statusOf(user.collection('users').authWithOTP(otpId, code))).toBe(400)
    // Whoever made the account with a password of theirs is out.
    expect(await statusOf(client().collection('users').authWithPassword(email, password))).toBe(400)
  })

  test('cannot be guessed', async () => {
    const { otpId } = await user.collection('users').requestOTP(email)
    const { text } = await mail.take(email)
    const code = /<strong>(\d{8})<\/strong>/.exec(text)![1]!
    const statuses: number[] = []
    for (let i = 0; i < 7; i++) statuses.push(await statusOf(user.collection('users').authWithOTP(otpId, '0')))
    expect(statuses).toEqual([400, 400, 400, 400, 400, 429, 429])
    expect(await statusOf(user.collection('users').authWithOTP(otpId, code))).toBe(429)
  })

  test('unknown addresses get the same answer', async () => {
    const answer = await client().collection('users').requestOTP('nobody@example.com')
    expect(answer.otpId).toMatch(/^[a-z0-9]{15}$/)
    expect(await statusOf(client().collection('users').authWithOTP(answer.otpId, '12345678'))).toBe(400)
    expect(await statusOf(client().collection('users').requestOTP('no address'))).toBe(400)
  })
})

test('MFA: two different methods, in one session', async () => {
  await setAuthOptions(engine, 'users', { mfa: { enabled: true, duration: 600, rule: '' } })
  const first = await refusalOf(user.collection('users').authWithPassword(email, password))
  expect(first.status).toBe(401)
  const mfaId = first.response['mfaId'] as string
  expect(mfaId).toMatch(/^[a-z0-9]{15}$/)
  expect(await statusOf(user.collection('users').authWithPassword(email, password, { mfaId }))).toBe(400) // the same again
  const other = await client()
    .collection('users')
    .create({ email: `other-${email}`, password, passwordConfirm: password })
  expect(other.id).not.toBe(userId)
  const { otpId: otherOtp } = await client().collection('users').requestOTP(`other-${email}`)
  const otherCode = /<strong>(\d{8})<\/strong>/.exec((await mail.take(`other-${email}`)).text)![1]!
  // Somebody else's session does not help.
  expect(await statusOf(client().collection('users').authWithOTP(otherOtp, otherCode, { mfaId }))).toBe(400)
  const { otpId } = await user.collection('users').requestOTP(email, { mfaId })
  const code = /<strong>(\d{8})<\/strong>/.exec((await mail.take(email)).text)![1]!
  const { record } = await user.collection('users').authWithOTP(otpId, code, { mfaId })
  expect(record.id).toBe(userId)
  expect(engine.data.all('SELECT * FROM _mfas WHERE recordRef = ?', [userId])).toEqual([])
  // A rule can let some in without.
  await setAuthOptions(engine, 'users', { mfa: { enabled: true, duration: 600, rule: 'name = "careful"' } })
  await user.collection('users').authWithPassword(email, password)
})

describe('mails with links', () => {
  test('verification', async () => {
    await user.collection('users').requestVerification(email)
    const token = linkIn((await mail.take(email)).text, 'confirm-verification')
    await user.collection('users').requestVerification(email) // again at once: no second mail
    await user.collection('users').requestVerification('nobody@example.com')
    await engine.auth.settle()
    expect(mail.mails).toEqual([])
    await user.collection('users').confirmVerification(token)
    expect(record().bool('verified')).toBe(true)
  })

  test('password reset', async () => {
    await user.collection('users').requestPasswordReset(email)
    const token = linkIn((await mail.take(email)).text, 'confirm-password-reset')
    const confirm = (a: string, b = a) => user.collection('users').confirmPasswordReset(token, a, b)
    expect((await refusalOf(confirm('short'))).response['data']).toHaveProperty('password')
    expect((await refusalOf(confirm('new-password', 'other'))).response['data']).toHaveProperty('passwordConfirm')
    await confirm('new-password')
    await user.collection('users').authWithPassword(email, 'new-password')
    expect(record().bool('verified')).toBe(true)
    expect(await statusOf(confirm('third-password'))).toBe(400) // used up with the key it was signed with
    await user.collection('users').requestPasswordReset('nobody@example.com')
    await engine.auth.settle()
    expect(mail.mails).toEqual([])
  })

  test('e-mail change', async () => {
    const next = `new-${email}`
    expect(await statusOf(user.collection('users').requestEmailChange(next))).toBe(401)
    await user.collection('users').authWithPassword(email, password)
    for (const bad of [email, 'no address', `a@b.c\r\nBcc: x@y.z`])
      expect(await statusOf(user.collection('users').requestEmailChange(bad))).toBe(400)
    await user.collection('users').requestEmailChange(next)
    const token = linkIn((await mail.take(next)).text, 'confirm-email-change')
    expect(await statusOf(client().collection('users').confirmEmailChange(token, 'wrong-password'))).toBe(400)
    await client().collection('users').confirmEmailChange(token, password)
    expect(record().text('email')).toBe(next)
    expect(await statusOf(user.collection('users').authRefresh())).toBe(401)
  })

  test('an alert for a new place, not for the first', async () => {
    await setAuthOptions(engine, 'users', { authAlert: { ...users().auth.authAlert, enabled: true } })
    const from = (agent: string) =>
      post('users/auth-with-password', { identity: email, password }, { 'user-agent': agent })
    await from('one')
    await from('one')
    expect(mail.mails).toEqual([])
    await from('<b>two</b>')
    expect((await mail.take(email)).text).toContain('127.0.0.1 &lt;b&gt;two&lt;/b&gt;')
  })
})

describe('OAuth2', () => {
  const redirectURL = () => `${server.url}/api/oauth2-redirect`

  async function byHand(pb: PocketBase, createData: Record<string, unknown> = {}) {
    const provider = (await pb.collection('users').listAuthMethods()).oauth2.providers[0]!
    const landed = await oidc.agree(provider.authURL + encodeURIComponent(redirectURL()))
    const code = landed.searchParams.get('code')!
    return pb
      .collection('users')
      .authWithOAuth2Code(provider.name, code, provider.codeVerifier, redirectURL(), createData)
  }

  test('all in one, over realtime', async () => {
    oidc.user = { sub: `sub-${email}`, email: `o-${email}`, email_verified: true, name: 'Ada' }
    const pb = client()
    const { record, meta } = await pb.collection('users').authWithOAuth2({
      provider: 'oidc',
      urlCallback: async (url) => {
        const landed = await oidc.agree(url)
        const answer = await fetch(landed, { redirect: 'manual' })
        expect([answer.status, answer.headers.get('location')]).toEqual([307, '../_/#/auth/oauth2-redirect-success'])
      },
    })
    expect(record).toMatchObject({ email: `o-${email}`, name: 'Ada', verified: true })
    expect(meta).toMatchObject({ isNew: true, id: `sub-${email}`, rawUser: oidc.user })
    await pb.realtime.unsubscribe()
    expect((await byHand(client())).meta).toMatchObject({ isNew: false })
  })

  test('by code; an account is made once, linked by a verified address, and its old password ends', async () => {
    oidc.user = { sub: `sub-${email}`, email, email_verified: true }
    const linked = await byHand(client())
    expect(linked.record).toMatchObject({ id: userId, verified: true })
    expect(await statusOf(client().collection('users').authWithPassword(email, password))).toBe(400)
    const links = await root.collection('_externalAuths').getFullList({ filter: `recordRef = "${userId}"` })
    expect(links.map(({ provider, providerId }) => [provider, providerId])).toEqual([['oidc', `sub-${email}`]])
  })

  test('an unverified address takes over nobody', async () => {
    oidc.user = { sub: `evil-${email}`, email, email_verified: false }
    // The collection wants an address, and this one has none that counts.
    expect((await refusalOf(byHand(client()))).response['data']).toHaveProperty('email')
    expect(recordsOf(engine, '_externalAuths', record())).toEqual([])
    await user.collection('users').authWithPassword(email, password)
  })

  test('a user without an id signs in nobody, and leaves no account behind', async () => {
    oidc.user = { sub: '', email: `o-${email}`, email_verified: true }
    const { response } = await refusalOf(byHand(client()))
    expect(response).toMatchObject({ message: 'Failed to authenticate.', data: { providerId: {} } })
    const found = await root.collection('users').getList(1, 1, { filter: `email = "o-${email}"` })
    expect(found.totalItems).toBe(0)
  })

  test('create data is held to the rules of a create', async () => {
    oidc.user = { sub: `sub-${email}`, email: `o-${email}`, email_verified: true }
    expect((await refusalOf(byHand(client(), { verified: true }))).response['data']).toHaveProperty('verified')
    const { record } = await byHand(client(), { name: 'own', tokenKey: 'k'.repeat(50) })
    expect(record['name']).toBe('own')
    expect(engine.records.findById(users(), record.id)!.text('tokenKey')).not.toBe('k'.repeat(50))
  })

  test('a wrong code, verifier or provider', async () => {
    const pb = client()
    const sign = (provider: string, code: string) =>
      pb.collection('users').authWithOAuth2Code(provider, code, 'v', redirectURL())
    expect(await statusOf(sign('oidc', 'nope'))).toBe(400)
    expect((await refusalOf(sign('google', 'x'))).response['data']).toHaveProperty('provider')
    expect(await statusOf(sign('oidc', ''))).toBe(400)
  })

  test('the redirect goes to its two pages, whatever is asked of it', async () => {
    for (const query of [
      '',
      'state=x&code=y',
      'state=https://evil.example.com&code=1',
      'state=x&code=1&redirect=https://evil.example.com',
    ]) {
      const answer = await fetch(`${redirectURL()}?${query}`, { redirect: 'manual' })
      expect([answer.status, answer.headers.get('location')]).toEqual([307, '../_/#/auth/oauth2-redirect-failure'])
    }
    const posted = await fetch(redirectURL(), {
      method: 'POST',
      body: '{',
      redirect: 'manual',
      headers: { 'content-type': 'application/json' },
    })
    expect([posted.status, posted.headers.get('location')]).toEqual([303, '../_/#/auth/oauth2-redirect-failure'])
  })
})

describe('settings and limits', () => {
  test('settings are for superusers, and keep their secrets', async () => {
    expect(await statusOf(client().settings.getAll())).toBe(401)
    await user.collection('users').authWithPassword(email, password)
    expect(await statusOf(user.settings.getAll())).toBe(403)
    const updated = await root.settings.update({ meta: { appName: 'Acme' }, s3: { secret: 'very-secret' } })
    expect(JSON.stringify(updated)).not.toContain('very-secret')
    expect(engine.settings.s3.secret).toBe('very-secret')
    expect((await refusalOf(root.settings.update({ meta: { appName: '' } }))).response['data']).toHaveProperty('meta')
  })

  test('a test mail, a test of S3, a secret for Apple', async () => {
    await root.settings.testEmail('users', 'test@example.com', 'verification')
    expect((await mail.take('test@example.com')).subject).toBe('Verify your Acme email')
    expect(
      (await refusalOf(root.settings.testEmail('users', 'test@example.com', 'nope'))).response['data'],
    ).toHaveProperty('template')
    expect(await statusOf(root.settings.testS3('storage'))).toBe(400)
    expect(await statusOf(root.settings.generateAppleClientSecret('a', 'b', 'c', 'd', 1))).toBe(400)
  })

  test('limits by rule; superusers and listed addresses are exempt', async () => {
    const { settings } = engine
    const limit = (label: string, audience = '') => ({ label, audience, duration: 60, maxRequests: 2 })
    const enable = (rules: ReturnType<typeof limit>[], excludedIPs: string[] = []) =>
      engine.settingsStore.save({ ...settings, rateLimits: { enabled: true, rules, excludedIPs } })
    const methods = async (pb: PocketBase, times: number) => {
      const statuses: number[] = []
      for (let i = 0; i < times; i++)
        statuses.push(
          await pb
            .collection('users')
            .listAuthMethods()
            .then(
              () => 200,
              (error: ClientResponseError) => error.status,
            ),
        )
      return statuses
    }
    try {
      await enable([limit('users:listAuthMethods')])
      expect(await methods(client(), 3)).toEqual([200, 200, 429])
      expect(await methods(root, 3)).toEqual([200, 200, 200])
      await enable([limit('/api/')])
      expect(await methods(client(), 3)).toEqual([200, 200, 429])
      await enable([limit('users:listAuthMethods')], ['127.0.0.0/8'])
      expect(await methods(client(), 3)).toEqual([200, 200, 200])
      await enable([limit('*:auth', '@guest')])
      const signIns = []
      for (let i = 0; i < 3; i++)
        signIns.push((await post('users/auth-with-password', { identity: email, password })).status)
      expect(signIns).toEqual([200, 200, 429])
    } finally {
      await engine.settingsStore.save(settings)
    }
  })

  test('superusers come from listed addresses only', async () => {
    const { settings } = engine
    try {
      await engine.settingsStore.save({ ...settings, superuserIPs: ['10.0.0.0/8'] })
      expect(await statusOf(root.settings.getAll())).toBe(403)
      expect(await statusOf(client().collection('_superusers').authWithPassword('root@example.com', password))).toBe(
        403,
      )
      // A header counts only where the settings say that a proxy writes it.
      const spoofed = { headers: { 'x-forwarded-for': '10.1.1.1' } }
      expect(await statusOf(root.settings.getAll(spoofed))).toBe(403)
      const trustedProxy = { headers: ['X-Forwarded-For'], useLeftmostIP: false }
      await engine.settingsStore.save({ ...settings, superuserIPs: ['10.0.0.0/8'], trustedProxy })
      await root.settings.getAll(spoofed)
    } finally {
      await engine.settingsStore.save(settings)
    }
  })
})
