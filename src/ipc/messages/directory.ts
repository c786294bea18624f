// How nodes and gateways find the control plane: they are given HTTP addresses of members, and each member answers there
// with the IPC addresses of all members, so that nobody configures them twice. The answer is only a hint about where to
// connect: CURVE proves who is there. The question carries a signed header, so that strangers learn no inside address.

import { timingSafeEqual } from 'node:crypto'
import { hmacSha256 } from '../../lib/crypto/hmac.ts'
import { type ClusterSecrets, deriveKey, type Role, roles } from '../keys.ts'

/** `GET` on a member's HTTP address; answers a {@link Directory}, or 401 without a valid {@link peerHeaderName}. */
export const directoryPath = '/api/cp/ipc'

export interface Directory {
  readonly version: 1
  readonly members: readonly DirectoryMember[]
}

export interface DirectoryMember {
  readonly id: string
  /** `http://host:port`. */
  readonly httpUrl: string
  /** `tcp://host:port` or `ipc://path` of the ROUTER. */
  readonly ipcAddress: string
  /** The same of the PUB. */
  readonly pubAddress: string
  readonly isLeader: boolean
}

/** More members than any Raft group has; what is beyond is not read. */
const membersMax = 64

export const peerHeaderName = 'x-pocketfleet-peer'
const peerHeaderLifetimeMs = 60_000

/** `v1.<role>.<expires ms>.<hex mac>` */
export function signPeerHeader(secrets: ClusterSecrets, role: Role, nowMs: number): string {
  const signed = `v1.${role}.${Math.floor(nowMs) + peerHeaderLifetimeMs}`
  return `${signed}.${peerMac(secrets.current, signed).toString('hex')}`
}

/** The role that signed the header, or null when it is malformed, forged or expired. Never throws. */
export function verifyPeerHeader(secrets: ClusterSecrets, text: string, nowMs: number): Role | null {
  const match = /^(v1\.([a-z-]{1,20})\.(\d{1,16}))\.([0-9a-f]{64})$/.exec(text)
  if (match === null) return null
  const claimed = Buffer.from(match[4]!, 'hex')
  const valid = secrets.previous === null ? [secrets.current] : [secrets.current, secrets.previous]
  if (!valid.some((secret) => timingSafeEqual(peerMac(secret, match[1]!), claimed))) return null
  if (Number(match[3]) <= nowMs) return null
  return roles.find((role) => role === match[2]) ?? null
}

/** Checks a directory that came over HTTP; null when it is none. */
export function parseDirectory(value: unknown): Directory | null {
  if (typeof value !== 'object' || value === null) return null
  const { version, members } = value as Record<string, unknown>
  if (version !== 1 || !Array.isArray(members)) return null
  const parsed: DirectoryMember[] = []
  for (const member of members.slice(0, membersMax)) {
    if (typeof member !== 'object' || member === null) return null
    const { id, httpUrl, ipcAddress, pubAddress, isLeader } = member as Record<string, unknown>
    if (typeof id !== 'string' || typeof httpUrl !== 'string' || typeof isLeader !== 'boolean') return null
    if (!isIpcAddress(ipcAddress) || !isIpcAddress(pubAddress)) return null
    parsed.push({ id, httpUrl, ipcAddress, pubAddress, isLeader })
  }
  return { version: 1, members: parsed }
}

function isIpcAddress(value: unknown): value is string {
  return typeof value === 'string' && /^(?:tcp|ipc):\/\/\S{1,256}$/.test(value)
}

const peerKeys = new Map<string, Uint8Array>() // at most one entry per secret of this process

function peerMac(secret: string, text: string): Buffer {
  let key = peerKeys.get(secret)
  if (key === undefined) peerKeys.set(secret, (key = deriveKey(secret, 'peer-header/v1')))
  return hmacSha256(key, text)
}
