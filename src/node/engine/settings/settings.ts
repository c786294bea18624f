// The settings of one tenant: what `_params` holds under `settings` and what `/api/settings` shows. One description
// per group gives the order of members (PocketBase's, byte for byte), the kinds that may be loaded into them, and the
// defaults.

import { err, ok, type Result } from '../../../lib/result.ts'
import { memberOf } from '../json/member.ts'

export interface SmtpSettings {
  readonly enabled: boolean
  readonly port: number
  readonly host: string
  readonly username: string
  readonly password: string
  /** `PLAIN` (also when empty) or `LOGIN`. */
  readonly authMethod: string
  /** TLS from the first byte; else STARTTLS when the server offers it. */
  readonly tls: boolean
  /** What EHLO says; empty means `localhost`. */
  readonly localName: string
}

export interface S3Settings {
  readonly enabled: boolean
  readonly bucket: string
  readonly region: string
  readonly endpoint: string
  readonly accessKey: string
  readonly secret: string
  readonly forcePathStyle: boolean
}

export interface BackupsSettings {
  readonly cron: string
  readonly cronMaxKeep: number
  readonly s3: S3Settings
}

export interface MetaSettings {
  readonly accentColor: string
  readonly appName: string
  readonly appURL: string
  readonly senderName: string
  readonly senderAddress: string
  readonly hideControls: boolean
}

export type RateLimitAudience = '' | '@guest' | '@auth'

export interface RateLimitRule {
  readonly label: string
  readonly audience: string
  /** Seconds. */
  readonly duration: number
  readonly maxRequests: number
}

export interface RateLimitsSettings {
  readonly rules: readonly RateLimitRule[]
  readonly excludedIPs: readonly string[]
  readonly enabled: boolean
}

export interface TrustedProxySettings {
  readonly headers: readonly string[]
  readonly useLeftmostIP: boolean
}

export interface BatchSettings {
  readonly enabled: boolean
  readonly maxRequests: number
  /** Seconds. */
  readonly timeout: number
  /** Bytes; 0 means about 128 MB. */
  readonly maxBodySize: number
}

export interface LogsSettings {
  /** 0 turns the logs off. */
  readonly maxDays: number
  readonly minLevel: number
  readonly logIP: boolean
  readonly logAuthId: boolean
}

export interface Settings {
  readonly superuserIPs: readonly string[]
  readonly smtp: SmtpSettings
  readonly backups: BackupsSettings
  readonly s3: S3Settings
  readonly meta: MetaSettings
  readonly rateLimits: RateLimitsSettings
  readonly trustedProxy: TrustedProxySettings
  readonly batch: BatchSettings
  readonly logs: LogsSettings
}

type Kind = 'string' | 'integer' | 'boolean' | 'strings' | Shape | readonly [Shape]
/** Members in their order; `[shape]` is a list of such. */
interface Shape {
  readonly [member: string]: Kind
}

const s3Shape = {
  enabled: 'boolean',
  bucket: 'string',
  region: 'string',
  endpoint: 'string',
  accessKey: 'string',
  secret: 'string',
  forcePathStyle: 'boolean',
} as const satisfies Shape

const settingsShape = {
  superuserIPs: 'strings',
  smtp: {
    enabled: 'boolean',
    port: 'integer',
    host: 'string',
    username: 'string',
    password: 'string',
    authMethod: 'string',
    tls: 'boolean',
    localName: 'string',
  },
  backups: { cron: 'string', cronMaxKeep: 'integer', s3: s3Shape },
  s3: s3Shape,
  meta: {
    accentColor: 'string',
    appName: 'string',
    appURL: 'string',
    senderName: 'string',
    senderAddress: 'string',
    hideControls: 'boolean',
  },
  rateLimits: {
    rules: [{ label: 'string', audience: 'string', duration: 'integer', maxRequests: 'integer' }],
    excludedIPs: 'strings',
    enabled: 'boolean',
  },
  trustedProxy: { headers: 'strings', useLeftmostIP: 'boolean' },
  batch: { enabled: 'boolean', maxRequests: 'integer', timeout: 'integer', maxBodySize: 'integer' },
  logs: { maxDays: 'integer', minLevel: 'integer', logIP: 'boolean', logAuthId: 'boolean' },
} as const satisfies Shape

const zeros = { string: '', integer: 0, boolean: false } as const

