// Goal: what hangs on an auth record lives and dies with what it vouches for; one-time passwords cannot be guessed;
// superusers can be made from outside and never all be lost. Method: a real engine on a fresh directory.

import { expect, test } from 'bun:test'
import { openTestEngine, saveUser, setAuthOptions } from '../../../../test/support/engine.ts'
import { SimClock } from '../../../lib/clock.ts'
import { authOriginsName, externalAuthsName, mfasName, otpsName } from '../collections/collection.ts'
import type { Engine } from '../engine.ts'
import { RefusedError, ValidationFailed } from '../errors.ts'
import type { EngineRecord } from '../records/record.ts'
import { findByEmail, findByIdentity } from './lookup.ts'
import { noteOrigin } from './origins.ts'
import {
  createInstallerPath,
  createSuperuser,
  createSuperuserOtp,
  deleteSuperuser,
  needsInstaller,
  setSuperuserIps,
  updateSuperuser,
  upsertSuperuser,
} from './superusers.ts'
import { deleteRecordsOfCollection, installerEmail, newRecordOf, recordsOf, type SystemName } from './system-records.ts'
import { newAuthToken, newFileToken } from './tokens.ts'

async function link(engine: Engine, name: SystemName, owner: EngineRecord): Promise<EngineRecord> {
  const record = newRecordOf(engine, name, owner)
  const values = {
    password: '123456',
    method: 'password',
    fingerprint: owner.id,
    provider: 'google',
    providerId: owner.id,
  }
  for (const [field, value] of Object.entries(values)) record.set(field, value)
  await engine.records.save(record)
  return record
}

const all = [otpsName, mfasName, authOriginsName, externalAuthsName] as const
const counts = (engine: Engine, owner: EngineRecord) => all.map((name) => recordsOf(engine, name, owner).length)
const load = (engine: Engine, record: EngineRecord) => engine.records.findById(record.collection, record.id)!

test('references must name an auth record that exists', async () => {
  await using opened = await openTestEngine()
  const { engine } = opened
  const user = await saveUser(engine, 'users', { email: 'a@b.c' })
  const cases: [Record<string, string>, string, string][] = [
    [{ collectionRef: '' }, 'collectionRef', 'validation_required'],
    [{ collectionRef: 'users' }, 'collectionRef', 'validation_invalid_collection_id'], // a name is no id
    [{ collectionRef: engine.collections.require(otpsName).id }, 'collectionRef', 'validation_invalid_collection_type'],
    [{ recordRef: '' }, 'recordRef', 'validation_required'],
    [{ recordRef: 'missing' }, 'recordRef', 'validation_invalid_record'],
    [{ provider: 'nope' }, 'provider', 'validation_in_invalid'],
  ]
  for (const [values, field, code] of cases) {
    const record = newRecordOf(engine, externalAuthsName, user)
    for (const [name, value] of Object.entries({ provider: 'google', providerId: '1', ...values }))
      record.set(name, value)
    const error = await engine.records.save(record).then(
      () => null,
      (reason: unknown) => reason,
    )
    expect(error).toBeInstanceOf(ValidationFailed)
    expect((error as ValidationFailed).errors).toMatchObject({ [field]: { code } })
  }
})

test('everything goes with its record, its collection, or what it vouched for', async () => {
  await using opened = await openTestEngine()
  const { engine } = opened
  await setAuthOptions(engine, 'users', {})
  const [ada, bob] = [
    await saveUser(engine, 'users', { email: 'ada@b.c' }),
    await saveUser(engine, 'users', { email: 'bob@b.c' }),
  ]
  for (const user of [ada, bob]) for (const name of all) await link(engine, name, user)

  const renamed = load(engine, ada)
  renamed.set('name', 'Ada')
  await engine.records.save(renamed)
  expect(counts(engine, ada)).toEqual([1, 1, 1, 1])

  const rekeyed = load(engine, ada)
  engine.records.refreshTokenKey(rekeyed)
  await engine.records.save(rekeyed)
  expect(counts(engine, ada)).toEqual([0, 1, 1, 1])

  const changed = load(engine, ada)
  changed.set('password', 'another-password')
  await engine.records.save(changed)
  expect(counts(engine, ada)).toEqual([0, 0, 0, 1])

  const before = load(engine, ada).text('tokenKey')
  const verified = load(engine, ada)
  verified.set('verified', true)
  await engine.records.save(verified)
  expect(counts(engine, ada)).toEqual([0, 0, 0, 0])
  expect(load(engine, ada).text('tokenKey')).not.toBe(before)

  expect(counts(engine, bob)).toEqual([1, 1, 1, 1])
  await engine.records.delete(load(engine, bob))
  expect(engine.data.all('SELECT * FROM `_otps`')).toEqual([])

  for (const name of all) await link(engine, name, ada)
  await engine.transaction(() => deleteRecordsOfCollection(engine, ada.collection))
  expect(counts(engine, ada)).toEqual([0, 0, 0, 0])
})

