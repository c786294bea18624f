// Health, status, metrics, and the directory that nodes and gateways find this member by.

import { Elysia } from 'elysia'
import type { ClusterSecrets } from '../../ipc/keys.ts'
import { type Directory, directoryPath, peerHeaderName, verifyPeerHeader } from '../../ipc/messages/directory.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Metrics } from '../../lib/obs/metrics.ts'
import type { RaftDriver } from '../raft/driver.ts'
import type { NodeService } from '../services/nodes.ts'
import type { Outcome } from '../state/apply.ts'
import type { StateReader } from '../state/state.ts'
import type { AdminAuth } from './admin-auth.ts'
import { errorResponse } from './error-map.ts'

export interface OperationsDeps {
  readonly driver: RaftDriver<Outcome | null>
  readonly state: StateReader
  readonly nodes: NodeService
  readonly auth: AdminAuth
  readonly metrics: Metrics
  readonly secrets: ClusterSecrets
  readonly clock: Clock
  readonly directory: () => Directory
}

export const operationRoutes = (deps: OperationsDeps) => {
  const { driver, state, nodes, auth, metrics, secrets, clock } = deps
  const ready = () =>
    driver.isReady
      ? { status: 200, message: 'The control plane is ready.', data: {} }
      : errorResponse(503, 'The control plane is not ready.')
  return new Elysia()
    .get('/health/live', () => ({ status: 200, message: 'The process is alive.', data: {} }))
    .get('/health/ready', ready)
    .get('/api/health', ready)
    .get('/api/cp/health', ({ request }) => {
      if (auth.adminOf(request) === null) return ready()
      const byState: Record<string, number> = {}
      for (const node of nodes.list()) byState[node.state] = (byState[node.state] ?? 0) + 1
      const { id, role, term, leader } = driver.status
      const data = { id, role, term, leader, nodes: byState, tenants: state.tenants.count }
      const isReady = driver.isReady
      const message = isReady ? 'The control plane is ready.' : 'The control plane is not ready.'
      return Response.json({ status: isReady ? 200 : 503, message, data }, { status: isReady ? 200 : 503 })
    })
    .get('/api/cp/raft/status', () => driver.status)
    .get(
      '/metrics',
      async () => new Response(await metrics.render(), { headers: { 'content-type': metrics.contentType } }),
    )
    .get(directoryPath, ({ request }) => {
      const header = request.headers.get(peerHeaderName)
      if (header === null || verifyPeerHeader(secrets, header, clock.now()) === null)
        return errorResponse(401, 'The request requires a valid peer header.')
      return Response.json(deps.directory())
    })
}
