// One request on its way through the API.

import type { MaybePromise } from '../../lib/result.ts'
import { type ParsedBody, parseBody } from '../engine/body/body.ts'
import type { Engine } from '../engine/engine.ts'
import { toJson } from '../engine/json/json-text.ts'
import { pickFields } from '../engine/picker/picker.ts'
import type { EngineRecord } from '../engine/records/record.ts'
import { notFound } from './error-map.ts'
import type { Connections, TenantLease } from './tenant-host.ts'

/** Bodies without a limit of their own, bytes; PocketBase's default. */
export const bodyBytesDefault = 32 * 1024 * 1024

/** Why a rule is asked: what `@request.context` says. */
export type RequestContext =
  | 'default'
  | 'expand'
  | 'realtime'
  | 'protectedFile'
  | 'batch'
  | 'oauth2'
  | 'otp'
  | 'password'

/** What the client sent, as rules and hooks see it. */
export interface RequestInfo {
  readonly context: string
  readonly method: string
  readonly query: Readonly<Record<string, string>>
  /** Names lower case, dashes as underscores. */
  readonly headers: Readonly<Record<string, string>>
  readonly auth: EngineRecord | null
  readonly body: Readonly<Record<string, unknown>>
}

export class RequestEvent {
  readonly request: Request
  readonly engine: Engine
  readonly lease: TenantLease
  readonly connections: Connections | null
  readonly method: string
  /** Without the query, as it was sent but for `%27`. */
  readonly path: string
  readonly rawQuery: string
  readonly realIp: string
  /** Who asks; null for guests. Set by the API before the handler runs. */
  auth: EngineRecord | null = null
  context: RequestContext = 'default'
  /** Largest body of this request, bytes. */
  bodyBytesMax = bodyBytesDefault
  /** Keeps the address out of the log. */
  isSecretPath = false
  /** Successes are not logged: files for browsers, as in PocketBase. */
  isQuiet = false
  /** Set by a handler whose answer is a stream: it releases the lease itself when the stream has ended. */
  keepsLease = false
  #params: Readonly<Record<string, string>> = {}
  #query: URLSearchParams | null = null
  #body: Promise<ParsedBody> | null = null
  #headers: Readonly<Record<string, string>> | null = null

  constructor(facts: {
    readonly request: Request
    readonly lease: TenantLease
    readonly connections: Connections | null
    readonly path: string
    readonly rawQuery: string
    readonly realIp: string
  }) {
    this.request = facts.request
    this.lease = facts.lease
    this.engine = facts.lease.engine
    this.connections = facts.connections
    this.method = facts.request.method
    this.path = facts.path
    this.rawQuery = facts.rawQuery
    this.realIp = facts.realIp
  }

  set params(params: Readonly<Record<string, string>>) {
    this.#params = params
  }

  /** A decoded part of the path; the route names it. */
  param(name: string): string {
    const value = this.#params[name]
    if (value === undefined) throw notFound()
    return value
  }

  get query(): URLSearchParams {
    return (this.#query ??= parseQuery(this.rawQuery))
  }

  get isSuperuser(): boolean {
    return this.auth?.collection.isSuperusers ?? false
  }

  /** Body members by name; uploads stand among them as UploadedFile. Parsed once. */
  async body(): Promise<Readonly<Record<string, unknown>>> {
    return (await this.parsedBody()).data
  }

  parsedBody(): Promise<ParsedBody> {
    return (this.#body ??= parseBody(this.request, { bytesMax: this.bodyBytesMax, rng: this.engine.rng }))
  }

  /** Deletes what a body left on disk. The API calls it after the handler. */
  dispose(): MaybePromise<void> {
    return this.#body?.then(
      (body) => body[Symbol.asyncDispose](),
      () => {}, // a body that could not be read left nothing; the handler has answered for it
    )
  }

  get headers(): Readonly<Record<string, string>> {
    if (this.#headers === null) {
      const headers: Record<string, string> = {}
      for (const [name, value] of this.request.headers) headers[name.toLowerCase().replaceAll('-', '_')] = value
      this.#headers = headers
    }
    return this.#headers
  }

  /** For rules: without the body unless it is given. */
  info(body: Readonly<Record<string, unknown>> = {}): RequestInfo {
    const { context, method, auth } = this
    const event = this
    let query: Record<string, string> | null = null
    // Few rules look at the query or the headers: they are read when one does.
    return {
      context,
      method,
      auth,
      body,
      get headers() {
        return event.headers
      },
      get query() {
        if (query === null) {
          query = {}
          for (const [name, value] of event.query) query[name] ??= value
        }
        return query
      },
    }
  }

  /** The parameter `fields`; empty when there is none. */
  get fields(): string {
    return this.rawQuery.includes('fields=') ? (this.query.get('fields') ?? '') : ''
  }

  /** The JSON of an answer; `?fields=` picks from it. */
  toText(value: unknown): string {
    const { fields } = this
    return fields === '' ? toJson(value) : pickFields(value, fields)
  }

  /** A JSON answer; `?fields=` picks from it. Leaves through the output gate. */
  json(status: number, value: unknown): MaybePromise<Response> {
    const text = this.toText(value)
    return this.#leave(() => jsonResponse(status, text))
  }

  /** JSON that is text already, without `?fields=`. */
  jsonText(status: number, text: string): MaybePromise<Response> {
    return this.#leave(() => jsonResponse(status, text))
  }

  noContent(): MaybePromise<Response> {
    return this.#leave(() => new Response(null, { status: 204 }))
  }

  redirect(status: number, location: string): MaybePromise<Response> {
    return this.#leave(() => new Response(null, { status, headers: { location } }))
  }

  #leave(make: () => Response): MaybePromise<Response> {
    const passed = this.engine.gate.pass()
    return passed === undefined ? make() : passed.then(make)
  }
}

const jsonHeaders = { 'content-type': 'application/json' }

export function jsonResponse(status: number, text: string): Response {
  return new Response(text, { status, headers: jsonHeaders })
}

const encoded = /[%+]/
const decode = (text: string) => (encoded.test(text) ? decodeURIComponent(text.replaceAll('+', ' ')) : text)

/** Query parameters as Go reads them: what cannot be decoded, or holds `;`, is ignored. */
export function parseQuery(raw: string): URLSearchParams {
  const query = new URLSearchParams()
  if (raw === '') return query
  for (const part of raw.split('&')) {
    if (part === '' || part.includes(';')) continue
    const equals = part.indexOf('=')
    try {
      if (equals < 0) query.append(decode(part), '')
      else query.append(decode(part.slice(0, equals)), decode(part.slice(equals + 1)))
    } catch {
      // Malformed escapes: PocketBase drops the parameter and goes on.
    }
  }
  return query
}
