// The gateway's own answers look like PocketBase's errors, so that SDKs understand them.

export type GatewayStatus = 400 | 404 | 413 | 499 | 502 | 503 | 504

export interface ErrorResponseOptions {
  /** Seconds; rounded up. */
  readonly retryAfterMs?: number
}

export function errorResponse(status: GatewayStatus, message: string, options: ErrorResponseOptions = {}): Response {
  const headers: Record<string, string> = { 'content-type': 'application/json', 'cache-control': 'no-store' }
  if (options.retryAfterMs !== undefined)
    headers['retry-after'] = String(Math.max(1, Math.ceil(options.retryAfterMs / 1_000)))
  return new Response(JSON.stringify({ status, message, data: {} }), { status, headers })
}
