// Signing in with an account of somebody else. PocketBase: apis/record_auth_with_oauth2.go.

import { findByEmail, isTaken } from '../engine/auth/lookup.ts'
import { findOAuth2Provider } from '../engine/auth/oauth2/catalog.ts'
import { type ExchangeDeps, fetchToken, fetchUser, type OAuth2User } from '../engine/auth/oauth2/exchange.ts'
import { configureProvider } from '../engine/auth/oauth2/provider.ts'
import { withHashes } from '../engine/auth/password.ts'
import { deleteRecordsOf, newRecordOf } from '../engine/auth/system-records.ts'
import { type Collection, externalAuthsName } from '../engine/collections/collection.ts'
import { formatDateTime } from '../engine/fields/datetime.ts'
import { hasForm } from '../engine/fields/pattern.ts'
import { memberOf } from '../engine/json/member.ts'
import type { EngineRecord } from '../engine/records/record.ts'
import { required } from '../engine/settings/checks.ts'
import { createForSignIn, passwordFor } from './auth-access.ts'
import { downloadAvatar } from './auth-avatar.ts'
import { check, readBody, readTexts, refuseIf, unreadable } from './auth-forms.ts'
import { authCollectionOf } from './auth-guards.ts'
import { answerSignIn } from './auth-response.ts'
import { ApiError, badRequest, forbidden, toApiError } from './error-map.ts'
import { hooked } from './hooked.ts'
import type { RequestEvent } from './request-event.ts'

/** For all requests to the provider together. */
const exchangeMs = 30_000

interface SignIn {
  readonly event: RequestEvent
  readonly collection: Collection
  readonly provider: string
  readonly user: OAuth2User
  readonly createData: Readonly<Record<string, unknown>>
  /** Whom a handler wants to be signed in. */
  readonly chosen?: EngineRecord
}

export async function authWithOAuth2(event: RequestEvent): Promise<Response> {
  const collection = authCollectionOf(event)
  const { oauth2 } = collection.auth
  if (!oauth2.enabled) throw forbidden('The collection is not configured to allow OAuth2 authentication.')
  event.context = 'oauth2'
  const body = await readBody(event)
  const form = readTexts(body, 'provider', 'code', 'codeVerifier', 'redirectURL', 'redirectUrl')
  const createData = objectOf(memberOf(body, 'createData'))
  const config = oauth2.providers.find(({ name }) => name === form.provider)
  const message = `Provider with name ${form.provider} is missing or is not enabled.`
  check(
    {
      provider: [
        form.provider,
        required,
        refuseIf(() => config === undefined, 'validation_invalid_provider', message, { name: form.provider }),
      ],
      code: [form.code, required],
    },
    'An error occurred while loading the submitted data.',
  )
  const definition = findOAuth2Provider(form.provider)
  if (config === undefined) throw badRequest(message)
  if (definition === undefined) throw new ApiError(500, `Failed to init provider ${form.provider}.`)
  const providerClient = configureProvider(definition, config)
  const user = await identify(event, providerClient, {
    code: form.code,
    codeVerifier: form.codeVerifier,
    redirectURL: form.redirectURL || form.redirectUrl, // the second spelling is of clients before v0.23
  })
  const signIn: SignIn = { event, collection, provider: form.provider, user, createData }
  const { engine } = event
  if (engine.chains.onRecordAuthWithOAuth2Request.isEmpty) return completeSignIn(signIn)
  const found = findRecord(signIn, engine.auth.findExternalAuth(collection, form.provider, user.id))
  const facts = {
    requestEvent: event,
    collection,
    providerName: form.provider,
    providerClient,
    record: found,
    oAuth2User: user,
    createData: signIn.createData,
    isNewRecord: found === null,
  }
  return hooked(engine.chains.onRecordAuthWithOAuth2Request, facts, (e) => {
    const next = { ...signIn, user: e.oAuth2User, createData: e.createData }
    return completeSignIn(e.record === found || e.record === null ? next : { ...next, chosen: e.record })
  })
}

async function completeSignIn(signIn: SignIn): Promise<Response> {
  const { record, isNew } = await findOrCreate(signIn)
  return answerSignIn(signIn.event, record, 'oauth2', metaOf(signIn.user, isNew))
}

