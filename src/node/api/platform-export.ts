// The download of an export, on the grant of a cluster admin: 202 while it is prepared, then a ZIP with an ETag that may
// be taken from any byte on.

import { exportSizeHeader, platformExportPath } from '../../ipc/messages/grant.ts'
import type { Txid } from '../../lib/brand.ts'
import { errorCode, errorMessage } from '../../lib/errors.ts'
import type { ExportArchive, ExportDesk } from '../tenants/export-desk.ts'
import { badRequest } from './error-map.ts'
import { grantOf, type PlatformOptions } from './platform.ts'
import type { RequestEvent } from './request-event.ts'
import type { Route } from './router.ts'

/** What a client should wait before it asks again, seconds. */
const retryAfterSeconds = 1

export function exportRoutes(options: PlatformOptions, desk: ExportDesk): readonly Route[] {
  const handle = async (event: RequestEvent) => {
    const { tenantId } = grantOf(event, 'export', options)
    const number = (name: string) => {
      const text = event.query.get(name) ?? ''
      if (!/^[1-9]\d{0,14}$/.test(text)) throw badRequest(`The query must hold ${name}, a number.`)
      return Number(text)
    }
    const cut = { atMs: number('at'), data: number('data') as Txid, auxiliary: number('auxiliary') as Txid }
    try {
      const answer = await desk.look(tenantId, cut)
      if (answer.type === 'preparing')
        return Response.json(answer.progress, { status: 202, headers: { 'retry-after': String(retryAfterSeconds) } })
      return archiveResponse(answer.archive, event.request.headers)
    } catch (error) {
      const code = errorCode(error)
      if (code === 'ltx_gap' || code === 'never_shipped' || code === 'source_file_gone' || code === 'corrupt_database')
        throw badRequest(`The export cannot be made: ${errorMessage(error)}`)
      throw error
    }
  }
  return [{ method: 'GET', path: platformExportPath, limit: 'own', handle }]
}

/** Exported for its tests. */
export function archiveResponse({ etag, sizeBytes, stream }: ExportArchive, headers: Headers): Response {
  const common = {
    etag,
    [exportSizeHeader]: String(sizeBytes),
    'accept-ranges': 'bytes',
    'content-type': 'application/zip',
    'cache-control': 'no-store',
  }
  const range = /^bytes=(\d{1,15})-$/.exec(headers.get('range') ?? '')
  const condition = headers.get('if-range')
  // Another content than the one that broke off starts from its beginning.
  const from = range === null || (condition !== null && condition !== etag) ? 0 : Number(range[1])
  if (from === 0) return new Response(stream(0), { headers: common })
  if (from >= sizeBytes)
    return new Response(null, { status: 416, headers: { ...common, 'content-range': `bytes */${sizeBytes}` } })
  return new Response(stream(from), {
    status: 206,
    headers: {
      ...common,
      'content-range': `bytes ${from}-${sizeBytes - 1}/${sizeBytes}`,
    },
  })
}
