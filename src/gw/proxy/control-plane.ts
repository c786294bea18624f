// Requests on the platform's own hosts go to a member of the control plane. Any will do: followers forward.

import type { DirectoryMember } from '../../ipc/messages/directory.ts'
import type { Logger } from '../../lib/obs/log.ts'
import { errorResponse } from '../error-response.ts'
import { type Client, upstreamHeaders } from './headers.ts'
import { attemptRequest, pathOf } from './http.ts'
import { clientGone, readBody } from './tenants.ts'

export interface ControlPlaneProxyDeps {
  readonly log: Logger
  /** As last heard; may be empty. */
  readonly members: () => readonly DirectoryMember[]
  /** As configured, used besides. */
  readonly addresses: readonly string[]
}

/** Members tried for one request; more than a Raft group has. */
const membersTriedMax = 7

export class ControlPlaneProxy {
  readonly #deps: ControlPlaneProxyDeps

  constructor(deps: ControlPlaneProxyDeps) {
    this.#deps = deps
  }

  /** Never rejects. Moves on to the next member only while that is safe for the method. */
  async forward(request: Request, client: Client): Promise<Response> {
    const body = await readBody(request)
    if (body === null) return clientGone()
    const isSafe = request.method === 'GET' || request.method === 'HEAD' || request.method === 'OPTIONS'
    for (const base of this.#bases().slice(0, membersTriedMax)) {
      const attempt = await attemptRequest({
        url: base + pathOf(request.url),
        method: request.method,
        headers: upstreamHeaders(request.headers, client, {}),
        body: body.next(),
        signal: request.signal,
      })
      switch (attempt.outcome) {
        case 'answered':
          return attempt.response
        case 'aborted':
          return clientGone()
        case 'misrouted':
          break // a follower without a leader to forward to
        case 'refused':
        case 'broken':
          this.#deps.log.warn('control plane did not answer', { url: base, error: attempt.cause })
          if (attempt.outcome === 'broken' && !isSafe) return errorResponse(502, 'The control plane did not answer.')
      }
      if (!body.isReplayable) return errorResponse(502, 'The control plane did not answer.')
    }
    return errorResponse(503, 'The control plane cannot be reached; try again shortly.', { retryAfterMs: 1_000 })
  }

  /** The leader first, then followers, then what was configured. */
  #bases(): string[] {
    const members = [...this.#deps.members()].sort((a, b) => Number(b.isLeader) - Number(a.isLeader))
    const given = this.#deps.addresses.map((address) => (address.includes('://') ? address : `http://${address}`))
    return [...new Set([...members.map((member) => member.httpUrl), ...given])]
  }
}
