// Signing in, refreshing, and what people may change of themselves and managers of others.

import type { Generator } from '../generator.ts'
import { password, type RequestPlan, usersCount } from '../plans.ts'
import { removableId } from './records.ts'

const people = '/api/collections/people'

export function askAuth(generator: Generator): RequestPlan {
  const caller = generator.caller()
  const at = generator.rng.below(usersCount + 3)
  const post = (path: string, body: Record<string, unknown>): RequestPlan => ({
    method: 'POST',
    path: people + path,
    body,
    caller,
  })
  switch (generator.rng.below(11)) {
    case 0:
    case 1: {
      const identity = generator.pick([`user${at}@example.com`, `USER${at}@example.com`, 'nobody@example.com', ''])
      const body = { identity, password: generator.pick([password, password, 'wrong', '']) }
      return post(
        `/auth-with-password${generator.pick(['', '?expand=nope', '?fields=token', '?fields=record.id,record.email'])}`,
        body,
      )
    }
    case 2:
      return post('/auth-refresh', {})
    case 3:
      return { method: 'GET', path: `${people}/auth-methods`, body: null, caller }
    case 4:
      return post(`/impersonate/${removableId(generator, generator.collections[0]!)}`, {
        duration: generator.pick([0, 60, -1]),
      })
    case 5:
      return post(generator.pick(['/request-verification', '/request-password-reset']), {
        // Nobody there: no mail, no log of one.
        email: generator.pick(['nobody@example.com', 'bad', '']),
      })
    case 6:
      return post(
        generator.pick([
          '/confirm-verification',
          '/confirm-password-reset',
          '/confirm-email-change',
          '/auth-with-otp',
          '/auth-with-oauth2',
        ]),
        {
          token: generator.pick(['', 'x', 'a.b.c']),
          password: generator.pick(['', 'new-password']),
          passwordConfirm: generator.pick(['', 'new-password']),
        },
      )
    case 7:
      return post('/request-email-change', { newEmail: generator.pick(['', 'bad', 'user1@example.com']) })
    default:
      return changePerson(generator)
  }
}

/** Not of those that requests speak for: a new password would end their tokens. */
function changePerson(generator: Generator): RequestPlan {
  const id = removableId(generator, generator.collections[0]!)
  const fresh = generator.pick([password, 'another-password', 'short', ''])
  const body: Record<string, unknown> = {}
  if (generator.chance(60))
    Object.assign(body, { password: fresh, passwordConfirm: generator.pick([fresh, fresh, 'other']) })
  if (generator.chance(30)) body['oldPassword'] = generator.pick([password, 'wrong'])
  if (generator.chance(30)) body['email'] = generator.pick([`${id}@example.com`, 'user1@example.com', 'bad', ''])
  if (generator.chance(30)) body['verified'] = generator.chance(50)
  if (generator.chance(30)) body['emailVisibility'] = generator.chance(50)
  if (generator.chance(10)) body['tokenKey'] = 'k'.repeat(40)
  if (generator.chance(30)) body['title'] = 'changed'
  return { method: 'PATCH', path: `${people}/records/${id}`, body, caller: generator.caller() }
}
