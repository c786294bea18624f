// The auth endpoints as a table: method, path, limit, condition, handler.

import { confirmEmailChange, requestEmailChange } from './auth-email-change.ts'
import { checkCollectionLimit, requireSameCollection, requireSuperuser } from './auth-guards.ts'
import { authWithOAuth2 } from './auth-oauth2.ts'
import { oauth2Redirect } from './auth-oauth2-redirect.ts'
import { authWithOtp, requestOtp } from './auth-otp.ts'
import { authRefresh, authWithPassword, impersonate, listAuthMethods } from './auth-password.ts'
import { confirmPasswordReset, requestPasswordReset } from './auth-password-reset.ts'
import { confirmVerification, requestVerification } from './auth-verification.ts'
import { notFound } from './error-map.ts'
import type { RequestEvent } from './request-event.ts'
import type { Handler, Route } from './router.ts'

/** Limits by tags, then a condition, then the handler. */
function route(
  method: 'GET' | 'POST',
  action: string,
  tags: readonly string[],
  handle: Handler,
  guard?: (event: RequestEvent) => void,
): Route {
  return {
    method,
    path: `/api/collections/:collection/${action}`,
    limit: tags.length === 0 ? 'path' : 'own',
    handle: (event) => {
      if (tags.length > 0) {
        const collection = event.engine.collections.find(event.param('collection'))
        if (collection === undefined) throw notFound('Missing or invalid collection context.')
        checkCollectionLimit(event, collection, ...tags)
      }
      guard?.(event)
      return handle(event)
    },
  }
}

export const authRoutes: readonly Route[] = [
  { method: 'GET', path: '/api/oauth2-redirect', isSecretPath: true, limit: 'path', handle: oauth2Redirect },
  { method: 'POST', path: '/api/oauth2-redirect', isSecretPath: true, limit: 'path', handle: oauth2Redirect }, // Apple's way
  route('GET', 'auth-methods', ['listAuthMethods'], listAuthMethods),
  route('POST', 'auth-refresh', ['authRefresh'], authRefresh, requireSameCollection),
  route('POST', 'auth-with-password', ['authWithPassword', 'auth'], authWithPassword),
  route('POST', 'auth-with-oauth2', ['authWithOAuth2', 'auth'], authWithOAuth2),
  route('POST', 'request-otp', ['requestOTP'], requestOtp),
  route('POST', 'auth-with-otp', ['authWithOTP', 'auth'], authWithOtp),
  route('POST', 'request-password-reset', ['requestPasswordReset'], requestPasswordReset),
  route('POST', 'confirm-password-reset', ['confirmPasswordReset'], confirmPasswordReset),
  route('POST', 'request-verification', ['requestVerification'], requestVerification),
  route('POST', 'confirm-verification', ['confirmVerification'], confirmVerification),
  route('POST', 'request-email-change', ['requestEmailChange'], requestEmailChange, requireSameCollection),
  route('POST', 'confirm-email-change', ['confirmEmailChange'], confirmEmailChange),
  route('POST', 'impersonate/:id', [], impersonate, requireSuperuser),
]
