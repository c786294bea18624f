// The server's half of the authorization code flow: code → access token → user.

import { fromUtf8 } from '../../../../lib/bytes.ts'
import { AppError } from '../../../../lib/errors.ts'
import { items, text } from './answer.ts'
import { type IdTokenClaims, IdTokenError, readIdToken, verifyIdTokenSignature } from './id-token.ts'
import { type OutboundResponse, sendOutbound } from './outbound.ts'
import type { IdTokenPolicy, OAuth2Provider, OAuth2Token } from './provider.ts'

/** Bytes; token and user answers are a few kilobytes. */
const answerBytesMax = 1 << 20

/** The provider said no, or something that is no answer. Its words may hold secrets and are for the log, not for clients. */
export class OAuth2Error extends AppError {
  readonly code = 'oauth2'
}

/** What a request to a provider needs besides its address. */
export interface ExchangeDeps {
  readonly signal: AbortSignal
  readonly nowMs: number
  readonly mayReachPrivate: boolean
}

/** The user as clients get it in `meta`. */
export interface OAuth2User {
  readonly id: string
  readonly name: string
  readonly username: string
  /** Verified by the provider, or empty. */
  readonly email: string
  readonly avatarURL: string
  readonly accessToken: string
  readonly refreshToken: string
  readonly expiresAtMs: number | null
  readonly rawUser: Readonly<Record<string, unknown>>
}

/** Which way of sending the client's secret a token endpoint took; both are in use and none can be asked for. */
const knownStyles = new Map<string, 'header' | 'parameters'>()
/** Endpoints remembered; past it all are asked again. */
const knownStylesMax = 1000

/** Exchanges a code. Fails with OAuth2Error or OutboundError. */
export async function fetchToken(
  provider: OAuth2Provider,
  request: { readonly code: string; readonly codeVerifier: string; readonly redirectURL: string },
  deps: ExchangeDeps,
): Promise<OAuth2Token> {
  const parameters = new URLSearchParams({ grant_type: 'authorization_code', code: request.code })
  if (request.redirectURL !== '') parameters.set('redirect_uri', request.redirectURL)
  if (provider.pkce) parameters.set('code_verifier', request.codeVerifier)
  const endpoint = `${provider.tokenURL} ${provider.clientId}`
  const known = knownStyles.get(endpoint)
  if (known !== undefined) return requestToken(provider, parameters, known, deps)
  let style: 'header' | 'parameters' = 'header'
  let token: OAuth2Token
  try {
    token = await requestToken(provider, parameters, style, deps)
  } catch (error) {
    if (!(error instanceof OAuth2Error)) throw error
    style = 'parameters'
    token = await requestToken(provider, parameters, style, deps)
  }
  if (knownStyles.size >= knownStylesMax) knownStyles.clear()
  knownStyles.set(endpoint, style)
  return token
}

async function requestToken(
  provider: OAuth2Provider,
  parameters: URLSearchParams,
  style: 'header' | 'parameters',
  deps: ExchangeDeps,
): Promise<OAuth2Token> {
  const body = new URLSearchParams(parameters)
  const headers: Record<string, string> = {
    'content-type': 'application/x-www-form-urlencoded',
    accept: 'application/json',
  }
  if (style === 'header') {
    const credentials = `${encodeURIComponent(provider.clientId)}:${encodeURIComponent(provider.clientSecret)}`
    headers['authorization'] = `Basic ${Buffer.from(credentials).toString('base64')}`
  } else {
    body.set('client_id', provider.clientId)
    if (provider.clientSecret !== '') body.set('client_secret', provider.clientSecret)
  }
  const answer = await sendOutbound({
    url: provider.tokenURL,
    method: 'POST',
    headers,
    body: body.toString(),
    bodyBytesMax: answerBytesMax,
    signal: deps.signal,
    mayReachPrivate: deps.mayReachPrivate,
  })
  const raw = parseTokenAnswer(answer)
  const problem = text(raw, 'error')
  // Some answer 200 with an error inside.
  if (answer.status < 200 || answer.status > 299 || problem !== '')
    throw new OAuth2Error(`the token endpoint answered ${answer.status} ${problem} ${text(raw, 'error_description')}`)
  const accessToken = text(raw, 'access_token')
  if (accessToken === '') throw new OAuth2Error('the token endpoint answered without an access token')
  const expiresInS = Number(raw['expires_in'] ?? 0)
  return {
    accessToken,
    tokenType: text(raw, 'token_type'),
    refreshToken: text(raw, 'refresh_token'),
    expiresAtMs: Number.isFinite(expiresInS) && expiresInS > 0 ? deps.nowMs + expiresInS * 1000 : null,
    raw,
  }
}

function parseTokenAnswer({ contentType, body, status }: OutboundResponse): Readonly<Record<string, unknown>> {
  const content = fromUtf8(body)
  if (/^(?:application\/x-www-form-urlencoded|text\/plain)\b/.test(contentType))
    return Object.fromEntries(new URLSearchParams(content))
  return parseObject(content, `the token endpoint (${status})`)
}

