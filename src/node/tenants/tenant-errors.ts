// Why a tenant cannot be had on this node now. The pool turns them into answers.

import { AppError } from '../../lib/errors.ts'

/** The tenant is not placed here, or not under this epoch: the gateway should ask for the route again. */
export class WrongOwnerError extends AppError {
  readonly code = 'wrong_owner'
}

/** A tenant is not let go while only this node has some of its commits. */
export class TailNotShippedError extends AppError {
  readonly code = 'tail_not_shipped'
}

/** The tenant is suspended, archived or deleted: nobody serves it. */
export class TenantInactiveError extends AppError {
  readonly code = 'tenant_inactive'
}
