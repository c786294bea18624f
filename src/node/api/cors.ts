// Which web pages may read answers: PocketBase's CORS middleware (apis/middlewares_cors.go), without credentials.

/** Origins longer than this match no pattern, characters: the longest host name, with a scheme. */
const originLengthMax = 253 + '://'.length + 'https'.length
const allowMethods = 'GET,HEAD,PUT,PATCH,POST,DELETE'

export class Cors {
  readonly #names: ReadonlySet<string>
  readonly #isOpen: boolean
  readonly #patterns: readonly RegExp[]

  /** @param origins few and the operator's own, such as `https://app.example.com`; `*` is any, and within one any text, `?` one character. */
  constructor(origins: readonly string[] = ['*']) {
    this.#names = new Set(origins)
    this.#isOpen = this.#names.has('*')
    this.#patterns = this.#isOpen ? [] : origins.map(originPattern)
  }

  /** Tells the page that asked, if one did, that it may read the answer. */
  allow(request: Request, headers: Headers): boolean {
    const origin = request.headers.get('origin')
    headers.append('vary', 'Origin')
    if (!origin || !this.#isAllowed(origin)) return false
    headers.set('access-control-allow-origin', this.#isOpen ? '*' : origin)
    return true
  }

  preflight(request: Request): Response {
    const headers = new Headers()
    if (this.allow(request, headers)) {
      headers.append('vary', 'Access-Control-Request-Method')
      headers.append('vary', 'Access-Control-Request-Headers')
      headers.set('access-control-allow-methods', allowMethods)
      const asked = request.headers.get('access-control-request-headers')
      if (asked) headers.set('access-control-allow-headers', asked)
    }
    return new Response(null, { status: 204, headers })
  }

  #isAllowed(origin: string): boolean {
    if (this.#isOpen || this.#names.has(origin)) return true
    if (origin.length > originLengthMax || !origin.includes('://')) return false
    return this.#patterns.some((pattern) => pattern.test(origin))
  }
}

/** PocketBase also compares label by label, which allows nothing that this does not. */
function originPattern(origin: string): RegExp {
  const text = origin
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll(/\*+/g, '.*')
    .replaceAll('?', '.')
  return new RegExp(`^${text}$`)
}