/** Asks who the user of `token` is. Fails with OAuth2Error, IdTokenError or OutboundError. */
export async function fetchUser(provider: OAuth2Provider, token: OAuth2Token, deps: ExchangeDeps): Promise<OAuth2User> {
  const policy = provider.idToken
  const isInIdToken = policy?.use === 'always' || (policy?.use === 'without-user-info' && provider.userInfoURL === '')
  const rawUser = isInIdToken
    ? await userInIdToken(provider, policy!, token, deps)
    : await userInfo(provider, token, deps)
  const identity = provider.identify(rawUser, {
    token,
    extra: provider.extra,
    idTokenClaims: () => claimsOrNull(text(token.raw, 'id_token'), deps.nowMs),
  })
  if ('refused' in identity) throw new OAuth2Error(identity.refused)
  const emailRequest = provider.emailRequest?.(provider, identity) ?? null
  const email = emailRequest === null ? (identity.email ?? '') : await fetchEmail(emailRequest, token, deps)
  return {
    id: identity.id,
    name: identity.name ?? '',
    username: identity.username ?? '',
    email,
    avatarURL: identity.avatarURL ?? '',
    accessToken: token.accessToken,
    refreshToken: token.refreshToken,
    expiresAtMs: token.expiresAtMs,
    rawUser,
  }
}

async function userInfo(
  provider: OAuth2Provider,
  token: OAuth2Token,
  deps: ExchangeDeps,
): Promise<Readonly<Record<string, unknown>>> {
  const special = provider.userInfoRequest?.(provider) ?? {}
  const answer = await sendOutbound({
    url: provider.userInfoURL,
    method: special.method ?? 'GET',
    headers: { accept: 'application/json', ...special.headers, ...authorizationOf(token) },
    ...(special.body === undefined ? {} : { body: special.body }),
    bodyBytesMax: answerBytesMax,
    signal: deps.signal,
    mayReachPrivate: deps.mayReachPrivate,
  })
  if (answer.status >= 400) throw new OAuth2Error(`the user endpoint answered ${answer.status}`)
  const user = parseObject(fromUtf8(answer.body), 'the user endpoint')
  // Instagram tells what was granted with the token, not with the user.
  const granted = token.raw['permissions']
  return provider.name === 'instagram2' && !Object.hasOwn(user, 'permissions') && granted !== undefined
    ? { ...user, permissions: granted }
    : user
}

async function fetchEmail(
  request: NonNullable<ReturnType<NonNullable<OAuth2Provider['emailRequest']>>>,
  token: OAuth2Token,
  deps: ExchangeDeps,
): Promise<string> {
  const answer = await sendOutbound({
    url: request.url,
    headers: { accept: 'application/json', ...authorizationOf(token) },
    bodyBytesMax: answerBytesMax,
    signal: deps.signal,
    mayReachPrivate: deps.mayReachPrivate,
  })
  if (request.isRefused(answer.status)) return ''
  return request.pick(parseJson(fromUtf8(answer.body), 'the address endpoint'))
}

async function userInIdToken(
  provider: OAuth2Provider,
  policy: IdTokenPolicy,
  token: OAuth2Token,
  deps: ExchangeDeps,
): Promise<IdTokenClaims> {
  const idToken = text(token.raw, 'id_token')
  if (idToken === '') throw new IdTokenError('the token endpoint answered without an id_token')
  const configured = items(provider.extra['issuers']).filter((each) => typeof each === 'string')
  const claims = readIdToken(idToken, {
    audience: provider.clientId,
    issuers: policy.issuers.length > 0 ? policy.issuers : configured,
    isExpirationRequired: policy.isExpirationRequired,
    nowMs: deps.nowMs,
  })
  const jwksURL = policy.jwksURL || text(provider.extra, 'jwksURL')
  if (jwksURL !== '') {
    const answer = await sendOutbound({
      url: jwksURL,
      headers: { accept: 'application/json' },
      bodyBytesMax: answerBytesMax,
      signal: deps.signal,
      mayReachPrivate: deps.mayReachPrivate,
    })
    if (answer.status >= 400) throw new OAuth2Error(`the key endpoint answered ${answer.status}`)
    await verifyIdTokenSignature(idToken, parseJson(fromUtf8(answer.body), 'the key endpoint'))
  }
  return claims
}

function claimsOrNull(idToken: string, nowMs: number): IdTokenClaims | null {
  if (idToken === '') return null
  try {
    return readIdToken(idToken, { audience: null, issuers: [], isExpirationRequired: false, nowMs })
  } catch (error) {
    if (error instanceof IdTokenError) return null // no claims: no address is believed
    throw error
  }
}

function authorizationOf({ tokenType, accessToken }: OAuth2Token): { authorization: string } {
  const known = ['Bearer', 'MAC', 'Basic'].find((each) => each.toLowerCase() === tokenType.toLowerCase())
  return { authorization: `${known ?? (tokenType || 'Bearer')} ${accessToken}` }
}

function parseJson(content: string, from: string): unknown {
  try {
    return JSON.parse(content)
  } catch (cause) {
    throw new OAuth2Error(`${from} answered with something that is no JSON`, { cause })
  }
}

function parseObject(content: string, from: string): Readonly<Record<string, unknown>> {
  const value = parseJson(content, from)
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new OAuth2Error(`${from} answered with something that is no object`)
  return value as Readonly<Record<string, unknown>>
}
