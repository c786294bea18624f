// Bodies of the auth endpoints: which members, of which kind, and the checks that answer with 400.

import { BodyError, UnsupportedTypeError } from '../engine/body/body-error.ts'
import { memberOf } from '../engine/json/member.ts'
import { type Check, checkFields, type FieldChecks } from '../engine/settings/checks.ts'
import { isEmail } from '../engine/settings/formats.ts'
import { badRequest } from './error-map.ts'
import type { RequestEvent } from './request-event.ts'

export const unreadable = 'An error occurred while loading the submitted data.'
const invalid = 'An error occurred while validating the submitted data.'

/**
 * The body as an object; 400 when it cannot be read.
 * @param failure the words for that, whatever the reason; without them a type that nobody reads is named.
 */
export async function readBody(
  event: RequestEvent,
  failure: string | null = null,
): Promise<Readonly<Record<string, unknown>>> {
  try {
    const body = await event.body()
    return isForm(event.request) ? asTyped(body) : body
  } catch (error) {
    if (!(error instanceof BodyError) || error.code !== 'bad_body') throw error
    if (failure === null && error instanceof UnsupportedTypeError) throw error
    throw badRequest(failure ?? unreadable)
  }
}

export function isForm(request: Request): boolean {
  return /^(?:multipart\/form-data|application\/x-www-form-urlencoded)\b/i.test(
    request.headers.get('content-type') ?? '',
  )
}

/** Form values have no kind; what was guessed to be a number or a boolean is the text again that was typed. */
function asTyped(body: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const typed = (value: unknown) => (typeof value === 'number' || typeof value === 'boolean' ? String(value) : value)
  return Object.fromEntries(Object.entries(body).map(([name, value]) => [name, typed(value)]))
}

/** Members that are text, empty where they are missing; 400 when one is anything else. */
export function readTexts<const Name extends string>(
  body: Readonly<Record<string, unknown>>,
  ...names: readonly Name[]
): { readonly [N in Name]: string } {
  const texts: Record<string, string> = {}
  for (const name of names) {
    const value = memberOf(body, name)
    if (value !== undefined && value !== null && typeof value !== 'string') throw badRequest(unreadable)
    texts[name] = value ?? ''
  }
  return texts as { readonly [N in Name]: string }
}

/** A member that is a whole number, as JSON or as a form field; 0 where it is missing. */
export function readInteger(body: Readonly<Record<string, unknown>>, name: string): number {
  const value = memberOf(body, name)
  if (value === undefined || value === null || value === '') return 0
  const number = typeof value === 'string' && /^[+-]?\d{1,15}$/.test(value) ? Number(value) : value
  if (typeof number !== 'number' || !Number.isSafeInteger(number)) throw badRequest(unreadable)
  return number
}

/** Answers 400 with the errors of `fields`, if there are any. */
export function check(fields: Readonly<Record<string, FieldChecks>>, message = invalid): void {
  const errors = checkFields(fields)
  if (errors !== null) throw badRequest(message, errors)
}

export const emailFormat: Check = (value) =>
  typeof value === 'string' && value !== '' && !isEmail(value)
    ? { code: 'validation_is_email', message: 'Must be a valid email address.' }
    : null

/** A check that fails with a fixed error where `isBad` holds; empty values pass. */
export function refuseIf(
  isBad: (text: string) => boolean,
  code: string,
  message: string,
  params?: Readonly<Record<string, unknown>>,
): Check {
  const error = params === undefined ? { code, message } : { code, message, params }
  return (value) => (typeof value === 'string' && value !== '' && isBad(value) ? error : null)
}
