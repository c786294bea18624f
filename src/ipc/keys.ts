// Every secret of the fleet's insides is derived from one cluster secret by HKDF-SHA256, each under its own label, so
// that knowing one of them reveals neither the cluster secret nor the others.
//
// CURVE: one key pair per role. Whoever holds the node key can speak as a node and read what is said to nodes; it can
// not speak as a control plane. Endpoints accept the public keys of the roles that have business there (`zmq/zap.ts`).

import { createPrivateKey, createPublicKey, hkdfSync } from 'node:crypto'
import { assert } from '../lib/assert.ts'
import { ConfigError } from '../lib/errors.ts'

export const roles = ['control-plane', 'node', 'gateway'] as const
export type Role = (typeof roles)[number]

/** While a secret is being rotated two are valid: `current` signs and is tried first, `previous` is still accepted. */
export interface ClusterSecrets {
  readonly current: string
  readonly previous: string | null
}

/** Shorter ones can be guessed; the secret guards every tenant. */
export const clusterSecretLengthMin = 16

/** Checks what an operator gave us; throws ConfigError. */
export function clusterSecrets(current: string, previous: string | null = null): ClusterSecrets {
  for (const secret of previous === null ? [current] : [current, previous])
    if (secret.length < clusterSecretLengthMin)
      throw new ConfigError(`the cluster secret must have at least ${clusterSecretLengthMin} characters`)
  return { current, previous }
}

/** 32 bytes under `label`; the same secret and label always give the same bytes. */
export function deriveKey(secret: string, label: string): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', secret, 'pocketfleet', label, 32))
}

export interface CurveKeyPair {
  /** 32 bytes each, as libzmq takes them in binary. */
  readonly publicKey: Uint8Array
  readonly secretKey: Uint8Array
}

/** RFC 8410 wrapping of a raw X25519 key, which is all that Node's crypto takes. */
const pkcs8Prefix = Buffer.from('302e020100300506032b656e04220420', 'hex')
const publicKeyLength = 32

/** The CURVE key pair of `role` under one secret. CURVE's keys are X25519 keys: public = secret · base point. */
export function curveKeyPair(secret: string, role: Role): CurveKeyPair {
  const secretKey = deriveKey(secret, `ipc/curve/v1/${role}`)
  const privateKey = createPrivateKey({
    key: Buffer.concat([pkcs8Prefix, secretKey]),
    format: 'der',
    type: 'pkcs8',
  })
  const spki = createPublicKey(privateKey).export({ format: 'der', type: 'spki' })
  assert(spki.length === 44, 'an X25519 SPKI is 12 bytes of header and 32 of key')
  return { publicKey: new Uint8Array(spki.subarray(spki.length - publicKeyLength)), secretKey }
}

/** The public keys that prove `role`: of the current secret first, then of the previous one. */
export function publicKeysOf(secrets: ClusterSecrets, role: Role): Uint8Array[] {
  const valid = secrets.previous === null ? [secrets.current] : [secrets.current, secrets.previous]
  return valid.map((secret) => curveKeyPair(secret, role).publicKey)
}
