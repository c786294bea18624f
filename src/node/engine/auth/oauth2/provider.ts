// What an OAuth2 provider is to us. The providers themselves are data (catalog.ts): addresses, scopes, and a pure
// function that reads a user out of the provider's answer. A collection may override most of it.

import { sha256Base64Url } from '../random.ts'

/** The part of a collection's options that configures one provider; members as PocketBase stores them. */
export interface OAuth2ProviderConfig {
  readonly pkce: boolean | null
  readonly name: string
  readonly clientId: string
  readonly clientSecret: string
  readonly authURL: string
  readonly tokenURL: string
  readonly userInfoURL: string
  readonly displayName: string
  readonly extra: Readonly<Record<string, unknown>> | null
}

/** What a token endpoint answered. */
export interface OAuth2Token {
  readonly accessToken: string
  readonly tokenType: string
  readonly refreshToken: string
  /** When the access token ends, or null when the provider did not say. */
  readonly expiresAtMs: number | null
  /** Every member of the answer, `id_token` among them. */
  readonly raw: Readonly<Record<string, unknown>>
}

/** The account at the provider, as far as we need it. */
export interface OAuth2Identity {
  readonly id: string
  readonly name?: string
  readonly username?: string
  readonly avatarURL?: string
  /** Only an address whose ownership the provider has verified; else empty. */
  readonly email?: string
}

/** A second request that finds the verified address: `url` with the access token, read by `pick`. */
export interface EmailRequest {
  readonly url: string
  /** Statuses that mean that the user did not share it. */
  readonly isRefused: (status: number) => boolean
  readonly pick: (json: unknown) => string
}

export interface IdentityContext {
  readonly token: OAuth2Token
  readonly extra: Readonly<Record<string, unknown>>
  /** Claims of `id_token` after their times were checked, or null. */
  readonly idTokenClaims: () => Readonly<Record<string, unknown>> | null
}

/** Why an account may not sign in: it is suspended, or the answer holds no account. */
export interface IdentityRefusal {
  readonly refused: string
}

export interface ProviderDefinition {
  readonly name: string
  readonly displayName: string
  /** Position in lists. */
  readonly order: number
  /** Brand colour of the generated logo. */
  readonly color: string
  readonly pkce: boolean
  readonly scopes: readonly string[]
  readonly authURL: string
  readonly tokenURL: string
  readonly userInfoURL: string
  /** Added to the address of the consent page. */
  readonly authParameters?: Readonly<Record<string, string>>
  /** How the user is asked for where a plain GET with the access token is not enough. */
  readonly userInfoRequest?: (provider: OAuth2Provider) => {
    readonly method?: 'POST'
    readonly headers?: Readonly<Record<string, string>>
    readonly body?: string
  }
  /** Where the claims of `id_token` stand for the user, and how they are checked. */
  readonly idToken?: IdTokenPolicy
  readonly identify: (json: unknown, context: IdentityContext) => OAuth2Identity | IdentityRefusal
  /** Asked after `identify`, which may have found an address already. */
  readonly emailRequest?: (provider: OAuth2Provider, identity: OAuth2Identity) => EmailRequest | null
}

export interface IdTokenPolicy {
  /** `always`: the provider has no user endpoint; `without-user-info`: only when no such address is configured. */
  readonly use: 'always' | 'without-user-info'
  readonly isExpirationRequired: boolean
  readonly issuers: readonly string[]
  readonly jwksURL: string
}

/** A definition with a collection's overrides applied. */
export interface OAuth2Provider extends ProviderDefinition {
  readonly clientId: string
  readonly clientSecret: string
  readonly extra: Readonly<Record<string, unknown>>
}

/** Applies what a collection configured; empty texts leave the definition's. */
export function configureProvider(definition: ProviderDefinition, config: OAuth2ProviderConfig): OAuth2Provider {
  const extra = config.extra ?? {}
  return {
    ...definition,
    clientId: config.clientId,
    clientSecret: config.clientSecret,
    authURL: config.authURL || definition.authURL,
    tokenURL: config.tokenURL || definition.tokenURL,
    userInfoURL: config.userInfoURL || definition.userInfoURL,
    displayName: config.displayName || definition.displayName,
    pkce: config.pkce ?? definition.pkce,
    scopes: scopesOf(definition, extra),
    extra,
  }
}

/** Microsoft only sends an `id_token`, from which addresses can be read, to those who ask for `openid`. */
function scopesOf(definition: ProviderDefinition, extra: Readonly<Record<string, unknown>>): readonly string[] {
  const isWanted = definition.name === 'microsoft' && Boolean(extra['idTokenEmailClaim'])
  return isWanted && !definition.scopes.includes('openid') ? [...definition.scopes, 'openid'] : definition.scopes
}

/**
 * The address of the consent page. It ends with `&redirect_uri=`, to which the client appends its own.
 *
 * @param codeChallenge of PKCE, or null where it is off.
 */
export function authPageUrl(provider: OAuth2Provider, state: string, codeChallenge: string | null): string {
  const parameters = new URLSearchParams({ response_type: 'code', client_id: provider.clientId, state })
  if (provider.scopes.length > 0) parameters.set('scope', provider.scopes.join(' '))
  for (const [name, value] of Object.entries(provider.authParameters ?? {})) parameters.set(name, value)
  if (codeChallenge !== null) {
    parameters.set('code_challenge', codeChallenge)
    parameters.set('code_challenge_method', 'S256')
  }
  parameters.sort()
  const separator = provider.authURL.includes('?') ? '&' : '?'
  return `${provider.authURL}${separator}${parameters}&redirect_uri=`
}

/** RFC 7636, S256. */
export function codeChallengeOf(codeVerifier: string): string {
  return sha256Base64Url(codeVerifier)
}

/** A plain mark for lists of providers: the brand's colour and its first letter. */
export function logoOf({ displayName, color }: ProviderDefinition): string {
  // The official dashboard encodes logos with `btoa`, which throws for anything beyond Latin-1.
  const letter = `&#${displayName.toUpperCase().codePointAt(0)};`
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 48 48"><rect width="48" height="48" rx="12" fill="${color}"/>` +
    `<text x="24" y="33" fill="#fff" font-family="sans-serif" font-size="26" font-weight="700" text-anchor="middle">` +
    `${letter}</text></svg>`
  )
}