test('one-time passwords: tries are counted over addresses too, and old ones go', async () => {
  const clock = new SimClock()
  await using opened = await openTestEngine({ clock })
  const { engine } = opened
  const user = await saveUser(engine, 'users', { email: 'a@b.c' })
  const tries = (ip: string, times: number) =>
    Array.from({ length: times }, () => engine.auth.mayTryOtp(user, ip)).filter(Boolean).length
  expect([tries('1.1.1.1', 10), tries('2.2.2.2', 10)]).toEqual([5, 5])
  let total = 10
  for (let i = 0; i < 100; i++) total += tries(`3.3.3.${i}`, 5)
  expect(total).toBe(50)
  await clock.advance(180_000)
  expect(tries('1.1.1.1', 1)).toBe(1)

  const { otp, password } = await engine.auth.createOtp(user)
  expect(password).toMatch(/^\d{8}$/)
  expect(JSON.stringify(otp)).not.toContain(password)
  expect(await engine.auth.verifyPassword(engine.auth.findOtp(otp.id)!, password)).toBe(true)
  for (let i = 0; i < 8; i++) await engine.auth.createOtp(user)
  expect(engine.auth.otpToReuse(user)).toBeNull()
  const { otp: tenth } = await engine.auth.createOtp(user)
  expect(engine.auth.otpToReuse(user)?.id).toBe(tenth.id)
  await clock.advance(181_000)
  expect(engine.auth.otpToReuse(user)).toBeNull()
  await engine.auth.deleteExpired()
  expect(engine.auth.findOtp(otp.id)).toBeNull()
})

test('tokens find their record for their purpose only, until its key changes', async () => {
  await using opened = await openTestEngine()
  await using other = await openTestEngine()
  const { engine } = opened
  const user = await saveUser(engine, 'users', { id: 'samesamesamesam', email: 'a@b.c' })
  const twin = await saveUser(other.engine, 'users', { id: 'samesamesamesam', email: 'a@b.c' })
  const token = newAuthToken(user, engine.clock.now())
  expect(engine.auth.findByToken(token, ['auth'])?.id).toBe(user.id)
  expect(engine.auth.findByToken(token, ['file'])).toBeNull()
  expect(engine.auth.findByToken(newFileToken(user, engine.clock.now()), ['auth'])).toBeNull()
  expect(engine.auth.findByToken(newAuthToken(twin, engine.clock.now()), ['auth'])).toBeNull()
  const changed = load(engine, user)
  changed.set('email', 'new@b.c')
  await engine.records.save(changed)
  expect(engine.auth.findByToken(token, ['auth'])).toBeNull()
})

test('identities: only unique fields, case as the index says', async () => {
  await using opened = await openTestEngine()
  const { engine } = opened
  await saveUser(engine, 'users', { email: 'Ada@b.c', name: 'Ada' })
  const users = engine.collections.require('users')
  expect(findByEmail(engine, users, 'Ada@b.c')?.text('name')).toBe('Ada')
  expect(findByEmail(engine, users, 'ada@b.c')).toBeNull()
  await setAuthOptions(engine, 'users', {
    passwordAuth: { enabled: true, identityFields: ['email', 'name', 'missing'] },
  })
  const again = engine.collections.require('users')
  expect(findByIdentity(engine, again, 'email', 'Ada@b.c')?.text('name')).toBe('Ada')
  for (const field of ['name', 'missing', 'password', 'id'])
    expect(findByIdentity(engine, again, field, 'Ada')).toBeNull()
  const indexes = again.data.indexes.map((text) => text.replace(/\(`email`\)/, '(`email` COLLATE NOCASE)'))
  expect(indexes).not.toEqual(again.data.indexes)
  await engine.collections.save({ ...again.data, indexes })
  expect(findByEmail(engine, engine.collections.require('users'), 'ADA@B.C')?.text('name')).toBe('Ada')
})

test('places of sign-in: the five latest, each once', async () => {
  await using opened = await openTestEngine()
  const { engine } = opened
  const user = await saveUser(engine, 'users', { email: 'a@b.c' })
  for (let i = 0; i < 8; i++) {
    await noteOrigin(engine, user, { ip: `1.1.1.${i}`, userAgent: 'x' })
    await noteOrigin(engine, user, { ip: `1.1.1.${i}`, userAgent: 'x' })
  }
  const prints = recordsOf(engine, authOriginsName, user).map((origin) => origin.text('fingerprint'))
  expect(prints).toHaveLength(5)
  expect(prints).toContain(new Bun.CryptoHasher('md5').update('1.1.1.7x').digest('hex'))
})

