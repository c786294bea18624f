// Goal: the server's half of OAuth2 works against a strict provider, believes nothing it should not, and cannot be
// turned against the network it runs in. Method: a real provider on a local port; recorded shapes of answers.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test'
import { type OidcProvider, startOidcProvider } from '../../../../../test/support/oidc-provider.ts'
import { SimClock } from '../../../../lib/clock.ts'
import { AppleKeyError, createAppleSecret } from './apple-secret.ts'
import { findOAuth2Provider, oauth2Providers } from './catalog.ts'
import { type ExchangeDeps, fetchToken, fetchUser, OAuth2Error } from './exchange.ts'
import { IdTokenError } from './id-token.ts'
import { isPublicAddress, OutboundError, sendOutbound } from './outbound.ts'
import { authPageUrl, codeChallengeOf, configureProvider, logoOf, type OAuth2ProviderConfig } from './provider.ts'

const clock = new SimClock()
let oidc: OidcProvider
beforeAll(async () => {
  oidc = await startOidcProvider(clock)
})
afterAll(() => oidc.stop())
beforeEach(() => {
  oidc.user = { sub: 'user1' }
  oidc.claims = {}
  oidc.secretIn = 'header'
  oidc.requests.length = 0
})

const redirectURL = 'http://localhost/redirect'
const codeVerifier = 'v'.repeat(43)

function config(overrides: Partial<OAuth2ProviderConfig> = {}): OAuth2ProviderConfig {
  return {
    pkce: null,
    name: 'oidc',
    clientId: oidc.clientId,
    clientSecret: oidc.clientSecret,
    authURL: `${oidc.url}/authorize`,
    tokenURL: `${oidc.url}/token`,
    userInfoURL: `${oidc.url}/userinfo`,
    displayName: '',
    extra: null,
    ...overrides,
  }
}

const deps = (): ExchangeDeps => ({
  signal: AbortSignal.timeout(60_000),
  nowMs: clock.now(),
  mayReachPrivate: true,
})
const providerOf = (overrides: Partial<OAuth2ProviderConfig> = {}) => {
  const merged = config(overrides)
  return configureProvider(findOAuth2Provider(merged.name)!, merged)
}

async function signIn(overrides: Partial<OAuth2ProviderConfig> = {}, verifier = codeVerifier) {
  const provider = providerOf(overrides)
  const page =
    authPageUrl(provider, 'state1', provider.pkce ? codeChallengeOf(codeVerifier) : null) +
    encodeURIComponent(redirectURL)
  const landed = await oidc.agree(page)
  expect(landed.searchParams.get('state')).toBe('state1')
  const code = landed.searchParams.get('code')!
  const token = await fetchToken(provider, { code, codeVerifier: verifier, redirectURL }, deps())
  return { provider, code, token, user: await fetchUser(provider, token, deps()) }
}

describe('the flow', () => {
  test('code to user', async () => {
    oidc.user = {
      sub: 'u1',
      name: 'N',
      preferred_username: 'n',
      picture: 'http://x/y.png',
      email: 'a@b.c',
      email_verified: true,
    }
    const { user, token } = await signIn()
    expect(user).toMatchObject({ id: 'u1', name: 'N', username: 'n', avatarURL: 'http://x/y.png', email: 'a@b.c' })
    expect(user).toMatchObject({ accessToken: token.accessToken, refreshToken: 'refresh', rawUser: oidc.user })
    expect(token.expiresAtMs).toBe(clock.now() + 3_600_000)
  })

  test('an unverified address is no address', async () => {
    for (const email_verified of [false, 'false', undefined, null, 0]) {
      oidc.user = { sub: 'u1', email: 'victim@b.c', email_verified }
      expect((await signIn()).user.email).toBe('')
    }
    oidc.user = { sub: 'u1', email: 'a@b.c', email_verified: 'true' }
    expect((await signIn()).user.email).toBe('a@b.c')
  })

  test('finds out where the secret belongs, and remembers', async () => {
    oidc.secretIn = 'parameters'
    const tokenURL = `${oidc.url}/token?style=parameters`
    // The provider refuses the first try before it looks at the code; the next sign-in goes straight.
    await signIn({ tokenURL })
    oidc.requests.length = 0
    await signIn({ tokenURL })
    expect(oidc.requests.filter((each) => each === 'POST /token')).toHaveLength(1)
  })

  test('a code is good once, and only with its PKCE verifier', async () => {
    const { provider, code } = await signIn()
    await expect(fetchToken(provider, { code, codeVerifier, redirectURL }, deps())).rejects.toBeInstanceOf(OAuth2Error)
    await expect(signIn({}, 'w'.repeat(43))).rejects.toBeInstanceOf(OAuth2Error)
  })

  test('an endpoint that fails, and no JSON are errors', async () => {
    oidc.user = { sub: 'u1' }
    await expect(signIn({ userInfoURL: `${oidc.url}/missing` })).rejects.toBeInstanceOf(OAuth2Error)
    await expect(signIn({ userInfoURL: `${oidc.url}/avatar.png` })).rejects.toBeInstanceOf(OAuth2Error)
    await expect(signIn({ userInfoURL: 'http://127.0.0.1:1/' })).rejects.toBeInstanceOf(OutboundError)
  })
})

