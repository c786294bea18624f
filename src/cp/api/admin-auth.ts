// Who asks. Closed by default: every path needs an admin's token, but for the few that are named here.

import { directoryPath } from '../../ipc/messages/directory.ts'
import type { AdminService } from '../services/admins.ts'
import type { Admin } from '../state/admins.ts'
import { errorResponse } from './error-map.ts'

const openPaths: ReadonlySet<string> = new Set([
  '/api/cp/health',
  '/api/health',
  '/health/live',
  '/health/ready',
  '/metrics',
  directoryPath, // answers to the cluster secret instead
])

export class AdminAuth {
  readonly #admins: AdminService
  readonly #byRequest = new WeakMap<Request, Admin>()

  constructor(admins: AdminService) {
    this.#admins = admins
  }

  /** Runs before a body is read. The answer that ends the request, or undefined to go on. */
  check(request: Request): Response | undefined {
    const header = request.headers.get('authorization') ?? ''
    const admin = this.#admins.authenticate(header.replace(/^Bearer /i, ''))
    if (admin !== null) this.#byRequest.set(request, admin)
    else if (!openPaths.has(new URL(request.url).pathname))
      return errorResponse(401, 'The request requires a valid admin authorization token.')
    return undefined
  }

  /** Null on an open path without a token. */
  adminOf(request: Request): Admin | null {
    return this.#byRequest.get(request) ?? null
  }
}
