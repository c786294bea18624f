// Signing in with a password, and the requests that need no other flow: methods, refresh, impersonation.

import { findByIdentity } from '../engine/auth/lookup.ts'
import { authMethodsOf } from '../engine/auth/methods.ts'
import { newAuthToken, newStaticAuthToken, unverifiedClaims } from '../engine/auth/tokens.ts'
import type { Collection } from '../engine/collections/collection.ts'
import type { EngineRecord } from '../engine/records/record.ts'
import { atLeast, lengthBetween, oneOf, required } from '../engine/settings/checks.ts'
import { isEmail } from '../engine/settings/formats.ts'
import { check, readBody, readInteger, readTexts, unreadable } from './auth-forms.ts'
import { authCollectionOf, tokenOf } from './auth-guards.ts'
import { answerSignIn, answerWithToken } from './auth-response.ts'
import { badRequest, forbidden, notFound } from './error-map.ts'
import { hooked } from './hooked.ts'
import type { RequestEvent } from './request-event.ts'

export function listAuthMethods(event: RequestEvent): Response | Promise<Response> {
  return event.json(200, authMethodsOf(authCollectionOf(event), event.engine.rng))
}

export async function authRefresh(event: RequestEvent): Promise<Response> {
  const record = event.auth
  if (record === null) throw notFound('Missing auth record context.')
  const sent = tokenOf(event.request)
  // A static token stays what it is: it was given for a time, and that time must end.
  const isRefreshable = unverifiedClaims(sent)['refreshable'] === true
  const facts = { requestEvent: event, collection: record.collection, record }
  return hooked(event.engine.chains.onRecordAuthRefreshRequest, facts, (e) => {
    const token = isRefreshable ? newAuthToken(e.record, event.engine.clock.now()) : sent
    return answerWithToken(event, e.record, token, null)
  })
}

export async function authWithPassword(event: RequestEvent): Promise<Response> {
  const { engine } = event
  const collection = authCollectionOf(event)
  const { passwordAuth } = collection.auth
  if (!passwordAuth.enabled) throw forbidden('The collection is not configured to allow password authentication.')
  const form = readTexts(await readBody(event), 'identity', 'password', 'identityField')
  check({
    identity: [form.identity, required, lengthBetween(1, 255)],
    password: [form.password, required, lengthBetween(1, 255)],
    identityField: [form.identityField, lengthBetween(1, 255), oneOf(passwordAuth.identityFields)],
  })
  event.context = 'password'
  const { identity, identityField, password } = form
  const record = findIdentity(event, collection, identityField, identity)
  const facts = { requestEvent: event, collection, record, identity, identityField, password }
  return hooked(engine.chains.onRecordAuthWithPasswordRequest, facts, async (e) => {
    if (e.record === null) {
      await engine.auth.pretendToVerify(collection) // or the time would tell which names exist
      throw badRequest('Failed to authenticate.')
    }
    if (!(await engine.auth.verifyPassword(e.record, e.password))) throw badRequest('Failed to authenticate.')
    return answerSignIn(event, e.record, 'password')
  })
}

function findIdentity(
  event: RequestEvent,
  collection: Collection,
  field: string,
  identity: string,
): EngineRecord | null {
  if (field !== '') return findByIdentity(event.engine, collection, field, identity)
  const { identityFields } = collection.auth.passwordAuth
  // An address first: it is what most people type, and what it meant before there were other fields.
  const ordered = [...identityFields].sort((a, b) => Number(b === 'email') - Number(a === 'email'))
  for (const name of ordered) {
    if (name === 'email' && !isEmail(identity)) continue
    const record = findByIdentity(event.engine, collection, name, identity)
    if (record !== null) return record
  }
  return null
}

export async function impersonate(event: RequestEvent): Promise<Response> {
  const { engine } = event
  const collection = authCollectionOf(event)
  const record = engine.records.findById(collection, event.param('id'))
  if (record === null) throw notFound()
  const duration = readInteger(await readBody(event, unreadable), 'duration')
  check({ duration: [duration, atLeast(0)] })
  return answerWithToken(event, record, newStaticAuthToken(record, duration, engine.clock.now()), null)
}
