// What a tenant costs at the object store: what lies there now, and what was asked of it through all nodes that answer.

import type { UsageReport } from '../../ipc/messages/jobs.ts'
import type { NodeId, TenantId } from '../../lib/brand.ts'
import { errorMessage } from '../../lib/errors.ts'
import { addReadings, type MeterReading, noReading } from '../../lib/object-store/metered.ts'
import type { Logger } from '../../lib/obs/log.ts'
import { err, ok, type Result } from '../../lib/result.ts'
import type { StateReader } from '../state/state.ts'
import type { NodeService } from './nodes.ts'
import type { Orders } from './orders.ts'
import { costOf, type PriceTable, type TenantCost } from './prices.ts'
import type { TenantRefusal } from './refusals.ts'
import { findTenant } from './routing/table.ts'
import type { TimeTravel } from './time-travel.ts'

export interface CostReport {
  readonly tenantId: TenantId
  readonly usage: UsageReport
  readonly reading: MeterReading
  /** When the first of the nodes began to count; null: none has. */
  readonly sinceMs: number | null
  /** Nodes that could not be asked: what went through them is missing. */
  readonly nodesMissing: readonly NodeId[]
  readonly cost: TenantCost
  readonly prices: PriceTable
}

export interface CostDeps {
  readonly state: StateReader
  readonly nodes: Pick<NodeService, 'stateOf' | 'list'>
  readonly orders: Orders
  readonly timeTravel: TimeTravel
  readonly prices: PriceTable
  readonly log: Logger
}

/** A node answers this from memory. */
const meterMs = 3_000

export class CostService {
  readonly #deps: CostDeps

  constructor(deps: CostDeps) {
    this.#deps = deps
  }

  /** Rejects when no node lists the tenant's objects in time. */
  async of(reference: string): Promise<Result<CostReport, TenantRefusal>> {
    const { state, nodes, timeTravel, prices } = this.#deps
    const tenant = findTenant(state, reference)
    if (tenant === undefined) return err('not_found')
    const all = nodes.list()
    const [usage, ...parts] = await Promise.all([
      timeTravel.usage(tenant.id),
      ...all.map(({ row }) => this.#meterOf(row.id, tenant.id)),
    ])
    let reading = noReading
    let sinceMs: number | null = null
    for (const part of parts) {
      if (part === null) continue
      reading = addReadings(reading, part.reading)
      sinceMs = Math.min(sinceMs ?? part.sinceMs, part.sinceMs)
    }
    const nodesMissing = all.filter((_, at) => parts[at] === null).map(({ row }) => row.id)
    const cost = costOf(prices, usage, reading)
    return ok({ tenantId: tenant.id, usage, reading, sinceMs, nodesMissing, cost, prices })
  }

  async #meterOf(
    nodeId: NodeId,
    tenantId: TenantId,
  ): Promise<{ readonly sinceMs: number; readonly reading: MeterReading } | null> {
    const { nodes, orders, log } = this.#deps
    if (nodes.stateOf(nodeId) === 'down') return null
    try {
      return await orders.give<'tenant.meter'>(nodeId, { type: 'tenant.meter', tenantId }, meterMs)
    } catch (error) {
      log.warn('node did not tell its meter', { node: nodeId, error: errorMessage(error) })
      return null
    }
  }
}
