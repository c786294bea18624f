// What an engine knows about signing in beyond its records: recent attempts and mails, work that goes on after an answer
// was sent, and the operations that several requests share.

import { OverloadedError } from '../../../lib/errors.ts'
import type { Collection } from '../collections/collection.ts'
import { externalAuthsName, mfasName, otpsName } from '../collections/collection.ts'
import { quoteName, type Row } from '../db/sql.ts'
import { PasswordValue } from '../fields/value.ts'
import { RateLimiter } from '../rate-limit/limiter.ts'
import { EngineRecord } from '../records/record.ts'
import type { AuthHost } from './auth-host.ts'
import { ExpiringMap } from './expiring-map.ts'
import { randomDigits, randomSecret } from './random.ts'
import { bindSystemRecords, deleteExpired, isExpired, newRecordOf, recordsOf } from './system-records.ts'
import { findRecordByToken, type TokenType } from './tokens.ts'

/** Attempts per record and address within 180 s: a one-time password has few digits. */
const otpAttemptLimit = { maxRequests: 5, duration: 180 }
/** The same over all addresses, so that many of them do not help. */
const otpAttemptLimitOverall = { maxRequests: 50, duration: 180 }
/** Unexpired one-time passwords of one record; past it the last one is used again. */
const otpsPerRecordMax = 9
const resendPauseMs = 2 * 60_000
const appleNameMs = 60_000
const rememberedMax = 10_000
/** Mails and the like that wait at one time; past it new ones are dropped. */
const backgroundMax = 500
/** How long a closing engine waits for them. */
const backgroundEndMs = 20_000
const randomPasswordLength = 30

export class AuthService {
  /** Windows of the settings' rules; forgotten when the settings change. */
  readonly rateLimiter: RateLimiter
  /** Who was sent a verification or reset mail lately. */
  readonly recentMails: ExpiringMap<true>
  /** Names that Apple tells once, by authorization code. */
  readonly appleNames: ExpiringMap<string>
  readonly #host: AuthHost
  readonly #otpAttempts: RateLimiter
  readonly #background = new Set<Promise<void>>()