test('superusers from outside', async () => {
  await using opened = await openTestEngine()
  const { engine } = opened
  await setAuthOptions(engine, '_superusers', {})
  expect(needsInstaller(engine)).toBe(true)
  const path = await createInstallerPath(engine)
  const installer = engine.auth.findByToken(path!.replace('/_/#/pbinstall/', ''), ['auth'])!
  expect(installer.text('email')).toBe(installerEmail)
  expect(needsInstaller(engine)).toBe(true)

  await createSuperuser(engine, 'root@b.c', 'password123')
  expect(engine.records.findById(installer.collection, installer.id)).toBeNull() // its work is done
  expect([needsInstaller(engine), await createInstallerPath(engine)]).toEqual([false, null])
  const find = () => findByEmail(engine, engine.collections.require('_superusers'), 'root@b.c')!
  expect(find().bool('verified')).toBe(true)

  await updateSuperuser(engine, 'root@b.c', 'password456')
  expect(await engine.auth.verifyPassword(find(), 'password456')).toBe(true)
  await upsertSuperuser(engine, 'root@b.c', 'password789')
  await upsertSuperuser(engine, 'two@b.c', 'password789')
  expect(await engine.auth.verifyPassword(find(), 'password789')).toBe(true)
  await expect(createSuperuser(engine, 'root@b.c', 'password123')).rejects.toBeInstanceOf(ValidationFailed)
  await expect(createSuperuser(engine, 'three@b.c', 'short')).rejects.toBeInstanceOf(ValidationFailed)
  for (const email of ['', 'nope'])
    await expect(createSuperuser(engine, email, 'password123')).rejects.toBeInstanceOf(RefusedError)
  for (const email of ['missing@b.c', ''])
    await expect(updateSuperuser(engine, email, 'password123')).rejects.toBeInstanceOf(RefusedError)

  await expect(createSuperuserOtp(engine, 'root@b.c')).rejects.toBeInstanceOf(RefusedError)
  await setAuthOptions(engine, '_superusers', { otp: { ...find().collection.auth.otp, enabled: true, duration: 60 } })
  const { otpId, password, validS } = await createSuperuserOtp(engine, 'root@b.c')
  expect([await engine.auth.verifyPassword(engine.auth.findOtp(otpId)!, password), validS]).toEqual([true, 60])

  await setSuperuserIps(engine, ['127.0.0.1', '10.0.0.0/8'])
  expect(engine.settings.superuserIPs).toEqual(['127.0.0.1', '10.0.0.0/8'])
  await expect(setSuperuserIps(engine, ['x'])).rejects.toBeInstanceOf(ValidationFailed)
  await setSuperuserIps(engine, [])

  expect(await deleteSuperuser(engine, 'missing@b.c')).toBe(false)
  expect(await deleteSuperuser(engine, 'two@b.c')).toBe(true)
  await expect(deleteSuperuser(engine, 'root@b.c')).rejects.toBeInstanceOf(RefusedError)
})

test('limits follow a renamed collection', async () => {
  await using opened = await openTestEngine()
  const { engine } = opened
  const rule = { audience: '', duration: 1, maxRequests: 1 }
  const rules = ['users:create', 'users2:create', '*:create'].map((label) => ({ ...rule, label }))
  await engine.settingsStore.save({ ...engine.settings, rateLimits: { rules, excludedIPs: [], enabled: true } })
  await engine.transaction(async () => {
    await engine.auth.collectionRenamed('users', 'people')
    await engine.auth.collectionRenamed('people', 'persons') // sees what the first one did
    await engine.auth.collectionRenamed('persons', 'people')
  })
  expect(engine.settings.rateLimits.rules.map(({ label }) => label)).toEqual([
    'people:create',
    'users2:create',
    '*:create',
  ])
})

test('no option lets strangers become superusers, or locks superusers out', async () => {
  await using opened = await openTestEngine()
  const { engine } = opened
  const { auth } = engine.collections.require('_superusers')
  const provider = {
    ...{ pkce: null, name: 'google', clientId: 'a', clientSecret: 'b', authURL: '', tokenURL: '' },
    ...{ userInfoURL: '', displayName: '', extra: null },
  }
  await setAuthOptions(engine, '_superusers', {
    oauth2: { ...auth.oauth2, enabled: true, providers: [provider] },
    passwordAuth: { ...auth.passwordAuth, enabled: false },
    otp: { ...auth.otp, enabled: true },
  })
  const kept = engine.collections.require('_superusers').auth
  expect(kept.oauth2).toMatchObject({ enabled: false, providers: [] })
  expect([kept.passwordAuth.enabled, kept.mfa.enabled, kept.otp.enabled]).toEqual([true, true, true])
})

test('work after the answer is finished before the engine closes', async () => {
  const opened = await openTestEngine()
  let isDone = false
  opened.engine.auth.inBackground('failed', async () => {
    await Bun.sleep(20)
    isDone = true
  })
  opened.engine.auth.inBackground('failed', async () => {
    throw new Error('is logged')
  })
  await opened[Symbol.asyncDispose]()
  expect(isDone).toBe(true)
})
