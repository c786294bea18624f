// Which headers cross the gateway. Pure.

/** Hop-by-hop headers (RFC 9110, 7.6.1) and what Bun's client and server set by themselves. */
const hopByHop: ReadonlySet<string> = new Set([
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
])

/** Said by the gateway alone; a client that sends them is lying. */
const internalPrefix = 'x-pocketfleet-'
/** Made anew, or for the gateway alone. */
const saidByGateway: ReadonlySet<string> = new Set([
  'x-tenant-id',
  'x-real-ip',
  'forwarded',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
  'x-forwarded-port',
])

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

type Entries = Iterable<readonly [name: string, value: string]>

/** What a message is not passed on with: what belongs to one connection, or is for the gateway alone. */
function dropped(name: string, tokens: ReadonlySet<string>): boolean {
  return hopByHop.has(name) || name.startsWith(internalPrefix) || tokens.has(name)
}

const noTokens: ReadonlySet<string> = new Set()

/** Further headers that belong to one connection, by its own word. */
function connectionTokens(connection: string | null): ReadonlySet<string> {
  if (connection === null || connection.toLowerCase() === 'keep-alive') return noTokens
  return new Set(connection.split(',').map((each) => each.trim().toLowerCase()))
}

/** The headers for the upstream request. Nothing of the client's survives that only the gateway may say. */
export function upstreamEntries(
  received: Headers,
  client: Client,
  extra: Readonly<Record<string, string>>,
): (readonly [name: string, value: string])[] {
  const tokens = connectionTokens(received.get('connection'))
  const entries: (readonly [string, string])[] = []
  for (const [name, value] of received) {
    // Who is asked, and for how much, is no matter of one connection, whatever a client says.
    const isNeeded = name === 'host' || name === 'content-length'
    if (isNeeded || !(dropped(name, tokens) || saidByGateway.has(name))) entries.push([name, value])
  }
  entries.push(
    ['x-forwarded-for', client.forwardedFor],
    ['x-forwarded-proto', client.scheme],
    ['x-forwarded-host', received.get('host') ?? ''],
    ['x-real-ip', client.address],
    ...Object.entries(extra),
  )
  return entries
}

/** The same for Bun's own clients, which would ask for compression and call themselves browsers of sorts. */
export function upstreamHeaders(received: Headers, client: Client, extra: Readonly<Record<string, string>>): Headers {
  const headers = new Headers(upstreamEntries(received, client, extra) as [string, string][])
  if (!received.has('accept-encoding')) headers.set('accept-encoding', 'identity')
  if (!received.has('user-agent')) headers.set('user-agent', '')
  return headers
}

/** The headers for the client. */
export function downstreamHeaders(received: Entries): Headers {
  const entries = [...received]
  const connection = entries.filter(([name]) => name === 'connection').map(([, value]) => value)
  const tokens = connection.length === 0 ? noTokens : connectionTokens(connection.join(','))
  const headers = new Headers()
  for (const [name, value] of entries) if (!dropped(name, tokens)) headers.append(name, value)
  return headers
}
