// Who is asking, and may they ask at all: the token of a request, limits, and the conditions that endpoints share.

import type { Collection } from '../engine/collections/collection.ts'
import {
  collectionAllowance,
  exceededCollectionLimit,
  exceededPathLimit,
  isSuperuserIpAllowed,
  type LimitedRequest,
} from '../engine/rate-limit/check.ts'
import type { EngineRecord } from '../engine/records/record.ts'
import { forbidden, notFound, tooManyRequests, unauthorized } from './error-map.ts'
import type { RequestEvent } from './request-event.ts'

/** The token as it was sent; the scheme before it is optional and written in any case. Empty when there is none. */
export function tokenOf(request: Request): string {
  const header = request.headers.get('authorization') ?? ''
  return header.length > 7 && header.slice(0, 7).toLowerCase() === 'bearer ' ? header.slice(7) : header
}

/** The record a request speaks for. An invalid token makes a guest, never an error. */
export function loadAuth(event: RequestEvent): EngineRecord | null {
  const token = tokenOf(event.request)
  return token === '' ? null : event.engine.auth.findByToken(token, ['auth'])
}

/** Answers 403 to superusers from an address that is not listed. */
export function checkSuperuserIp(event: RequestEvent): void {
  if (event.auth?.collection.isSuperusers && !isSuperuserIpAllowed(event.engine.settings, event.realIp))
    throw forbidden()
}

/** Answers 429 when the limit of the request's path is used up. */
export function checkPathLimit(event: RequestEvent): void {
  const { engine } = event
  if (!engine.settings.rateLimits.enabled) return
  if (exceededPathLimit(engine.settings, engine.auth.rateLimiter, limitedRequest(event)) !== null)
    throw tooManyRequests()
}

/**
 * Answers 429 when the limit of what is done to a collection is used up.
 *
 * @param tags names of the action, the special one first.
 */
export function checkCollectionLimit(event: RequestEvent, collection: Collection, ...tags: readonly string[]): void {
  const { engine } = event
  if (!engine.settings.rateLimits.enabled) return
  const action = { collection, tags, pattern: `${event.method} ` }
  if (exceededCollectionLimit(engine.settings, engine.auth.rateLimiter, limitedRequest(event), action) !== null)
    throw tooManyRequests()
}

/** How many more requests like this one {@link checkCollectionLimit} lets through now. */
export function allowanceOf(event: RequestEvent, collection: Collection, ...tags: readonly string[]): number {
  const { engine } = event
  if (!engine.settings.rateLimits.enabled) return Infinity
  const action = { collection, tags, pattern: `${event.method} ` }
  return collectionAllowance(engine.settings, engine.auth.rateLimiter, limitedRequest(event), action)
}

function limitedRequest(event: RequestEvent): LimitedRequest {
  return {
    method: event.method,
    path: event.path,
    realIp: event.realIp,
    isSignedIn: event.auth !== null,
    isSuperuser: event.auth?.collection.isSuperusers ?? false,
  }
}

/** The auth collection that the path names; 404 when there is none. */
export function authCollectionOf(event: RequestEvent): Collection {
  const collection = event.engine.collections.find(event.param('collection'))
  if (!collection?.isAuth) throw notFound('Missing or invalid auth collection context.')
  return collection
}

/** Answers 401 to guests and 403 to everybody but superusers. */
export function requireSuperuser(event: RequestEvent): EngineRecord {
  if (event.auth === null) throw unauthorized('The request requires valid record authorization token.')
  if (!event.auth.collection.isSuperusers)
    throw forbidden('The authorized record is not allowed to perform this action.')
  return event.auth
}

/** Answers 401 to guests and 403 to records of another collection than the path names. */
export function requireSameCollection(event: RequestEvent): void {
  if (event.auth === null) throw unauthorized('The request requires valid record authorization token.')
  const collection = event.engine.collections.find(event.param('collection'))
  if (collection?.id !== event.auth.collection.id)
    throw forbidden(`The request requires auth record from ${event.auth.collection.name} collection.`)
}
