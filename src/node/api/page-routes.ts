// Pages for browsers below `/_/`: what PocketBase's mails, redirects and first start link to. The dashboard itself is not
// among them. Files are part of the program, so the compiled one serves them too.

import { version } from '../../version.ts'
import form from './pages/form.js' with { type: 'text' }
import document from './pages/index.html' with { type: 'text' }
import style from './pages/pages.css' with { type: 'text' }
import script from './pages/pages.js' with { type: 'text' }
import type { RequestEvent } from './request-event.ts'
import type { Route } from './router.ts'

/** Only what this server sends, and nowhere but there; tokens stand in these addresses, so nobody else learns them. */
const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  'img-src data:',
  "form-action 'none'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join('; ')

function page(path: string, contentType: string, text: string): Route {
  const etag = `"${new Bun.CryptoHasher('sha256').update(`${version} ${text}`).digest('base64url').slice(0, 22)}"`
  return {
    method: 'GET',
    path,
    limit: 'path',
    handle(event) {
      event.isQuiet = true
      const headers = new Headers({
        'content-type': contentType,
        'content-security-policy': contentSecurityPolicy,
        'cache-control': 'no-cache', // asked for again, answered with 304: a new version is never mixed with an old one
        'referrer-policy': 'no-referrer',
        'x-content-type-options': 'nosniff',
        'x-frame-options': 'DENY',
        etag,
      })
      if (event.request.headers.get('if-none-match') === etag) return new Response(null, { status: 304, headers })
      return new Response(event.request.method === 'HEAD' ? null : text, { headers })
    },
  }
}

/** As PocketBase's router answers a folder without its slash. */
function toPages({ rawQuery }: RequestEvent): Response {
  return new Response(null, { status: 307, headers: { location: rawQuery === '' ? '/_/' : `/_/?${rawQuery}` } })
}

export const pageRoutes: readonly Route[] = [
  { method: 'GET', path: '/_', limit: 'path', handle: toPages },
  page('/_/', 'text/html; charset=utf-8', String(document)),
  page('/_/pages.css', 'text/css; charset=utf-8', style),
  page('/_/form.js', 'text/javascript; charset=utf-8', form),
  page('/_/pages.js', 'text/javascript; charset=utf-8', script),
]
