// One attempt to have a request answered by an upstream, through Bun's `fetch`: whatever streams its body upwards, and the
// control plane. Everything else goes through upstreams.ts.

import { errorCode } from '../../lib/errors.ts'
import type { AnswerHead } from './answer-parser.ts'
import { downstreamHeaders } from './headers.ts'

export type Attempt =
  | {
      readonly outcome: 'answered'
      readonly response: Response
      /** As it came, where it did not come by `fetch`. */
      readonly head?: AnswerHead
    }
  /** The upstream says that it does not own the tenant. */
  | { readonly outcome: 'misrouted' }
  /** No connection was made: the request surely was not delivered. */
  | { readonly outcome: 'refused'; readonly cause: unknown }
  /** The connection broke before an answer: the request may have been delivered. */
  | { readonly outcome: 'broken'; readonly cause: unknown }
  /** The client went away. */
  | { readonly outcome: 'aborted' }

const misdirectedRequest = 421

export interface UpstreamRequest {
  readonly url: string
  readonly method: string
  readonly headers: Headers
  readonly body: Bun.BodyInit | null
  readonly signal: AbortSignal
}

/** Never rejects. The answer streams; a client that goes away ends the upstream's request too. */
export async function attemptRequest({ url, method, headers, body, signal }: UpstreamRequest): Promise<Attempt> {
  try {
    const response = await fetch(url, {
      method,
      headers,
      body,
      signal,
      redirect: 'manual',
      decompress: false,
      // Silence is no failure: a stream may say nothing for minutes, and a hung worker is its supervisor's matter.
      timeout: false,
    } as RequestInit)
    if (response.status === misdirectedRequest) {
      await response.body?.cancel()
      return { outcome: 'misrouted' }
    }
    return {
      outcome: 'answered',
      response: new Response(response.body, {
        status: response.status,
        statusText: response.statusText,
        headers: downstreamHeaders(response.headers),
      }),
    }
  } catch (cause) {
    if (signal.aborted) return { outcome: 'aborted' }
    return { outcome: isRefused(cause) ? 'refused' : 'broken', cause }
  }
}

/** Bun's codes for a connection that never came to be. */
function isRefused(error: unknown): boolean {
  const code = errorCode(error)
  return code === 'ConnectionRefused' || code === 'FailedToOpenSocket' || code === 'ECONNREFUSED'
}

/** The path and query as received. Bun resolves dot segments and encodes what RFC 3986 does not allow; no more is lost. */
export function pathOf(url: string): string {
  if (url.startsWith('/')) return url
  const start = url.indexOf('/', url.indexOf('://') + 3)
  return start < 0 ? '/' : url.slice(start)
}

/** {@link pathOf} for a request line that is written by hand: whatever else the URL may hold, this holds no blank. */
export function targetOf(url: string): string {
  const path = pathOf(url)
  if (/^[!-~]*$/.test(path)) return path
  const { pathname, search } = new URL(url)
  return pathname + search
}
