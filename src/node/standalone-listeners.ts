// The sockets of a standalone tenant: plain HTTP alone, or HTTPS with certificates from files or from an ACME authority,
// beside plain HTTP that sends clients over and answers the authority.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { AnyElysia } from 'elysia'
import type { Cancel, Clock } from '../lib/clock.ts'
import { ConfigError, errorMessage } from '../lib/errors.ts'
import type { Logger } from '../lib/obs/log.ts'
import type { Rng } from '../lib/rng.ts'
import {
  cannotListen,
  type Listener,
  listen,
  listenWith,
  type SocketAddress,
  type TlsCertificate,
} from './api/listen.ts'
import { acmeIssuer, type Challenges } from './certificates/acme-issuer.ts'
import { type Certificate, CertificateCache } from './certificates/certificate-cache.ts'
import { CertificateKeeper } from './certificates/certificate-keeper.ts'

/** Where certificates come from. */
export type CertificateSource =
  /** PEM files. */
  | { readonly from: 'files'; readonly certPath: string; readonly keyPath: string }
  /** An authority that speaks ACME (RFC 8555), asked over the HTTP-01 challenge. */
  | { readonly from: 'acme'; readonly directoryUrl: string }

export interface StandaloneHttps extends SocketAddress {
  readonly certificates: CertificateSource
  /** Hosts that plain HTTP sends over; empty, with files only: whatever was asked for. */
  readonly domains: readonly string[]
}

export interface StandaloneListenersOptions {
  readonly app: AnyElysia
  readonly http: SocketAddress
  readonly https: StandaloneHttps | null
  /** The tenant's directory; certificates are kept in it. */
  readonly dir: string
  readonly clock: Clock
  readonly rng: Rng
  readonly log: Logger
}

/** PocketBase's folder for them, under the data directory (core/base.go, LocalAutocertCacheDirName). */
const cacheFolder = '.autocert_cache'
const challengePath = '/.well-known/acme-challenge/'
/** When the port of HTTPS was lost while certificates changed, it is asked for again after this, ms. */
const reopenAfterMs = 1_000

/** Throws ConfigError for an address or a certificate that cannot be used; then nothing stays open. */
export async function openListeners(options: StandaloneListenersOptions): Promise<Listener> {
  const { app, http, https, clock } = options
  const plainOptions = { address: http, flag: '--http', clock }
  if (https === null) return listenWith(app, plainOptions)
  await using opened = new AsyncDisposableStack()
  const challenges: Challenges = new Map()
  const secure = new SecureListener(options, https)
  opened.defer(() => secure.close())
  secure.open()
  const plain = listen(redirect(https, secure.port, challenges), plainOptions)
  opened.defer(() => plain.close())
  if (https.certificates.from === 'acme') {
    const { dir, rng, log } = options
    const cache = new CertificateCache(join(dir, cacheFolder), log)
    const keeper = new CertificateKeeper({
      hosts: [...https.domains, ...aliases(https.domains).keys()],
      cache,
      issuer: acmeIssuer(https.certificates.directoryUrl, cache),
      challenges,
      clock,
      rng,
      log,
      onChange: (certificates) => secure.use(certificates),
    })
    opened.defer(() => keeper.close())
    await keeper.start()
  }
  const all = opened.move()
  return { url: secure.url, close: () => all.disposeAsync() }
}

/** The port of HTTPS, which is closed to every client until there is a certificate. */
class SecureListener {
  readonly #options: StandaloneListenersOptions
  readonly #https: StandaloneHttps
  #certificates: readonly TlsCertificate[] = []
  #listener: Listener | null = null
  #placeholder: { readonly port: number; stop(closeActive?: boolean): void } | null = null
  #isClosed = false
  #cancelReopen: Cancel = () => {}
  port = 0

  constructor(options: StandaloneListenersOptions, https: StandaloneHttps) {
    this.#options = options
    this.#https = https
  }

  get url(): string {
    const { domains, host } = this.#https
    const name = domains[0] ?? (host.includes(':') ? `[${host}]` : host)
    return `https://${name}${this.port === 443 ? '' : `:${this.port}`}`
  }