describe('id_token', () => {
  const withoutUserInfo = { userInfoURL: '' }

  test('stands for the user where there is no user endpoint', async () => {
    oidc.user = { sub: 'u2', email: 'a@b.c', email_verified: true }
    const extra = { jwksURL: `${oidc.url}/jwks`, issuers: [oidc.url] }
    expect((await signIn({ ...withoutUserInfo, extra })).user).toMatchObject({ id: 'u2', email: 'a@b.c' })
    expect(oidc.requests).not.toContain('GET /userinfo')
  })

  test('is refused for another audience, issuer or time', async () => {
    const nowS = Math.floor(clock.now() / 1000)
    for (const claims of [
      { aud: 'other' },
      { aud: ['a', 'b'] },
      { exp: nowS - 301 },
      { iat: nowS + 400 },
      { nbf: nowS + 400 },
    ]) {
      oidc.claims = claims
      await expect(signIn(withoutUserInfo)).rejects.toBeInstanceOf(IdTokenError)
    }
    oidc.claims = { aud: ['a', oidc.clientId], exp: nowS - 200 } // within the leeway
    await signIn(withoutUserInfo)
    oidc.claims = { iss: 'https://evil.example.com' }
    await expect(signIn({ ...withoutUserInfo, extra: { issuers: [oidc.url] } })).rejects.toBeInstanceOf(IdTokenError)
  })

  test('a changed or unsigned token fails its signature', async () => {
    const { provider, token } = await signIn({ ...withoutUserInfo, extra: { jwksURL: `${oidc.url}/jwks` } })
    const [header, claims, signature] = (token.raw['id_token'] as string).split('.') as [string, string, string]
    const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
    const decoded = JSON.parse(Buffer.from(claims, 'base64url').toString())
    const otherClaims = encode({ ...decoded, sub: 'admin' })
    for (const idToken of [
      `${header}.${otherClaims}.${signature}`,
      `${encode({ alg: 'none', kid: 'k1' })}.${claims}.`,
      `${encode({ alg: 'HS256', kid: 'k1' })}.${claims}.${signature}`,
      `${encode({ alg: 'RS256', kid: 'k2' })}.${claims}.${signature}`,
      `${encode({ alg: 'RS256' })}.${claims}.${signature}`,
    ]) {
      const forged = { ...token, raw: { ...token.raw, id_token: idToken } }
      await expect(fetchUser(provider, forged, deps())).rejects.toBeInstanceOf(IdTokenError)
    }
  })
})

