// Errors as PocketBase's clients know them: `{"data": {...}, "message": "...", "status": N}`. The only place where what
// the engine refuses becomes a status.

import { errorCode, OverloadedError, TimeoutError } from '../../lib/errors.ts'
import { ObjectStoreError } from '../../lib/object-store/object-store.ts'
import { CorruptDatabaseError } from '../engine/db/database.ts'
import { ReaderEndedError, ReaderTooLargeError } from '../engine/db/reader.ts'
import { RefusedError, ValidationFailed, WritesRefusedError } from '../engine/errors.ts'
import { FileKeyError } from '../engine/files/storage.ts'
import { toJson } from '../engine/json/json-text.ts'
import type { ValidationErrors } from '../engine/settings/checks.ts'

const defaultMessages: Readonly<Record<number, string>> = {
  400: 'Something went wrong while processing your request.',
  401: 'Missing or invalid authentication.',
  403: 'You are not allowed to perform this request.',
  404: "The requested resource wasn't found.",
  413: 'Request entity too large.',
  429: 'Too Many Requests.',
  503: 'The service is temporarily unavailable.',
}

/** Capitalised, and with a full stop unless it ends in punctuation. */
function sentence(text: string): string {
  const trimmed = text.trim()
  if (trimmed === '') return ''
  const capital = trimmed[0]!.toUpperCase() + trimmed.slice(1)
  return /[.!?]$/.test(capital) ? capital : `${capital}.`
}

/** An answer that is an error. */
export class ApiError extends Error {
  readonly status: number
  readonly data: ValidationErrors
  readonly retryAfterSeconds: number | null

  constructor(status: number, message = '', data: ValidationErrors = {}, retryAfterSeconds: number | null = null) {
    super(sentence(message || (defaultMessages[status] ?? 'Something went wrong while processing your request.')))
    this.status = status
    this.data = data
    this.retryAfterSeconds = retryAfterSeconds
  }

  toResponse(): Response {
    const headers: Record<string, string> = { 'content-type': 'application/json' }
    if (this.retryAfterSeconds !== null) headers['retry-after'] = String(this.retryAfterSeconds)
    return new Response(this.toText(), { status: this.status, headers })
  }

  toText(): string {
    return toJson({ data: safeErrors(this.data), message: this.message, status: this.status })
  }
}

/** Messages as sentences, members by name; nested like what was checked. */
function safeErrors(errors: ValidationErrors): Record<string, unknown> {
  const safe: Record<string, unknown> = {}
  for (const name of Object.keys(errors).sort()) {
    const error = errors[name]!
    const isLeaf = typeof error['code'] === 'string' && typeof error['message'] === 'string'
    safe[name] = isLeaf
      ? { code: error['code'], message: sentence(error['message'] as string), params: error['params'] }
      : safeErrors(error as ValidationErrors)
  }
  return safe
}

export const badRequest = (message?: string, data?: ValidationErrors) => new ApiError(400, message, data)
export const unauthorized = (message?: string) => new ApiError(401, message)
export const forbidden = (message?: string) => new ApiError(403, message)
export const notFound = (message?: string) => new ApiError(404, message)
export const tooManyRequests = (message?: string) => new ApiError(429, message)

/** How long a client should wait while storage is out, seconds. */
const outageRetrySeconds = 5

/** What SQLite and the system call a device without space. PocketBase says 400, as if it were the client's fault. */
const fullDiskCodes: ReadonlySet<string> = new Set(['SQLITE_FULL', 'ENOSPC', 'EDQUOT'])

/**
 * The answer to anything that was thrown.
 * @param message for failed writes: what was attempted, in PocketBase's words.
 * @returns null for what nobody foresaw: the caller logs it and answers 400, as PocketBase does.
 */
export function toApiError(error: unknown, message?: string): ApiError | null {
  if (error instanceof ApiError) return error
  if (error instanceof ValidationFailed) return new ApiError(400, message, error.errors)
  if (error instanceof WritesRefusedError) return new ApiError(503, error.message, {}, error.retryAfterSeconds)
  if (error instanceof RefusedError) return new ApiError(400, message ?? error.message)
  if (error instanceof FileKeyError) return new ApiError(404)
  if (error instanceof TimeoutError) return new ApiError(400, 'The query took too long.')
  if (error instanceof ReaderTooLargeError) return new ApiError(400, 'The answer would be too large.')
  if (error instanceof ReaderEndedError) return new ApiError(503, '', {}, 1)
  if (error instanceof OverloadedError) return new ApiError(503, 'Too many requests wait already.', {}, 1)
  if (error instanceof ObjectStoreError)
    return new ApiError(503, 'The storage is temporarily unavailable.', {}, outageRetrySeconds)
  if (fullDiskCodes.has(errorCode(error) ?? '')) return new ApiError(507, 'The disk of the server is full.')
  if (error instanceof CorruptDatabaseError) return new ApiError(503, 'The database is damaged.')
  return null
}
