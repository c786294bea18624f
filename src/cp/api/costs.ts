// `/api/cp/tenants/{id}/cost`.

import { Elysia } from 'elysia'
import type { CostReport, CostService } from '../services/costs.ts'
import { refused } from './error-map.ts'
import { pocketBaseTime } from './tenants.ts'

function costBody({ tenantId, usage, reading, sinceMs, nodesMissing, cost, prices }: CostReport) {
  const { calls, failures, bytesSent, bytesReceived } = reading
  return {
    tenant: tenantId,
    measured: pocketBaseTime(usage.atMs),
    stored: usage.stored,
    requests: {
      since: sinceMs === null ? null : pocketBaseTime(sinceMs),
      calls,
      failures,
      bytesSent,
      bytesReceived,
      nodesMissing,
    },
    cost: { currency: prices.currency, ...cost },
    prices,
  }
}

export const costRoutes = (costs: CostService) =>
  new Elysia({ prefix: '/api/cp/tenants' }).get('/:id/cost', async ({ params }) => {
    const found = await costs.of(params.id)
    if (!found.ok) throw refused(found.error)
    return costBody(found.value)
  })