  constructor(host: AuthHost) {
    this.#host = host
    this.rateLimiter = new RateLimiter(host.clock)
    this.#otpAttempts = new RateLimiter(host.clock)
    this.recentMails = new ExpiringMap(host.clock, { ttlMs: resendPauseMs, sizeMax: rememberedMax })
    this.appleNames = new ExpiringMap(host.clock, { ttlMs: appleNameMs, sizeMax: rememberedMax })
    bindSystemRecords(host)
    host.settingsStore.onChange(() => this.rateLimiter.reset())
    host.onClose(() => this.#endBackground())
  }

  /** The record a token speaks for, or null; see {@link findRecordByToken}. */
  findByToken(token: string, types: readonly TokenType[]): EngineRecord | null {
    const { collections, records, clock } = this.#host
    const lookup = (collectionId: string, recordId: string) => {
      const collection = collections.find(collectionId)
      return collection?.isAuth ? records.findById(collection, recordId) : null
    }
    return findRecordByToken(token, types, lookup, clock.now())
  }

  /** Whether `plain` is the record's password. */
  verifyPassword(record: EngineRecord, plain: string): Promise<boolean> {
    const value = record.get('password')
    return this.#host.passwords.verify(plain, value instanceof PasswordValue ? value.hash : '')
  }

  /** Takes as long as a comparison with a password of this collection: for names that nobody has. */
  async pretendToVerify(collection: Collection): Promise<void> {
    const row = this.#host.data.get<Row>(`SELECT * FROM ${quoteName(collection.name)} LIMIT 1`)
    if (row !== null) await this.verifyPassword(EngineRecord.fromRow(collection, row), '')
  }

  randomPassword(): string {
    return randomSecret(this.#host.rng, randomPasswordLength)
  }

  /** Sets a password that nobody knows; the token key goes with it. Not saved yet. */
  async setRandomPassword(record: EngineRecord, plain = this.randomPassword()): Promise<void> {
    const field = record.collection.field('password')
    const cost = field?.type === 'password' ? field.cost : 0
    const hash = await this.#host.passwords.hash(plain, cost)
    // Given as a hash, so that the field's rules for typed passwords do not apply.
    record.setRaw('password', new PasswordValue(hash))
    this.#host.records.refreshTokenKey(record)
  }

  /** Counts one attempt at a one-time password. @returns false when there were too many. */
  mayTryOtp(record: EngineRecord, ip: string): boolean {
    const isAllowedHere = this.#otpAttempts.isAllowed(`otp ${record.id}`, ip, otpAttemptLimit)
    return isAllowedHere && this.#otpAttempts.isAllowed(`otps ${record.id}`, '', otpAttemptLimitOverall)
  }

  /** A one-time password of the length that a collection asks for. */
  newOtpPassword(collection: Collection): string {
    return randomDigits(this.#host.rng, collection.auth.otp.length)
  }

  /** Stores a one-time password. */
  async createOtp(
    record: EngineRecord,
    password = this.newOtpPassword(record.collection),
  ): Promise<{ readonly otp: EngineRecord; readonly password: string }> {
    const otp = newRecordOf(this.#host, otpsName, record)
    otp.set('password', password)
    await this.#host.records.save(otp)
    return { otp, password }
  }

  /** The newest one-time password when the record has as many as it may have at once, else null. */
  otpToReuse(record: EngineRecord): EngineRecord | null {
    if (this.#host.isDev) return null
    const otps = recordsOf(this.#host, otpsName, record)
    const { duration } = record.collection.auth.otp
    const recent = otps.filter((otp) => !isExpired(this.#host, otp, duration))
    return recent.length > otpsPerRecordMax ? otps[0]! : null
  }

  /** Does the work of {@link createOtp} for an address that nobody has, so that both take the same time. */
  async pretendToCreateOtp(collection: Collection): Promise<void> {
    const field = this.#host.collections.require(otpsName).field('password')
    const cost = field?.type === 'password' ? field.cost : 0
    await this.#host.passwords.hash(this.newOtpPassword(collection), cost)
  }

  findOtp(id: string): EngineRecord | null {
    return this.#host.records.findById(this.#host.collections.require(otpsName), id)
  }

  findMfa(id: string): EngineRecord | null {
    return this.#host.records.findById(this.#host.collections.require(mfasName), id)
  }

  findExternalAuth(collection: Collection, provider: string, providerId: string): EngineRecord | null {
    if (providerId === '') return null // a user without an id is nobody's, whatever the rows say
    const links = this.#host.collections.require(externalAuthsName)
    const row = this.#host.data.get<Row>(
      `SELECT * FROM ${quoteName(externalAuthsName)} WHERE \`collectionRef\` = ? AND \`provider\` = ? AND \`providerId\` = ? LIMIT 1`,
      [collection.id, provider, providerId],
    )
    return row === null ? null : EngineRecord.fromRow(links, row)
  }

  /** The hourly clean-up of one-time passwords and MFA sessions. */
  async deleteExpired(): Promise<void> {
    await deleteExpired(this.#host, otpsName)
    await deleteExpired(this.#host, mfasName)
  }

  /** The limits of a renamed collection follow it. */
  async collectionRenamed(oldName: string, newName: string): Promise<void> {
    const { settingsStore } = this.#host
    const settings = await settingsStore.pending()
    const prefix = `${oldName}:`
    const isOfIt = (label: string) => label.startsWith(prefix)
    if (!settings.rateLimits.rules.some(({ label }) => isOfIt(label))) return
    const rules = settings.rateLimits.rules.map((rule) =>
      isOfIt(rule.label) ? { ...rule, label: `${newName}:${rule.label.slice(prefix.length)}` } : rule,
    )
    await settingsStore.save({ ...settings, rateLimits: { ...settings.rateLimits, rules } })
  }

  /** Goes on with `work` after the caller has answered. Its failure is logged, as `event`. */
  inBackground(event: string, work: () => Promise<void>): void {
    const { log } = this.#host
    if (this.#background.size >= backgroundMax) {
      log.warn(event, { error: new OverloadedError(`${backgroundMax} jobs wait already`) })
      return
    }
    const running = (async () => {
      try {
        await work()
      } catch (error) {
        log.error(event, { error })
      }
    })()
    this.#background.add(running)
    void running.then(() => this.#background.delete(running))
  }

  /** Waits for the work that goes on now; for tests and for closing. */
  async settle(): Promise<void> {
    while (this.#background.size > 0) await Promise.all(this.#background)
  }

  async #endBackground(): Promise<void> {
    if (this.#background.size === 0) return
    await new Promise<void>((resolve) => {
      const cancel = this.#host.clock.setTimer(backgroundEndMs, resolve)
      void this.settle().then(() => {
        cancel()
        resolve()
      })
    })
  }
}
