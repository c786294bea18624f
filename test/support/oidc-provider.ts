// An OpenID Connect provider for tests. It is strict where real ones are: a code is good once, for its client, redirect
// address and PKCE challenge; a secret may be wanted in the header or in the body.

import { type Clock, systemClock } from '../../src/lib/clock.ts'

export interface OidcUser {
  readonly sub: string
  readonly [claim: string]: unknown
}

export interface OidcProvider {
  readonly url: string
  readonly clientId: string
  readonly clientSecret: string
  /** Who signs in at the consent page from now on. */
  user: OidcUser
  /** Where the client's secret must stand; anything else is refused. */
  secretIn: 'header' | 'parameters'
  /** Changes claims of the next `id_token`s. */
  claims: Readonly<Record<string, unknown>>
  /** Requests so far, as `METHOD /path`. */
  readonly requests: string[]
  /** Opens the consent page as a browser would and agrees; returns where it leads. */
  agree(authUrl: string): Promise<URL>
  stop(): Promise<void>
}

interface Grant {
  readonly redirectUri: string
  readonly challenge: string | null
  readonly user: OidcUser
}

const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')

/** @param clock says when its `id_token`s were made, and so for how long they are good. */
export async function startOidcProvider(clock: Clock = systemClock): Promise<OidcProvider> {
  const key = await crypto.subtle.generateKey(
    { name: 'RSASSA-PKCS1-v1_5', modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: 'SHA-256' },
    true,
    ['sign', 'verify'],
  )
  const publicKey = await crypto.subtle.exportKey('jwk', key.publicKey)
  const grants = new Map<string, Grant>()
  const tokens = new Map<string, OidcUser>()
  let codes = 0

  const idTokenOf = async (user: OidcUser) => {
    const nowS = Math.floor(clock.now() / 1000)
    const claims = { iss: provider.url, aud: provider.clientId, iat: nowS, exp: nowS + 60, ...user, ...provider.claims }
    const signedText = `${encode({ alg: 'RS256', kid: 'k1', typ: 'JWT' })}.${encode(claims)}`
    const signature = await crypto.subtle.sign(
      'RSASSA-PKCS1-v1_5',
      key.privateKey,
      new TextEncoder().encode(signedText),
    )
    return `${signedText}.${Buffer.from(signature).toString('base64url')}`
  }

  const isClient = (request: Request, form: URLSearchParams) => {
    const basic = `Basic ${btoa(`${provider.clientId}:${provider.clientSecret}`)}`
    return provider.secretIn === 'header'
      ? request.headers.get('authorization') === basic
      : form.get('client_id') === provider.clientId && form.get('client_secret') === provider.clientSecret
  }

  const token = async (request: Request) => {
    const form = new URLSearchParams(await request.text())
    if (!isClient(request, form)) return Response.json({ error: 'invalid_client' }, { status: 401 })
    const code = form.get('code') ?? ''
    const grant = grants.get(code)
    grants.delete(code)
    const verifier = form.get('code_verifier')
    const challenge = verifier && new Bun.CryptoHasher('sha256').update(verifier).digest('base64url')
    const isGranted =
      grant !== undefined &&
      form.get('grant_type') === 'authorization_code' &&
      form.get('redirect_uri') === grant.redirectUri &&
      (grant.challenge === null || grant.challenge === challenge)
    if (!isGranted) return Response.json({ error: 'invalid_grant' }, { status: 400 })
    const accessToken = `access-${code}`
    tokens.set(accessToken, grant.user)
    return Response.json({
      access_token: accessToken,
      refresh_token: 'refresh',
      token_type: 'bearer',
      expires_in: 3600,
      id_token: await idTokenOf(grant.user),
    })
  }

  const server = Bun.serve({
    port: 0,
    hostname: '127.0.0.1',
    async fetch(request) {
      const url = new URL(request.url)
      provider.requests.push(`${request.method} ${url.pathname}`)
      switch (url.pathname) {
        case '/authorize': {
          const redirectUri = url.searchParams.get('redirect_uri') ?? ''
          if (url.searchParams.get('client_id') !== provider.clientId || !URL.canParse(redirectUri))
            return new Response('unknown client', { status: 400 })
          const code = `code${++codes}`
          grants.set(code, { redirectUri, challenge: url.searchParams.get('code_challenge'), user: provider.user })
          const target = new URL(redirectUri)
          target.searchParams.set('code', code)
          target.searchParams.set('state', url.searchParams.get('state') ?? '')
          return Response.redirect(target.href)
        }
        case '/token':
          return token(request)
        case '/userinfo': {
          const user = tokens.get((request.headers.get('authorization') ?? '').replace('Bearer ', ''))
          return user === undefined ? new Response('', { status: 401 }) : Response.json(user)
        }
        case '/jwks':
          return Response.json({ keys: [{ ...publicKey, kid: 'k1', use: 'sig', alg: 'RS256' }] })
        case '/avatar.png':
          return new Response(new Uint8Array(8), { headers: { 'content-type': 'image/png' } })
        default:
          return new Response('', { status: 404 })
      }
    },
  })

  const provider: OidcProvider = {
    url: `http://127.0.0.1:${server.port}`,
    clientId: 'client',
    clientSecret: 'secret',
    user: { sub: 'user1' },
    secretIn: 'header',
    claims: {},
    requests: [],
    async agree(authUrl) {
      const answer = await fetch(authUrl, { redirect: 'manual' })
      return new URL(answer.headers.get('location') ?? '')
    },
    stop: () => server.stop(true),
  }
  return provider
}
