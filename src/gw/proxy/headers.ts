// Which headers cross the gateway. Pure.

/** Hop-by-hop headers (RFC 9110, 7.6.1) and what Bun's client and server set by themselves. */
const hopByHop = [
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
  'expect',
] as const

/** Said by the gateway alone; a client that sends them is lying. */
const internalPrefix = 'x-pocketfleet-'
const forwardingHeaders = [
  'forwarded',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
  'x-forwarded-port',
] as const

export interface Client {
  /** The end user's address, as far as we can trust what we were told. */
  readonly address: string
  readonly scheme: 'http' | 'https'
  /** All proxies up to us, for `X-Forwarded-For`; ends with our peer. */
  readonly forwardedFor: string
}

/**
 * Who is behind a connection. Forwarding headers count only when the peer is a trusted proxy: then the client is the
 * last address in `X-Forwarded-For` that is not itself trusted.
 */
export function clientOf(
  headers: Headers,
  peer: { readonly address: string; readonly scheme: 'http' | 'https' },
  trustedProxies: ReadonlySet<string>,
): Client {
  const address = plainAddress(peer.address)
  const untrusted: Client = { address, scheme: peer.scheme, forwardedFor: address }
  if (!trustedProxies.has(address)) return untrusted
  const chain = (headers.get('x-forwarded-for') ?? '')
    .split(',')
    .map((each) => plainAddress(each.trim()))
    .filter((each) => /^[0-9a-fA-F.:]{2,45}$/.test(each))
  const proto = headers.get('x-forwarded-proto')
  const client = chain.findLast((each) => !trustedProxies.has(each)) ?? chain[0] ?? address
  return {
    address: client,
    scheme: proto === 'https' || proto === 'http' ? proto : peer.scheme,
    forwardedFor: [...chain, address].join(', '),
  }
}

/** IPv4 in its own form: a dual-stack socket reports `::ffff:1.2.3.4`. */
export function plainAddress(address: string): string {
  return address.toLowerCase().startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address
}

/** The headers for the upstream request. Nothing of the client's survives that only the gateway may say. */
export function upstreamHeaders(received: Headers, client: Client, extra: Readonly<Record<string, string>>): Headers {
  const headers = new Headers(received)
  for (const name of (received.get('connection') ?? '').split(',')) {
    const token = name.trim().toLowerCase()
    if (/^[a-z0-9-]+$/.test(token) && token !== 'host' && token !== 'content-length') headers.delete(token)
  }
  for (const name of hopByHop) headers.delete(name)
  for (const name of forwardingHeaders) headers.delete(name)
  for (const name of received.keys()) if (name.startsWith(internalPrefix)) headers.delete(name)
  headers.delete('x-tenant-id')
  headers.set('x-forwarded-for', client.forwardedFor)
  headers.set('x-forwarded-proto', client.scheme)
  headers.set('x-forwarded-host', received.get('host') ?? '')
  headers.set('x-real-ip', client.address)
  // Bun's client would ask for compression and call itself a browser of sorts when the caller said nothing.
  if (!received.has('accept-encoding')) headers.set('accept-encoding', 'identity')
  if (!received.has('user-agent')) headers.set('user-agent', '')
  for (const [name, value] of Object.entries(extra)) headers.set(name, value)
  return headers
}

/** The headers for the client. */
export function downstreamHeaders(received: Headers): Headers {
  const headers = new Headers(received)
  for (const name of (received.get('connection') ?? '').split(',')) {
    const token = name.trim().toLowerCase()
    if (/^[a-z0-9-]+$/.test(token)) headers.delete(token)
  }
  for (const name of hopByHop) headers.delete(name)
  for (const name of received.keys()) if (name.startsWith(internalPrefix)) headers.delete(name)
  return headers
}