async function identify(
  event: RequestEvent,
  provider: ReturnType<typeof configureProvider>,
  request: { readonly code: string; readonly codeVerifier: string; readonly redirectURL: string },
): Promise<OAuth2User> {
  const { engine } = event
  const abort = new AbortController()
  const cancelDeadline = engine.clock.setTimer(exchangeMs, () => abort.abort(new Error('the provider took too long')))
  const deps: ExchangeDeps = {
    signal: AbortSignal.any([abort.signal, event.request.signal]),
    nowMs: engine.clock.now(),
    mayReachPrivate: engine.mayReachPrivate,
  }
  try {
    const token = await refuseWith(event, 'Failed to fetch OAuth2 token.', () => fetchToken(provider, request, deps))
    const user = await refuseWith(event, 'Failed to fetch OAuth2 user.', () => fetchUser(provider, token, deps))
    if (provider.name !== 'apple' || user.name !== '') return user
    const name = engine.auth.appleNames.get(request.code) ?? ''
    engine.auth.appleNames.delete(request.code)
    return { ...user, name }
  } finally {
    cancelDeadline()
  }
}

/** What a provider says goes to the log; clients learn which step failed. */
async function refuseWith<T>(event: RequestEvent, message: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    event.engine.log.warn('OAuth2 exchange failed', { error })
    throw badRequest(message)
  }
}

const signInFailed = 'Failed to authenticate.'

async function findOrCreate(signIn: SignIn): Promise<{ readonly record: EngineRecord; readonly isNew: boolean }> {
  const { event, collection, provider, user } = signIn
  const { engine } = event
  const avatar = await avatarOf(signIn)
  const password = passwordFor(event, collection)
  const find = () => {
    const link = engine.auth.findExternalAuth(collection, provider, user.id)
    return { link, found: findRecord(signIn, link) }
  }
  try {
    return await withHashes(engine.passwords, passwordsFor(signIn, find().found, password), () =>
      engine.transaction(async () => {
        // Looked up inside: two first sign-ins at the same time must not make two accounts.
        const { link, found } = find()
        const record = found ?? (await createRecord(signIn, avatar, password))
        const isLinkGone = found !== null && (await secure(signIn, found, password))
        if (link === null || isLinkGone) {
          const created = newRecordOf(engine, externalAuthsName, record)
          created.set('provider', provider)
          created.set('providerId', user.id)
          await engine.records.save(created)
        }
        return { record, isNew: found === null }
      }),
    )
  } catch (error) {
    if (error instanceof ApiError) throw error
    engine.log.warn('OAuth2 sign-in failed', { collection: collection.name, provider, error })
    throw toApiError(error, signInFailed) ?? badRequest(signInFailed)
  }
}

/** What will have to be hashed, as far as that can be told beforehand. */
function passwordsFor(signIn: SignIn, found: EngineRecord | null, random: string) {
  const field = signIn.collection.field('password')
  const cost = field?.type === 'password' ? field.cost : 0
  if (found !== null) return losesPassword(signIn, found) ? [{ plain: random, cost }] : []
  const given = signIn.createData['password']
  return [{ plain: typeof given === 'string' ? given : random, cost }]
}

/** Whether somebody else may have made the record, and set its password. */
function losesPassword({ event: { auth } }: SignIn, record: EngineRecord): boolean {
  const isOwnRequest = auth !== null && auth.id === record.id && auth.collection.id === record.collection.id
  return !isOwnRequest && !record.bool('verified')
}

/** By link, else the record that is signed in already, else by an address that the provider has verified. */
function findRecord({ event, collection, user, chosen }: SignIn, link: EngineRecord | null): EngineRecord | null {
  if (chosen !== undefined) return chosen
  const { engine, auth } = event
  if (link !== null) {
    const linked = engine.records.findById(collection, link.text('recordRef'))
    if (linked === null) throw badRequest('Failed to authenticate.')
    return linked
  }
  if (auth !== null && auth.collection.id === collection.id) return engine.records.findById(collection, auth.id)
  return user.email === '' ? null : findByEmail(engine, collection, user.email)
}

/**
 * An unverified record may have been made by somebody who only guessed that its owner would come: their password and
 * their links go.
 *
 * @returns whether links were removed.
 */
