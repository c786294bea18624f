// Who asks. Closed by default: every path needs an admin's token, but for the few that are named here.

import { directoryPath } from '../../ipc/messages/directory.ts'
import type { AdminService } from '../services/admins.ts'
import type { Actor } from '../services/audit.ts'
import type { Admin } from '../state/admins.ts'
import { ApiError, errorResponse } from './error-map.ts'

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
  readonly #byRequest = new WeakMap<Request, { readonly admin: Admin; readonly from: string }>()

  constructor(admins: AdminService) {
    this.#admins = admins
  }

  /**
   * Runs before a body is read. The answer that ends the request, or undefined to go on.
   *
   * @param peer address of whoever holds the connection: the client, or the gateway in front.
   */
  check(request: Request, peer: string): Response | undefined {
    const header = request.headers.get('authorization') ?? ''
    const admin = this.#admins.authenticate(header.replace(/^Bearer /i, ''))
    if (admin !== null) this.#byRequest.set(request, { admin, from: fromOf(request.headers, peer) })
    else if (!openPaths.has(new URL(request.url).pathname))
      return errorResponse(401, 'The request requires a valid admin authorization token.')
    return undefined
  }

  /** Null on an open path without a token. */
  adminOf(request: Request): Admin | null {
    return this.#byRequest.get(request)?.admin ?? null
  }

  /** Who asks for something that is recorded. Throws ApiError on an open path without a token. */
  actorOf(request: Request): Actor {
    const found = this.#byRequest.get(request)
    if (found === undefined) throw new ApiError(401, 'The request requires a valid admin authorization token.')
    return { id: found.admin.id, name: found.admin.email, from: found.from }
  }
}

/** The peer, and what it says whom it asks for: a gateway names its client last. Who is no gateway may say anything. */
function fromOf(headers: Headers, peer: string): string {
  const said = headers.get('x-forwarded-for')?.split(',').at(-1)?.trim() ?? ''
  return /^[0-9a-fA-F.:]{2,45}$/.test(said) ? `${said} by ${peer}` : peer
}
