// `/api/cp/nodes`: the tenant nodes, as they are stored and as they report.

import { Elysia } from 'elysia'
import type { NodeId } from '../../lib/brand.ts'
import type { NodeService, NodeView } from '../services/nodes.ts'
import type { AdminAuth } from './admin-auth.ts'
import { refused } from './error-map.ts'
import { listQuery, pageOf } from './lists.ts'
import { pocketBaseTime } from './tenants.ts'

function nodeBody({ row, state, draining, workers, away, load, tenantsPlaced }: NodeView) {
  const { id, ipcAddress, region, zone, labels, tenantsMax, version, featureLevel } = row
  return {
    id,
    state: draining && state !== 'down' ? 'draining' : state,
    draining,
    tenants: tenantsPlaced,
    tenantsMax,
    region,
    zone,
    labels,
    version,
    featureLevel,
    ipcAddress,
    workers,
    away,
    load,
    created: pocketBaseTime(row.createdAtMs),
  }
}

export const nodeRoutes = (nodes: NodeService, auth: AdminAuth) =>
  new Elysia({ prefix: '/api/cp/nodes' })
    .get('/', ({ query }) => pageOf(nodes.list().map(nodeBody), query, ['id', 'region', 'zone']), { query: listQuery })
    .get('/:id', ({ params }) => {
      const view = nodes.view(params.id as NodeId)
      if (view === null) throw refused('node_not_found')
      return nodeBody(view)
    })
    .post('/:id/drain', async ({ params, request, status }) => {
      const drained = await nodes.drain(params.id as NodeId, auth.actorOf(request))
      if (!drained.ok) throw refused(drained.error)
      return status(202, nodeBody(nodes.view(params.id as NodeId)!))
    })
    .delete('/:id', async ({ params, request, status }) => {
      const removed = await nodes.remove(params.id as NodeId, auth.actorOf(request))
      if (!removed.ok) throw refused(removed.error)
      return status(204, undefined)
    })