async function secure(signIn: SignIn, record: EngineRecord, password: string): Promise<boolean> {
  const { event, user } = signIn
  const { engine } = event
  const wasVerified = record.bool('verified')
  let isChanged = false
  if (losesPassword(signIn, record)) {
    await engine.auth.setRandomPassword(record, password)
    isChanged = true
  }
  if (!wasVerified) await deleteRecordsOf(engine, externalAuthsName, record)
  if (record.text('email') === '' && user.email !== '') {
    record.set('email', user.email)
    isChanged = true
  }
  if (!wasVerified && (record.text('email') === '' || record.text('email') === user.email)) {
    record.set('verified', true)
    isChanged = true
  }
  if (isChanged) await engine.records.save(record)
  return !wasVerified
}

async function createRecord(signIn: SignIn, avatar: unknown, password: string): Promise<EngineRecord> {
  const { event, collection, user, createData } = signIn
  // Nobody becomes a superuser by knowing one's way around a provider.
  if (collection.isSuperusers) throw badRequest('Failed to authenticate.')
  const { mappedFields } = collection.auth.oauth2
  const data: Record<string, unknown> = { ...createData }
  const fill = (name: string, value: unknown) => {
    if (name !== '' && !Object.hasOwn(data, name)) data[name] = value
  }
  if (typeof data['email'] !== 'string' || data['email'] === '') data['email'] = user.email
  fill(mappedFields.id, user.id)
  fill(mappedFields.name, user.name)
  if (isUsableName(signIn)) fill(mappedFields.username, user.username)
  if (avatar !== null) fill(mappedFields.avatarURL, avatar)
  const record = await createForSignIn(event, collection, data, password)
  if (record.text('email') === user.email && !record.bool('verified')) {
    record.set('verified', true)
    await event.engine.records.save(record)
  }
  return record
}

/** A name that is taken, or that the field refuses, is left out: the sign-in matters more. */
function isUsableName({ event, collection, user }: SignIn): boolean {
  const field = collection.field(collection.auth.oauth2.mappedFields.username)
  if (field === undefined) return false
  if (field.type === 'text' && !fits(field, user.username)) return false
  return !isTaken(event.engine, collection, field.name, user.username)
}

function fits(field: { readonly min: number; readonly max: number; readonly pattern: string }, text: string): boolean {
  const length = [...text].length
  const max = field.max || 5000
  if (length < field.min || length > max) return false
  return hasForm(field.pattern, text)
}

/** Fetched before the transaction: the writer must not wait for a picture. Null where there is none. */
async function avatarOf(signIn: SignIn): Promise<unknown> {
  const { event, collection, user, createData } = signIn
  const { avatarURL: name } = collection.auth.oauth2.mappedFields
  if (name === '' || user.avatarURL === '' || Object.hasOwn(createData, name)) return null
  if (collection.field(name)?.type !== 'file') return user.avatarURL
  return downloadAvatar(event, user.avatarURL)
}

function metaOf(user: OAuth2User, isNew: boolean): Readonly<Record<string, unknown>> {
  return {
    accessToken: user.accessToken,
    avatarURL: user.avatarURL,
    avatarUrl: user.avatarURL, // for clients before v0.23
    email: user.email,
    expiry: user.expiresAtMs === null ? '' : formatDateTime(user.expiresAtMs),
    id: user.id,
    isNew,
    name: user.name,
    rawUser: sortKeys(user.rawUser, 0),
    refreshToken: user.refreshToken,
    username: user.username,
  }
}

/** Levels of an answer that are put in order; deeper ones are nobody's profile. */
const sortDepthMax = 50

function sortKeys(value: unknown, depth: number): unknown {
  if (typeof value !== 'object' || value === null || depth > sortDepthMax) return value
  if (Array.isArray(value)) return value.map((each) => sortKeys(each, depth + 1))
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return Object.fromEntries(entries.map(([key, each]) => [key, sortKeys(each, depth + 1)]))
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> {
  if (value === undefined || value === null) return {}
  if (typeof value !== 'object' || Array.isArray(value)) throw badRequest(unreadable)
  return value as Readonly<Record<string, unknown>>
}
