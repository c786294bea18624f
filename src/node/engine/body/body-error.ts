// Bounds of a request body, and what is wrong with one that is refused.

import { AppError } from '../../../lib/errors.ts'
import type { Rng } from '../../../lib/rng.ts'

export interface BodyLimits {
  readonly bytesMax: number
  readonly rng: Rng
}

/** The body is no body of ours, or too large. */
export class BodyError extends AppError {
  readonly code: 'bad_body' | 'body_too_large'
  constructor(code: 'bad_body' | 'body_too_large', message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** Nothing here reads this type. */
export class UnsupportedTypeError extends BodyError {
  constructor() {
    super('bad_body', 'unsupported Content-Type')
  }
}
