// HTTP requests to addresses that a tenant's admin or an OAuth2 provider chose. On a shared node such an address may
// point at the node's own network, so the address that a name resolves to is checked at the moment of connecting
// (a check of the name beforehand could be answered differently a millisecond later).

import { type LookupAddress, lookup } from 'node:dns'
import http from 'node:http'
import https from 'node:https'
import { isIP } from 'node:net'
import { AppError } from '../../../../lib/errors.ts'
import { isIpInList, normalizeRemoteAddress } from '../../rate-limit/ip.ts'

/** Loopback, private, link-local (cloud metadata among them), shared, multicast and reserved addresses. */
const privateNetworks = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '224.0.0.0/4',
  '240.0.0.0/4',
  '::/128',
  '::1/128',
  '::ffff:0:0/96',
  '64:ff9b::/96',
  'fc00::/7',
  'fe80::/10',
  'ff00::/8',
]

const redirectsMax = 5

/** The request was not made, or its answer not read to the end. */
export class OutboundError extends AppError {
  readonly code = 'outbound'
}

export interface OutboundRequest {
  readonly url: string
  readonly method?: 'GET' | 'POST'
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  /** A longer answer is refused. */
  readonly bodyBytesMax: number
  readonly signal: AbortSignal
  /** Whether addresses of private networks may be reached. */
  readonly mayReachPrivate: boolean
}

export interface OutboundResponse {
  readonly status: number
  readonly contentType: string
  readonly body: Uint8Array
}

/** Whether an address may be connected to from a node that others share. */
export function isPublicAddress(address: string): boolean {
  const ip = normalizeRemoteAddress(address)
  return ip !== '' && !isIpInList(privateNetworks, ip)
}

/** Sends a request; follows redirects of GET, without credentials once the host changes. Fails with OutboundError. */
export async function sendOutbound(request: OutboundRequest): Promise<OutboundResponse> {
  let url = parseUrl(request.url)
  let headers = request.headers ?? {}
  for (let redirects = 0; ; redirects++) {
    const answer = await sendOnce({ ...request, headers }, url)
    const isRedirect = answer.status >= 301 && answer.status <= 308 && answer.location !== null
    if (!isRedirect || (request.method ?? 'GET') !== 'GET') return answer
    if (redirects >= redirectsMax) throw new OutboundError(`more than ${redirectsMax} redirects from ${request.url}`)
    const next = parseUrl(new URL(answer.location!, url).href)
    if (next.origin !== url.origin) {
      const { authorization: _dropped, ...rest } = headers
      headers = rest
    }
    url = next
  }
}

function parseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null
  if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:'))
    throw new OutboundError(`not an HTTP address: ${text.slice(0, 200)}`)
  return url
}

function sendOnce(
  request: OutboundRequest,
  url: URL,
): Promise<OutboundResponse & { readonly location: string | null }> {
  const host = url.hostname.replace(/^\[|\]$/g, '')
  if (!request.mayReachPrivate && isIP(host) !== 0 && !isPublicAddress(host))
    return Promise.reject(new OutboundError(`address ${host} is not public`))
  return new Promise((resolve, reject) => {
    const fail = (cause: unknown) => reject(new OutboundError(`request to ${url.origin} failed`, { cause }))
    const client = url.protocol === 'https:' ? https : http
    const sent = client.request(
      url,
      {
        method: request.method ?? 'GET',
        headers: {
          ...request.headers,
          ...(request.body === undefined ? {} : { 'content-length': Buffer.byteLength(request.body) }),
        },
        signal: request.signal,
        agent: false, // a kept connection would skip the check of its address
        lookup: request.mayReachPrivate ? undefined : lookupPublic,
      },
      (received) => {
        const chunks: Uint8Array[] = []
        let length = 0
        received.on('data', (chunk: Uint8Array) => {
          length += chunk.length
          chunks.push(chunk)
          if (length > request.bodyBytesMax)
            sent.destroy(new OutboundError(`answer over ${request.bodyBytesMax} bytes`))
        })
        received.on('error', fail)
        received.on('end', () => {
          if (length > request.bodyBytesMax) return fail(new OutboundError(`answer over ${request.bodyBytesMax} bytes`))
          resolve({
            status: received.statusCode ?? 0,
            contentType: received.headers['content-type'] ?? '',
            body: new Uint8Array(Buffer.concat(chunks)),
            location: received.headers.location ?? null,
          })
        })
      },
    )
    sent.on('error', fail)
    sent.end(request.body)
  })
}

type LookupCallback = (error: Error | null, address: string | LookupAddress[], family?: number) => void

/** `dns.lookup` that knows no private addresses. */
export function lookupPublic(hostname: string, options: { readonly all?: boolean }, callback: LookupCallback): void {
  lookup(hostname, { all: true }, (error, addresses) => {
    if (error !== null) return callback(error, '')
    const usable = addresses.filter(({ address }) => isPublicAddress(address))
    const first = usable[0]
    if (first === undefined || usable.length < addresses.length)
      return callback(new OutboundError(`${hostname} resolves to an address that is not public`), '')
    if (options.all === true) callback(null, usable)
    else callback(null, first.address, first.family)
  })
}
