// Superusers from outside the API: the command line, a new tenant, the installer page. Every function works on an open
// engine and either does the whole thing or throws.

import { superusersName } from '../collections/collection.ts'
import { RefusedError, ValidationFailed } from '../errors.ts'
import { EngineRecord } from '../records/record.ts'
import { cronProblem } from '../settings/cron-check.ts'
import { isEmail } from '../settings/formats.ts'
import { validateSettings } from '../settings/validate.ts'
import type { AuthHost } from './auth-host.ts'
import type { AuthService } from './auth-service.ts'
import { findByEmail } from './lookup.ts'
import { installerEmail } from './system-records.ts'
import { newStaticAuthToken } from './tokens.ts'

/** How long the link to the installer page works, seconds. */
const installerTokenS = 30 * 60

export interface SuperuserHost extends AuthHost {
  readonly auth: AuthService
}

/** Creates a superuser, or sets the password of the one with this address. Throws ValidationFailed or RefusedError. */
export async function upsertSuperuser(host: SuperuserHost, email: string, password: string): Promise<void> {
  const record = findSuperuser(host, email) ?? blankSuperuser(host)
  record.set('email', email)
  record.set('password', password)
  await save(host, record, password)
}

/** Fails with ValidationFailed when the address is taken. */
export async function createSuperuser(host: SuperuserHost, email: string, password: string): Promise<void> {
  checkEmail(email)
  const record = blankSuperuser(host)
  record.set('email', email)
  record.set('password', password)
  await save(host, record, password)
}

export async function updateSuperuser(host: SuperuserHost, email: string, password: string): Promise<void> {
  const record = requireSuperuser(host, email)
  record.set('password', password)
  await save(host, record, password)
}

/** @returns false when there was none. The last superuser cannot be deleted. */
export async function deleteSuperuser(host: SuperuserHost, email: string): Promise<boolean> {
  const record = findSuperuser(host, email)
  if (record === null) return false
  await host.records.delete(record)
  return true
}

export interface SuperuserOtp {
  readonly otpId: string
  readonly password: string
  /** Seconds. */
  readonly validS: number
}

/** A one-time password for a superuser who cannot get mails. */
export async function createSuperuserOtp(host: SuperuserHost, email: string): Promise<SuperuserOtp> {
  const record = requireSuperuser(host, email)
  const { otp: options } = record.collection.auth
  if (!options.enabled) throw new RefusedError(`OTP auth is not enabled for the ${superusersName} collection`)
  const { otp, password } = await host.auth.createOtp(record)
  return { otpId: otp.id, password, validS: options.duration }
}

/** Sets from where superusers may come; an empty list lets them come from anywhere. */
export async function setSuperuserIps(host: SuperuserHost, ipsOrSubnets: readonly string[]): Promise<void> {
  const next = { ...host.settings, superuserIPs: ipsOrSubnets }
  // Settings that were stored before are not this command's business; what it adds is.
  const errors = validateSettings(next, { cronProblem })
  const own = errors?.['superuserIPs']
  if (own !== undefined) throw new ValidationFailed({ superuserIPs: own })
  await host.settingsStore.save(next)
}

/** Whether nobody could sign in to the dashboard yet. */
export function needsInstaller(host: SuperuserHost): boolean {
  return host.data.get(`SELECT 1 FROM \`${superusersName}\` WHERE \`email\` <> ? LIMIT 1`, [installerEmail]) === null
}

/**
 * The path of the page where the first superuser is made, with a token good for half an hour.
 *
 * @returns null when there is a superuser already.
 */
export async function createInstallerPath(host: SuperuserHost): Promise<string | null> {
  if (!needsInstaller(host)) return null
  const collection = host.collections.require(superusersName)
  let installer = findByEmail(host, collection, installerEmail)
  if (installer === null) {
    installer = blankSuperuser(host)
    installer.set('email', installerEmail)
    await host.auth.setRandomPassword(installer)
    await host.records.save(installer)
  }
  return `/_/#/pbinstall/${newStaticAuthToken(installer, installerTokenS, host.clock.now())}`
}

function blankSuperuser(host: SuperuserHost): EngineRecord {
  return EngineRecord.blank(host.collections.require(superusersName))
}

function findSuperuser(host: SuperuserHost, email: string): EngineRecord | null {
  checkEmail(email)
  return findByEmail(host, host.collections.require(superusersName), email)
}

function requireSuperuser(host: SuperuserHost, email: string): EngineRecord {
  const record = findSuperuser(host, email)
  if (record === null) throw new RefusedError(`superuser with email "${email}" doesn't exist`)
  return record
}

function checkEmail(email: string): void {
  if (!isEmail(email)) throw new RefusedError('missing or invalid email address')
}

async function save(host: SuperuserHost, record: EngineRecord, password: string): Promise<void> {
  if (password === '') throw new RefusedError('the password is missing')
  await host.records.save(record)
}