describe('outbound requests', () => {
  const get = (url: string, mayReachPrivate: boolean, bodyBytesMax = 1000) =>
    sendOutbound({ url, bodyBytesMax, mayReachPrivate, signal: AbortSignal.timeout(60_000) })

  test('do not reach private networks from a shared node', async () => {
    const { port } = new URL(oidc.url)
    for (const host of ['127.0.0.1', 'localhost', '[::1]', '0.0.0.0', '[::ffff:127.0.0.1]', '2130706433', '0x7f.1'])
      await expect(get(`http://${host}:${port}/userinfo`, false)).rejects.toBeInstanceOf(OutboundError)
    expect(oidc.requests).toEqual([])
    expect((await get(`${oidc.url}/jwks`, true)).status).toBe(200)
  })

  test('know what is public', () => {
    for (const ip of [
      '10.1.2.3',
      '172.31.0.1',
      '192.168.0.1',
      '169.254.169.254',
      '100.64.0.1',
      '::1',
      'fd00::1',
      'fe80::1',
      '::ffff:10.0.0.1',
      '224.0.0.1',
      '',
    ])
      expect([ip, isPublicAddress(ip)]).toEqual([ip, false])
    for (const ip of ['1.1.1.1', '172.32.0.1', '2606:4700::1111']) expect([ip, isPublicAddress(ip)]).toEqual([ip, true])
  })

  test('refuse other schemes and long answers', async () => {
    for (const url of ['file:///etc/passwd', 'ftp://x', 'x', ''])
      await expect(get(url, true)).rejects.toBeInstanceOf(OutboundError)
    await expect(get(`${oidc.url}/avatar.png`, true, 4)).rejects.toBeInstanceOf(OutboundError)
  })

  test('follow redirects a few times, without credentials to another host', async () => {
    const seen: (string | null)[] = []
    const target = Bun.serve({
      port: 0,
      hostname: '127.0.0.1',
      fetch(request) {
        seen.push(request.headers.get('authorization'))
        return new Response('ok')
      },
    })
    const source = Bun.serve({
      port: 0,
      hostname: '127.0.0.1',
      fetch: (request) =>
        Response.redirect(new URL(request.url).pathname === '/loop' ? '/loop' : `http://127.0.0.1:${target.port}/`),
    })
    try {
      const headers = { authorization: 'Bearer secret' }
      const base = `http://127.0.0.1:${source.port}`
      const answer = await sendOutbound({
        url: base,
        headers,
        bodyBytesMax: 10,
        mayReachPrivate: true,
        signal: AbortSignal.timeout(60_000),
      })
      expect([answer.status, seen]).toEqual([200, [null]])
      await expect(get(`${base}/loop`, true)).rejects.toBeInstanceOf(OutboundError)
    } finally {
      await source.stop(true)
      await target.stop(true)
    }
  })
})

