// Signing in and changing accounts by mail and by provider.

import { beforeAll, beforeEach, describe, expect, test } from 'bun:test'
import type PocketBase from 'pocketbase'
import { until } from '../../support/wait.ts'
import { newClient, password, refusal, refusedStatus, type SdkAuthWorld, type WorldOf, withWarnings } from './world.ts'

export function mailAuthCalls(world: WorldOf<SdkAuthWorld>): void {
  describe('auth by mail and provider', () => {
    let serial = 0
    let email = ''
    let userId = ''
    let client: PocketBase

    beforeAll(async () => {
      const { root, oidc } = world()
      const provider = {
        name: 'oidc',
        clientId: oidc.clientId,
        clientSecret: oidc.clientSecret,
        authURL: `${oidc.url}/authorize`,
        tokenURL: `${oidc.url}/token`,
        userInfoURL: `${oidc.url}/userinfo`,
      }
      await root.collections.update('users', {
        otp: { enabled: true, duration: 300, length: 6 },
        oauth2: { enabled: true, providers: [provider], mappedFields: { name: 'name' } },
        authAlert: { enabled: false },
      })
    })

    beforeEach(async () => {
      client = newClient(world().url)
      email = `mail${++serial}@example.com`
      userId = (await client.collection('users').create({ email, password, passwordConfirm: password })).id
      world().oidc.user = { sub: `sub-${email}`, email: `oidc-${email}`, email_verified: true, name: 'Ada' }
    })

    const tokenFor = async (page: string, address = email) => {
      const { text } = await world().mail.take(address)
      return new RegExp(`/_/#/auth/${page}/([\\w.-]+)`).exec(text)![1]!
    }
    const codeFor = async (address = email) => /\b(\d{6})\b/.exec((await world().mail.take(address)).text)![1]!

    test('verification; the store learns of it', async () => {
      await client.collection('users').authWithPassword(email, password)
      expect(await client.collection('users').requestVerification(email)).toBe(true)
      const token = await tokenFor('confirm-verification')
      expect(await client.collection('users').confirmVerification(token)).toBe(true)
      expect(client.authStore.record?.['verified']).toBe(true)
      const { warnings } = await withWarnings(() => client.collection('users').confirmVerification(token, {}, {}))
      expect(warnings.join()).toContain('deprecated')
    })

    test('password reset', async () => {
      const users = client.collection('users')
      expect(await users.requestPasswordReset(email)).toBe(true)
      const token = await tokenFor('confirm-password-reset')
      expect((await refusal(users.confirmPasswordReset(token, 'short', 'short'))).response['data']).toHaveProperty(
        'password',
      )
      expect(await users.confirmPasswordReset(token, 'new-password', 'new-password')).toBe(true)
      await users.authWithPassword(email, 'new-password')
    })

    test('e-mail change; the store is emptied', async () => {
      const users = client.collection('users')
      await users.authWithPassword(email, password)
      expect(await users.requestEmailChange(`new-${email}`)).toBe(true)
      const token = await tokenFor('confirm-email-change', `new-${email}`)
      expect(await users.confirmEmailChange(token, password)).toBe(true)
      expect(client.authStore.token).toBe('')
      await users.authWithPassword(`new-${email}`, password)
    })

    test('one-time password', async () => {
      const users = client.collection('users')
      const { otpId } = await users.requestOTP(email)
      const code = await codeFor()
      // PocketBase notes after the mail where it went; until then the code does not verify the address.
      const { root } = world()
      await until('the address of the mail', async () => (await root.collection('_otps').getOne(otpId))['sentTo'])
      const { record, token } = await users.authWithOTP(otpId, code, { fields: '*' })
      expect(record).toMatchObject({ id: userId, verified: true })
      expect(client.authStore.token).toBe(token)
    })

    test('MFA: a password, then a one-time password', async () => {
      const { root } = world()
      await root.collections.update('users', { mfa: { enabled: true, duration: 300, rule: '' } })
      try {
        const users = client.collection('users')
        const first = await refusal(users.authWithPassword(email, password))
        expect(first.status).toBe(401)
        const mfaId = first.response['mfaId'] as string
        const { otpId } = await users.requestOTP(email)
        const { record } = await users.authWithOTP(otpId, await codeFor(), { mfaId })
        expect(record.id).toBe(userId)
      } finally {
        await root.collections.update('users', { mfa: { enabled: false } })
      }
    })

    test('OAuth2 all in one, then external auths: list, unlink', async () => {
      const { root, oidc } = world()
      const opened: string[] = []
      const { record, meta } = await client.collection('users').authWithOAuth2({
        provider: 'oidc',
        scopes: ['openid', 'custom'],
        createData: { emailVisibility: true },
        query: { fields: '*' },
        urlCallback: async (url) => {
          opened.push(url)
          await fetch(await oidc.agree(url), { redirect: 'manual' })
        },
      })
      expect(new URL(opened[0]!).searchParams.get('scope')).toBe('openid custom')
      expect(record).toMatchObject({ email: `oidc-${email}`, name: 'Ada', verified: true, emailVisibility: true })
      expect(meta).toMatchObject({ isNew: true, id: `sub-${email}`, email: `oidc-${email}` })
      const linked = await root.collection('users').listExternalAuths(record.id)
      expect(linked.map(({ provider, providerId }) => [provider, providerId])).toEqual([['oidc', `sub-${email}`]])
      // People see and end their own links.
      expect(await client.collection('users').listExternalAuths(record.id)).toHaveLength(1)
      expect(await client.collection('users').unlinkExternalAuth(record.id, 'oidc')).toBe(true)
      expect(await root.collection('users').listExternalAuths(record.id)).toEqual([])
      expect(await refusedStatus(root.collection('users').unlinkExternalAuth(record.id, 'oidc'))).toBe(404)
    })

    test('OAuth2 by code, and its old form', async () => {
      const { oidc, url } = world()
      const users = client.collection('users')
      const redirectURL = `${url}/somewhere`
      const agree = async () => {
        const { providers } = (await users.listAuthMethods()).oauth2
        const provider = providers.find(({ name }) => name === 'oidc')!
        const landed = await oidc.agree(provider.authURL + encodeURIComponent(redirectURL))
        expect(landed.searchParams.get('state')).toBe(provider.state)
        return { code: landed.searchParams.get('code')!, verifier: provider.codeVerifier }
      }
      const first = await agree()
      const made = await users.authWithOAuth2Code('oidc', first.code, first.verifier, redirectURL, { name: 'Own' })
      expect(made.record['name']).toBe('Own')
      expect(made.meta?.['isNew']).toBe(true)
      const second = await agree()
      const { value, warnings } = await withWarnings(() =>
        users.authWithOAuth2('oidc', second.code, second.verifier, redirectURL),
      )
      expect(value.record.id).toBe(made.record.id)
      expect(value.meta?.['isNew']).toBe(false)
      expect(warnings.join()).toContain('deprecated')
    })

    test('OAuth2 that is cancelled', async () => {
      client.autoCancellation(true) // only then does a client keep what to cancel
      const waiting = client.collection('users').authWithOAuth2({
        provider: 'oidc',
        requestKey: 'sign-in',
        urlCallback: () => void client.cancelRequest('sign-in'),
      })
      expect((await refusal(waiting)).isAbort).toBe(true)
      const unknown = await refusal(client.collection('users').authWithOAuth2({ provider: 'google', urlCallback() {} }))
      expect(unknown.originalError.message).toContain('google')
    })
  })
}
