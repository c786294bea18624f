// Where a provider sends the browser back to. The page that started the flow waits on a realtime connection, whose id is
// the `state`; it gets the code from there and signs in itself. PocketBase: apis/record_auth_with_oauth2_redirect.go.

import { readBody, readTexts } from './auth-forms.ts'
import type { RequestEvent } from './request-event.ts'

const topic = '@oauth2'
/** Relative, so that it works below any prefix. Fixed: nothing in the request chooses where the browser goes. */
const failurePage = '../_/#/auth/oauth2-redirect-failure'
const successPage = '../_/#/auth/oauth2-redirect-success'
const codeLengthMax = 1000
const nameLengthMax = 150

export async function oauth2Redirect(event: RequestEvent): Promise<Response> {
  const isDone = await passOn(event)
  // After a POST the browser must go on with GET.
  const status = event.method === 'GET' ? 307 : 303
  return event.redirect(status, isDone ? successPage : failurePage)
}

async function passOn(event: RequestEvent): Promise<boolean> {
  const data = await readData(event)
  if (data === null || data.state === '') return false
  const client = event.engine.realtime.clientById(data.state)
  if (client === null || !client.hasSubscription(topic)) return false
  try {
    // Somebody else's browser may have been sent here with a code of an attacker's account.
    if (client.realIp !== '' && client.realIp !== event.realIp) return false
    if (data.user !== '' && data.error === '' && data.code !== '') keepAppleName(event, data.code, data.user)
    const { state, code, error } = data
    client.send(topic, JSON.stringify({ state, code, ...(error === '' ? {} : { error }) }))
    return error === '' && code !== ''
  } finally {
    client.unsubscribe(topic)
  }
}

interface RedirectData {
  readonly state: string
  readonly code: string
  readonly error: string
  /** Apple's alone: the user's name, told once. */
  readonly user: string
}

async function readData(event: RequestEvent): Promise<RedirectData | null> {
  if (event.method !== 'POST') {
    const get = (name: string) => event.query.get(name) ?? ''
    return { state: get('state'), code: get('code'), error: get('error'), user: '' }
  }
  try {
    return readTexts(await readBody(event), 'state', 'code', 'error', 'user')
  } catch {
    return null // whatever was posted, it is no answer of a provider
  }
}

function keepAppleName(event: RequestEvent, code: string, user: string): void {
  if (code.length > codeLengthMax) return
  let name: unknown
  try {
    name = (JSON.parse(user) as { readonly name?: unknown } | null)?.name
  } catch {
    return // the name is a convenience; without it the sign-in goes on
  }
  const part = (key: string) => {
    const value = typeof name === 'object' && name !== null ? (name as Record<string, unknown>)[key] : ''
    return typeof value === 'string' ? value : ''
  }
  const fullName = `${part('firstName')} ${part('lastName')}`.slice(0, nameLengthMax).trim()
  if (fullName !== '') event.engine.auth.appleNames.set(code, fullName)
}
