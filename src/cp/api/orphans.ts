// `/api/cp/orphans`: commits that another owner overtook, kept on the node that had them.

import { Elysia, t } from 'elysia'
import { isOrphanName, orphanFiles } from '../../ipc/messages/orphans.ts'
import type { NodeId } from '../../lib/brand.ts'
import type { NodeOrphan, OrphanService } from '../services/orphans.ts'
import type { AdminAuth } from './admin-auth.ts'
import { refused } from './error-map.ts'
import { listQuery, pageOf } from './lists.ts'
import { pocketBaseTime } from './tenants.ts'

function orphanBody({ node, name, tenantId, takenAtMs, files }: NodeOrphan) {
  return { node, name, tenant: tenantId, taken: pocketBaseTime(takenAtMs), files }
}

const file = t.Union(orphanFiles.map((each) => t.Literal(each)))

export const orphanRoutes = (orphans: OrphanService, auth: AdminAuth) =>
  new Elysia({ prefix: '/api/cp/orphans' })
    .get(
      '/',
      async ({ query }) => {
        const { orphans: found, nodesMissing } = await orphans.list()
        const wanted = found.filter(({ node }) => query.node === undefined || node === query.node)
        return { ...pageOf(wanted.map(orphanBody), query, ['tenant', 'node']), nodesMissing }
      },
      { query: listQuery },
    )
    .get(
      '/:node/:name/:file',
      async ({ params, request }) => {
        if (!isOrphanName(params.name)) throw refused('not_found')
        const body = await orphans.read(params.node as NodeId, params.name, params.file, auth.actorOf(request))
        return new Response(body, { headers: { 'content-type': 'application/octet-stream' } })
      },
      { params: t.Object({ node: t.String(), name: t.String(), file }) },
    )
    .delete('/:node/:name', async ({ params, request, status }) => {
      if (!isOrphanName(params.name)) throw refused('not_found')
      await orphans.remove(params.node as NodeId, params.name, auth.actorOf(request))
      return status(204, undefined)
    })
