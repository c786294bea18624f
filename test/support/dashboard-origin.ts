// One origin for the official dashboard and a server of ours: the dashboard calls the API relative to its own address,
// so its files come from a running PocketBase and everything else from the server under test.

import type { PeerServer } from './pocketbase.ts'

/** What is loaded beside the dashboard and answered by the API, although it lies below the dashboard's address. */
const apiBelowDashboard = '/_/extensions'

/** Seconds without a byte after which Bun would cut a stream of events. */
const idleTimeoutSeconds = 255

/**
 * @param dashboardUrl a PocketBase, whose `/_/` is served.
 * @param apiUrl the server under test.
 */
export function serveDashboardOver(dashboardUrl: string, apiUrl: string): PeerServer {
  const server = Bun.serve({
    hostname: '127.0.0.1',
    port: 0,
    idleTimeout: idleTimeoutSeconds,
    fetch(request) {
      const { pathname, search } = new URL(request.url)
      const isDashboard = pathname.startsWith('/_/') && !pathname.startsWith(apiBelowDashboard)
      const headers = new Headers(request.headers)
      headers.delete('host')
      return fetch(`${isDashboard ? dashboardUrl : apiUrl}${pathname}${search}`, {
        method: request.method,
        headers,
        body: request.body,
        redirect: 'manual',
        decompress: false,
        signal: request.signal,
      })
    },
  })
  return { url: `http://127.0.0.1:${server.port}`, stop: () => server.stop(true) }
}
