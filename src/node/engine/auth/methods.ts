// How one may sign in to a collection: what `auth-methods` answers, members in PocketBase's order.

import type { Rng } from '../../../lib/rng.ts'
import type { Collection } from '../collections/collection.ts'
import { findOAuth2Provider } from './oauth2/catalog.ts'
import { authPageUrl, codeChallengeOf, configureProvider, logoOf } from './oauth2/provider.ts'
import { randomSecret } from './random.ts'

const stateLength = 30
/** RFC 7636 asks for at least 43. */
const codeVerifierLength = 43

export interface ProviderInfo {
  readonly name: string
  readonly displayName: string
  readonly logo: string
  readonly state: string
  readonly authURL: string
  /** The same under the name that clients before v0.23 read. */
  readonly authUrl: string
  readonly codeVerifier: string
  readonly codeChallenge: string
  readonly codeChallengeMethod: string
}

export interface AuthMethods {
  readonly password: { readonly identityFields: readonly string[]; readonly enabled: boolean }
  readonly oauth2: { readonly providers: readonly ProviderInfo[]; readonly enabled: boolean }
  readonly mfa: { readonly enabled: boolean; readonly duration: number }
  readonly otp: { readonly enabled: boolean; readonly duration: number }
  /** For clients before v0.23; null where OAuth2 is off. */
  readonly authProviders: readonly ProviderInfo[] | null
  readonly usernamePassword: boolean
  readonly emailPassword: boolean
}

export function authMethodsOf({ auth }: Collection, rng: Rng): AuthMethods {
  const { passwordAuth, oauth2, mfa, otp } = auth
  const identityFields = passwordAuth.enabled ? passwordAuth.identityFields : []
  const providers = oauth2.enabled ? oauth2.providers.flatMap((config) => providerInfo(config, rng) ?? []) : []
  return {
    password: { identityFields, enabled: passwordAuth.enabled },
    oauth2: { providers, enabled: oauth2.enabled },
    mfa: { enabled: mfa.enabled, duration: mfa.enabled ? mfa.duration : 0 },
    otp: { enabled: otp.enabled, duration: otp.enabled ? otp.duration : 0 },
    authProviders: oauth2.enabled ? providers.map((each) => ({ ...each, logo: '' })) : null,
    usernamePassword: identityFields.includes('username'),
    emailPassword: identityFields.includes('email'),
  }
}

type ProviderOptions = Collection['auth']['oauth2']['providers'][number]

/** Null for a provider that this version does not know. */
function providerInfo(config: ProviderOptions, rng: Rng): ProviderInfo | null {
  const definition = findOAuth2Provider(config.name)
  if (definition === undefined) return null
  const provider = configureProvider(definition, config)
  const state = randomSecret(rng, stateLength)
  const codeVerifier = provider.pkce ? randomSecret(rng, codeVerifierLength) : ''
  const codeChallenge = provider.pkce ? codeChallengeOf(codeVerifier) : ''
  const authURL = authPageUrl(provider, state, provider.pkce ? codeChallenge : null)
  return {
    name: config.name,
    displayName: provider.displayName || config.name,
    logo: logoOf(definition),
    state,
    authURL,
    authUrl: authURL,
    codeVerifier,
    codeChallenge,
    codeChallengeMethod: provider.pkce ? 'S256' : '',
  }
}
