// What the engine refuses. The API turns these into answers in `api/error-map.ts`, and nowhere else.

import { AppError } from '../../lib/errors.ts'
import type { ValidationError, ValidationErrors } from './settings/checks.ts'

/** Values that may not be stored, by field; may be nested. */
export class ValidationFailed extends AppError {
  readonly code = 'validation_failed'
  readonly errors: ValidationErrors
  constructor(errors: ValidationErrors) {
    super('some values are invalid')
    this.errors = errors
  }

  static of(field: string, error: ValidationError): ValidationFailed {
    return new ValidationFailed({ [field]: error })
  }
}

/** The operation is not possible as things are; the message is for the client. */
export class RefusedError extends AppError {
  readonly code = 'refused'
}

/** The only superuser left cannot go: nobody could manage the tenant. */
export class LastSuperuserError extends RefusedError {
  constructor() {
    super("You can't delete the only existing superuser.")
  }
}

/** A write needs more than the tenant or its store can give now. */
export class WritesRefusedError extends AppError {
  readonly code = 'writes_refused'
  /** When to try again, seconds. */
  readonly retryAfterSeconds: number
  constructor(message: string, retryAfterSeconds: number, options?: ErrorOptions) {
    super(message, options)
    this.retryAfterSeconds = retryAfterSeconds
  }
}