describe('the catalog', () => {
  test('has 32 providers, each usable', () => {
    expect(oauth2Providers).toHaveLength(32)
    expect(new Set(oauth2Providers.map(({ name }) => name)).size).toBe(32)
    for (const definition of oauth2Providers) {
      for (const url of [definition.authURL, definition.tokenURL, definition.userInfoURL])
        if (url !== '') expect(new URL(url).protocol).toBe('https:')
      expect(logoOf(definition)).toStartWith('<svg ')
      expect(logoOf(definition)).toMatch(/^[\x20-\x7e]+$/) // or the dashboard cannot encode it
    }
    expect(findOAuth2Provider('missing')).toBeUndefined()
    expect(findOAuth2Provider('__proto__')).toBeUndefined()
  })

  test('no provider makes a user of an answer it does not know', () => {
    const context = {
      token: { accessToken: '', tokenType: '', refreshToken: '', expiresAtMs: null, raw: {} },
      extra: {},
      idTokenClaims: () => null,
    }
    for (const definition of oauth2Providers)
      for (const json of [{}, [], null, 'x', 5, { data: [] }, { response: [] }, { data: null }]) {
        const identity = definition.identify(json, context)
        if (!('refused' in identity)) expect([definition.name, identity.id]).toEqual([definition.name, ''])
      }
  })

  test('unverified addresses are left out wherever the provider tells', () => {
    const token = { accessToken: '', tokenType: '', refreshToken: '', expiresAtMs: null, raw: {} }
    const emailOf = (name: string, json: unknown, extra = {}, claims: Record<string, unknown> | null = null) => {
      const identity = findOAuth2Provider(name)!.identify(json, { token, extra, idTokenClaims: () => claims })
      return 'refused' in identity ? identity.refused : identity.email
    }
    const e = { email: 'a@b.c' }
    expect(emailOf('google', { sub: '1', ...e, email_verified: false })).toBe('')
    expect(emailOf('google', { sub: '1', ...e, email_verified: true })).toBe('a@b.c')
    expect(emailOf('discord', { id: '1', ...e, verified: false })).toBe('')
    expect(emailOf('gitlab', { id: 1, ...e, confirmed_at: null })).toBe('')
    expect(emailOf('gitlab', { id: 1, ...e, confirmed_at: '2020-01-01T00:00:00Z' })).toBe('a@b.c')
    expect(emailOf('kakao', { id: 1, kakao_account: { ...e, is_email_valid: true } })).toBe('')
    expect(emailOf('github', { id: 1, ...e })).toBeUndefined()
    expect(emailOf('spotify', { id: '1', ...e })).toBeUndefined()
    expect(emailOf('box', { id: '1', login: 'a@b.c', status: 'inactive' })).toContain('not active')
    const method = (idTokenEmailClaim: string) => ({ idTokenEmailClaim })
    expect(emailOf('microsoft', { id: '1', mail: 'm@b.c' })).toBe('m@b.c')
    expect(emailOf('microsoft', { id: '1', mail: 'm@b.c' }, method('any_verified'), e)).toBe('')
    expect(emailOf('microsoft', { id: '1' }, method('any_verified'), { ...e, xms_edov: '1' })).toBe('a@b.c')
    expect(
      emailOf('microsoft', { id: '1' }, method('verified_primary_email'), { verified_primary_email: 'p@b.c' }),
    ).toBe('p@b.c')
    expect(configureProvider(findOAuth2Provider('microsoft')!, config({ extra: method('email') })).scopes).toContain(
      'openid',
    )
  })

  test('the list of addresses: verified and primary only', () => {
    const provider = providerOf({ name: 'github', userInfoURL: 'https://ghe.example.com/api/user' })
    const request = provider.emailRequest!(provider, { id: '1' })!
    expect(request.url).toBe('https://ghe.example.com/api/user/emails')
    const list = [
      { email: 'a@b.c', verified: true, primary: false },
      { email: 'b@b.c', verified: false, primary: true },
      { email: 'c@b.c', verified: true, primary: true },
    ]
    expect(request.pick(list)).toBe('c@b.c')
    expect(request.pick(list.slice(0, 2))).toBe('')
    expect([request.isRefused(404), request.isRefused(500)]).toEqual([true, false])
  })

  test('consent pages', () => {
    const page = new URL(authPageUrl(providerOf({ name: 'apple', authURL: '' }), 's', 'c'))
    expect(Object.fromEntries(page.searchParams)).toEqual({
      response_type: 'code',
      client_id: oidc.clientId,
      state: 's',
      scope: 'name email',
      response_mode: 'form_post',
      code_challenge: 'c',
      code_challenge_method: 'S256',
      redirect_uri: '',
    })
    expect(page.href).toEndWith('&redirect_uri=')
    expect(authPageUrl(providerOf({ authURL: 'https://x/y?a=1' }), 's', null)).toStartWith('https://x/y?a=1&client_id=')
    expect(codeChallengeOf('123')).toBe('pmWkWSBCL51Bfkhn79xPuKBKHz__H6B-mY6G9_eieuM')
  })
})

test("Apple's client secret", async () => {
  const pair = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify'])
  const der = Buffer.from(await crypto.subtle.exportKey('pkcs8', pair.privateKey)).toString('base64')
  const privateKey = `-----BEGIN PRIVATE KEY-----\n${der.match(/.{1,64}/g)!.join('\n')}\n-----END PRIVATE KEY-----\n`
  const request = { clientId: 'c', teamId: 't', keyId: 'k', privateKey, durationS: 60, nowMs: 1_700_000_000_000 }
  const [header, claims, signature] = (await createAppleSecret(request)).split('.') as [string, string, string]
  const decode = (part: string) => JSON.parse(Buffer.from(part, 'base64url').toString())
  expect(decode(header)).toEqual({ alg: 'ES256', kid: 'k', typ: 'JWT' })
  expect(decode(claims)).toEqual({
    iss: 't',
    sub: 'c',
    aud: ['https://appleid.apple.com'],
    iat: 1_700_000_000,
    exp: 1_700_000_060,
  })
  const isValid = await crypto.subtle.verify(
    { name: 'ECDSA', hash: 'SHA-256' },
    pair.publicKey,
    Buffer.from(signature, 'base64url'),
    Buffer.from(`${header}.${claims}`),
  )
  expect(isValid).toBe(true)
  await expect(createAppleSecret({ ...request, privateKey: 'x' })).rejects.toBeInstanceOf(AppleKeyError)
})