/** What a tenant starts with, and what stored settings are loaded over. */
export const defaultSettings: Settings = load(zeroOf(settingsShape), {
  meta: {
    accentColor: '#1055c9',
    appName: 'Acme',
    appURL: 'http://localhost:8090',
    senderName: 'Support',
    senderAddress: 'support@example.com',
  },
  logs: { maxDays: 5, logIP: true },
  smtp: { host: 'smtp.example.com', port: 587 },
  backups: { cronMaxKeep: 3 },
  batch: { maxRequests: 50, timeout: 3 },
  rateLimits: {
    rules: [
      { label: '*:auth', maxRequests: 2, duration: 3 },
      { label: '*:create', maxRequests: 20, duration: 5 },
      { label: '/api/batch', maxRequests: 3, duration: 1 },
      { label: '/api/', maxRequests: 300, duration: 10 },
    ],
  },
})

/** A member that cannot hold what was given: `meta.appName: expected string`. */
export interface SettingsTypeError {
  readonly path: string
  readonly expected: string
}

/**
 * Loads JSON over settings, as Go's decoder does: what is missing stays, `null` leaves a plain value alone and empties
 * a list, names match in any case when none matches exactly, unknown ones are ignored, and items of a list of objects
 * are loaded over the item that stood at their place.
 */
export function mergeSettings(current: Settings, json: unknown): Result<Settings, SettingsTypeError> {
  try {
    return ok(load(current, json))
  } catch (error) {
    if (error instanceof TypeMismatch) return err({ path: error.path, expected: error.expected })
    throw error
  }
}

/** The JSON that is stored: everything, secrets included. */
export function storedSettings(settings: Settings): string {
  return JSON.stringify(omitEmptySecrets(settings)).replace(/[<>&\u2028\u2029]/g, escapeAsGo)
}

/** What clients may see: no secret leaves the server, not even as a mask. */
export function publicSettings(settings: Settings): Record<string, unknown> {
  const { password: _password, ...smtp } = settings.smtp
  const { secret: _s3Secret, ...s3 } = settings.s3
  const { secret: _backupsSecret, ...backupsS3 } = settings.backups.s3
  return { ...settings, smtp, s3, backups: { ...settings.backups, s3: backupsS3 } }
}

function omitEmptySecrets(settings: Settings): unknown {
  const s3Of = (s3: S3Settings) => ({ ...s3, secret: s3.secret === '' ? undefined : s3.secret })
  return { ...settings, backups: { ...settings.backups, s3: s3Of(settings.backups.s3) }, s3: s3Of(settings.s3) }
}

function escapeAsGo(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}

class TypeMismatch extends Error {
  readonly path: string
  readonly expected: string
  constructor(path: string, expected: string) {
    super(`${path}: expected ${expected}`)
    this.path = path
    this.expected = expected
  }
}

function load(current: Settings, json: unknown): Settings {
  return loadObject(settingsShape, current, json, '') as unknown as Settings
}

function loadObject(shape: Shape, current: object, json: unknown, path: string): Record<string, unknown> {
  const given = json === null || json === undefined ? {} : json
  if (typeof given !== 'object' || Array.isArray(given)) throw new TypeMismatch(path || 'settings', 'object')
  const loaded: Record<string, unknown> = {}
  for (const [member, kind] of Object.entries(shape)) {
    const before = (current as Record<string, unknown>)[member]
    const value = memberOf(given, member)
    loaded[member] =
      value === undefined ? before : loadValue(kind, before, value, path === '' ? member : `${path}.${member}`)
  }
  return loaded
}

function loadValue(kind: Kind, before: unknown, value: unknown, path: string): unknown {
  if (kind === 'strings') {
    if (value === null) return []
    if (!Array.isArray(value)) throw new TypeMismatch(path, 'list of strings')
    return value.map((item, i) => loadValue('string', '', item, `${path}.${i}`))
  }
  if (isListOf(kind)) {
    if (value === null) return []
    if (!Array.isArray(value)) throw new TypeMismatch(path, 'list')
    const items = before as readonly object[]
    return value.map((item, i) => loadObject(kind[0], items[i] ?? zeroOf(kind[0]), item, `${path}.${i}`))
  }
  if (typeof kind === 'object') return loadObject(kind, before as object, value, path)
  if (value === null) return before
  const fits = kind === 'integer' ? Number.isSafeInteger(value) : typeof value === kind
  if (!fits) throw new TypeMismatch(path, kind)
  return value
}

function isListOf(kind: Kind): kind is readonly [Shape] {
  return Array.isArray(kind)
}

function zeroOf<S extends Shape>(shape: S): S extends typeof settingsShape ? Settings : Record<string, unknown> {
  const zero: Record<string, unknown> = {}
  for (const [member, kind] of Object.entries(shape)) {
    if (kind === 'strings' || isListOf(kind)) zero[member] = []
    else zero[member] = typeof kind === 'object' ? zeroOf(kind) : zeros[kind]
  }
  return zero as never
}
