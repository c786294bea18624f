// The script of the dashboard's extensions, which the official dashboard loads before it starts. Tenants have no
// extensions, so it is empty. PocketBase: apis/extensions.go.

import type { Route } from './router.ts'

function script(): Response {
  return new Response('', { headers: { 'content-type': 'text/javascript' } })
}

export const extensionRoutes: readonly Route[] = [
  { method: 'GET', path: '/_/extensions.js', limit: 'path', handle: script },
]
