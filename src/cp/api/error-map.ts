// Outcomes and errors as HTTP: the only place that knows statuses. Every error has PocketBase's shape.

import { errorCode } from '../../lib/errors.ts'
import type { TenantRefusal } from '../services/refusals.ts'
import type { RejectReason } from '../state/command.ts'

export interface ErrorBody {
  readonly status: number
  readonly message: string
  readonly data: Readonly<Record<string, { readonly code: string; readonly message: string }>>
}

export type Refusal = RejectReason | TenantRefusal | 'own_account'

interface Answer {
  readonly status: number
  readonly message: string
  /** The field of the request that is at fault. */
  readonly field?: string
}

const answers: Readonly<Record<Refusal, Answer>> = {
  initialized: { status: 409, message: 'The fleet is initialized already.' },
  not_found: { status: 404, message: "The requested resource wasn't found." },
  id_taken: { status: 409, message: 'The id is taken.', field: 'id' },
  slug_taken: { status: 409, message: 'The name is taken.', field: 'id' },
  domain_taken: { status: 409, message: 'The domain is taken.', field: 'domain' },
  tenant_quota: { status: 403, message: 'The fleet has as many tenants as it may have.' },
  wrong_status: { status: 409, message: "The tenant's status does not allow this." },
  standbys_unasked: { status: 409, message: 'Too many sets of standbys have not been asked yet.' },
  stale_epoch: { status: 409, message: 'The placement has changed in the meantime.' },
  operation_pending: { status: 409, message: 'Another operation on this tenant is under way.' },
  handed_over: {
    status: 409,
    message:
      'Its histories were handed over to another program. When that has stopped, take the tenant back (tenant take-back).',
    field: 'status',
  },
  not_handed_over: { status: 409, message: 'The tenant was not handed over.' },
  node_not_found: { status: 404, message: 'There is no such node.', field: 'node' },
  node_draining: { status: 409, message: 'The node is draining.', field: 'node' },
  node_in_use: { status: 409, message: 'The node still has tenants; drain it first.' },
  email_taken: { status: 409, message: 'An admin has this e-mail address already.', field: 'email' },
  token_prefix_taken: { status: 503, message: 'Try again.' },
  not_first_admin: { status: 409, message: 'There are admins already.' },
  last_admin: { status: 400, message: 'The last admin cannot be deleted.' },
  own_account: { status: 400, message: 'You cannot delete yourself.' },
  bad_slug: { status: 400, message: 'Must be 1 to 63 characters a-z, 0-9 and dash, as in a host name.', field: 'id' },
  reserved_slug: { status: 400, message: 'This name is reserved.', field: 'id' },
  bad_domain: { status: 400, message: 'Must be a host name in lower case.', field: 'domain' },
  unknown_plan: { status: 400, message: 'There is no such plan.', field: 'plan' },
  password_length: { status: 400, message: 'Must be 8 to 72 bytes long.', field: 'password' },
  no_node: { status: 503, message: 'No node can take the tenant now.' },
  no_warm_standby: {
    status: 400,
    message:
      "The store's create-only writes are not atomic: each owner has a path of its own, which nobody can follow.",
    field: 'warmStandby',
  },
  no_room: {
    status: 409,
    message: 'The node has not enough disk free for this tenant; it stays where it is.',
    field: 'node',
  },
  same_node: { status: 409, message: 'The tenant is on this node already.', field: 'node' },
  not_active: { status: 409, message: 'The tenant is not active.' },
  not_archived: { status: 409, message: 'The tenant is not archived.' },
  not_suspended: { status: 409, message: 'Suspend the tenant first: only one program may write its history.' },
  already_known: { status: 409, message: 'The fleet has this tenant already.', field: 'reference' },
  standbys_unknown: {
    status: 409,
    message:
      'The object store does not say which nodes stood by for this tenant; what only they hold would be lost (tenant adopt --accept-loss).',
    field: 'acceptLoss',
  },
  history_not_found: { status: 404, message: 'The object store holds no such tenant.', field: 'reference' },
}

/** An answer that a handler gives up with. */
export class ApiError extends Error {
  readonly status: number
  readonly data: ErrorBody['data']
  constructor(status: number, message: string, data: ErrorBody['data'] = {}) {
    super(message)
    this.status = status
    this.data = data
  }
}

export function errorResponse(status: number, message: string, data: ErrorBody['data'] = {}): Response {
  const headers = status === 503 ? { 'retry-after': '1' } : {}
  return Response.json({ status, message, data } satisfies ErrorBody, { status, headers })
}

export function refused(reason: Refusal): ApiError {
  const { status, message, field } = answers[reason]
  return new ApiError(status, message, field === undefined ? {} : { [field]: { code: reason, message } })
}

/** By `code`, for errors of the world that a client may do something about; the rest is 500. */
const worldStatus: Readonly<Record<string, readonly [status: number, message: string]>> = {
  no_leader: [503, 'The control plane has no leader now.'],
  member_stopped: [503, 'This member of the control plane has stopped.'],
  timeout: [503, 'It took too long; it may still be done.'],
  overloaded: [503, 'Too much is under way; try again.'],
  node_order_failed: [503, 'The node did not carry it out in time; it will be tried again.'],
  orphan_not_found: [404, "The requested resource wasn't found."],
  wrong_owner: [503, 'The tenant is moving; try again.'],
  job_ended: [503, 'The work on the tenant broke off; try again.'],
  never_shipped: [409, 'The object store holds no history of this tenant.'],
  ltx_gap: [409, 'The history of this tenant has a gap.'],
  corrupt_database: [409, 'A database of this tenant is damaged at that moment.'],
  source_file_gone: [409, 'A file of that moment is gone.'],
  object_store: [503, 'The object store does not answer.'],
  history_missing: [409, 'The object store holds a manifest of this tenant but not its data.'],
  bad_standby_record: [409, 'What the object store says about the standbys of this tenant cannot be read.'],
  bad_manifest: [409, 'The manifest of this tenant in the object store cannot be read.'],
}

/** Null for what is our own mistake. */
export function answerOfError(error: unknown): Response | null {
  if (error instanceof ApiError) return errorResponse(error.status, error.message, error.data)
  const known = worldStatus[errorCode(error) ?? '']
  return known === undefined ? null : errorResponse(known[0], known[1])
}
