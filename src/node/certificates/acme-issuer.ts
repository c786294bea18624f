// Certificates from an ACME authority (RFC 8555), by the library `acme-client`. Loaded only where domains are served.

import { type Certificate, type CertificateCache, parseCertificate } from './certificate-cache.ts'

/** Answers the authority's questions under `/.well-known/acme-challenge/`, by token. */
export type Challenges = Map<string, string>

/** Gets a certificate for one host. Rejects with what the authority said. */
export interface CertificateIssuer {
  issue(host: string, challenges: Challenges): Promise<Certificate>
}

/**
 * @param directoryUrl of the authority.
 * @param cache keeps the account's key. Whoever serves domains agrees to the terms of the authority, as with PocketBase.
 */
export function acmeIssuer(directoryUrl: string, cache: CertificateCache): CertificateIssuer {
  return {
    async issue(host, challenges) {
      const { default: acme } = await import('acme-client')
      const knownKey = await cache.readAccountKey()
      const accountKey = knownKey ?? (await acme.crypto.createPrivateEcdsaKey()).toString()
      if (knownKey === null) await cache.writeAccountKey(accountKey)
      const client = new acme.Client({ directoryUrl, accountKey })
      // Finds the account of a known key. Where there is none (any more), `auto` makes it, or says what is wrong.
      if (knownKey !== null) await client.createAccount({ onlyReturnExisting: true }).catch(() => {})
      const key = (await acme.crypto.createPrivateEcdsaKey()).toString()
      const [, csr] = await acme.crypto.createCsr({ commonName: host, altNames: [host] }, key)
      const chain = await client.auto({
        csr,
        termsOfServiceAgreed: true,
        challengePriority: ['http-01'],
        skipChallengeVerification: true, // from here our own address may lead elsewhere than from outside
        async challengeCreateFn(_, challenge, answer) {
          challenges.set(challenge.token, answer)
        },
        async challengeRemoveFn(_, challenge) {
          challenges.delete(challenge.token)
        },
      })
      return parseCertificate(host, `${key}\n${chain}`)
    },
  }
}