  open(): void {
    const { certificates, host, port } = this.#https
    if (certificates.from === 'files') {
      this.#certificates = [readCertificate(certificates)]
      this.#listen()
      return
    }
    try {
      // Taken at once, so that a port in use is told at the start and nobody else takes it meanwhile.
      this.#placeholder = Bun.listen({
        hostname: host,
        port,
        exclusive: true,
        socket: { open: (socket) => void socket.end(), data() {} },
      })
      this.port = this.#placeholder.port
    } catch (error) {
      throw cannotListen('--https-addr', this.#https, error)
    }
  }

  use(certificates: readonly Certificate[]): void {
    this.#certificates = certificates.map(({ host, key, chain }) => ({ serverName: host, key, cert: chain }))
    this.#reopen()
  }

  /** Bun takes new certificates with a new socket only. Requests under way end on the old one. */
  #reopen(): void {
    if (this.#isClosed) return
    const { clock, log } = this.#options
    this.#placeholder?.stop(true)
    this.#placeholder = null
    const old = this.#listener
    this.#listener = null
    old?.close().catch((error) => log.error('https.close', { error: errorMessage(error) }))
    try {
      this.#listen()
    } catch (error) {
      log.error('https.reopen', { error: errorMessage(error), againInMs: reopenAfterMs })
      this.#cancelReopen = clock.setTimer(reopenAfterMs, () => {
        if (this.#listener === null) this.#reopen()
      })
    }
  }

  #listen(): void {
    const { app, clock } = this.#options
    const { host, domains } = this.#https
    const address = { host, port: this.port || this.#https.port }
    const options = { address, flag: '--https-addr', clock, tls: this.#certificates }
    this.#listener = listenWith(app, options, withoutWww(aliases(domains)))
    this.port = Number(new URL(this.#listener.url).port || 443)
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#cancelReopen()
    this.#placeholder?.stop(true)
    await this.#listener?.close()
  }
}

/** PocketBase answers for `www.` before each domain as well, and sends those clients to the domain itself. */
function aliases(domains: readonly string[]): ReadonlyMap<string, string> {
  const found = new Map<string, string>()
  for (const domain of domains)
    if (!domain.startsWith('www.') && !domains.includes(`www.${domain}`)) found.set(`www.${domain}`, domain)
  return found
}

function withoutWww(hosts: ReadonlyMap<string, string>): (request: Request) => Response | null {
  return (request) => {
    if (!request.headers.get('host')?.startsWith('www.')) return null // nearly always, and cheaper than an URL
    const url = new URL(request.url)
    const target = hosts.get(url.hostname)
    if (target === undefined) return null
    url.hostname = target
    return new Response(null, { status: 307, headers: { location: url.href } })
  }
}

function readCertificate(source: CertificateSource & { from: 'files' }): TlsCertificate {
  const read = (path: string, flag: string) => {
    try {
      return readFileSync(path, 'utf8')
    } catch (error) {
      throw new ConfigError(`${flag}: cannot read ${path}: ${errorMessage(error)}`, { cause: error })
    }
  }
  return { cert: read(source.certPath, '--tls-cert'), key: read(source.keyPath, '--tls-key') }
}

/** Sends safe requests to the same path under HTTPS; a body must not be sent in the clear first. */
function redirect({ domains }: StandaloneHttps, port: number, challenges: Challenges): (request: Request) => Response {
  const hosts = new Set([...domains, ...aliases(domains).keys()])
  return (request) => {
    const url = new URL(request.url)
    const isOurs = hosts.size === 0 || hosts.has(url.hostname)
    if (isOurs && url.pathname.startsWith(challengePath)) {
      const answer = challenges.get(url.pathname.slice(challengePath.length))
      return answer === undefined
        ? new Response('Not found', { status: 404 })
        : new Response(answer, { headers: { 'content-type': 'text/plain; charset=utf-8' } })
    }
    if (!isOurs || (request.method !== 'GET' && request.method !== 'HEAD'))
      return new Response('Use HTTPS', { status: 400 })
    url.protocol = 'https:'
    url.port = String(port)
    return new Response(null, { status: 302, headers: { location: url.href } })
  }
}
