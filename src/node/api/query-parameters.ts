// Parameters of a query string as Go's strconv reads them; 400 for what it does not.

import { badRequest } from './error-map.ts'
import type { RequestEvent } from './request-event.ts'

const falseWords: readonly string[] = ['', '0', 'f', 'F', 'false', 'FALSE', 'False']
const trueWords: readonly string[] = ['1', 't', 'T', 'true', 'TRUE', 'True']
/** What 64 bits with a sign hold. */
const integerMax = 2n ** 63n - 1n

/** False when there is none. */
export function booleanParameter(event: RequestEvent, name: string): boolean {
  const text = event.query.get(name) ?? ''
  if (falseWords.includes(text)) return false
  if (trueWords.includes(text)) return true
  throw badRequest()
}

/** 0 when there is none; numbers that JavaScript cannot count become the nearest that it can. */
export function integerParameter(event: RequestEvent, name: string): number {
  const text = event.query.get(name) ?? ''
  if (text === '') return 0
  if (!/^[+-]?\d{1,19}$/.test(text) || BigInt(text.replace(/^[+-]/, '')) > integerMax) throw badRequest()
  return Math.max(-Number.MAX_SAFE_INTEGER, Math.min(Number(text), Number.MAX_SAFE_INTEGER))
}
