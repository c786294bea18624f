// Apple has no client secret to copy: it is a JSON Web Token (ES256) that the app's key signs, valid for half a year at
// most.

import { AppError } from '../../../../lib/errors.ts'

/** The longest Apple accepts, seconds: about six months. */
export const appleSecretDurationMaxS = 15_777_000

export interface AppleSecretRequest {
  readonly clientId: string
  readonly teamId: string
  readonly keyId: string
  /** PEM of a P-256 key in PKCS #8. */
  readonly privateKey: string
  readonly durationS: number
  readonly nowMs: number
}

/** The private key cannot be read. */
export class AppleKeyError extends AppError {
  readonly code = 'apple_key'
}

export async function createAppleSecret(request: AppleSecretRequest): Promise<string> {
  const issuedAtS = Math.floor(request.nowMs / 1000)
  const claims = {
    iss: request.teamId,
    sub: request.clientId,
    aud: ['https://appleid.apple.com'],
    exp: issuedAtS + request.durationS,
    iat: issuedAtS,
  }
  const signedText = `${encode({ alg: 'ES256', kid: request.keyId, typ: 'JWT' })}.${encode(claims)}`
  const key = await importKey(request.privateKey)
  const signature = await crypto.subtle.sign(
    { name: 'ECDSA', hash: 'SHA-256' },
    key,
    new TextEncoder().encode(signedText),
  )
  return `${signedText}.${Buffer.from(signature).toString('base64url')}`
}

async function importKey(pem: string): Promise<CryptoKey> {
  const base64 = pem.replace(/-----[A-Z ]+-----/g, '').replace(/\s+/g, '')
  try {
    const bytes = new Uint8Array(Buffer.from(base64, 'base64'))
    return await crypto.subtle.importKey('pkcs8', bytes, { name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign'])
  } catch (cause) {
    throw new AppleKeyError('the private key is no P-256 key in PKCS #8', { cause })
  }
}

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}
