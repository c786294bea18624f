// How an owner that lives gives a tenant up: the change goes into the log, the owner ships everything and lets go, the next
// placement goes into the log. The owner keeps closed what it let go, so a member that dies in between must go on after its
// restart; every step may be repeated.

import { PeerUnreachableError } from '../../../ipc/errors.ts'
import type { Clock } from '../../../lib/clock.ts'
import { errorMessage } from '../../../lib/errors.ts'
import type { Logger } from '../../../lib/obs/log.ts'
import type { Result } from '../../../lib/result.ts'
import type { RejectReason } from '../../state/command.ts'
import { type PlacementRow, standbysOf } from '../../state/placements.ts'
import type { PlannedChange } from '../../state/planned-changes.ts'
import type { StateReader } from '../../state/state.ts'
import { isTailKept, NodeOrderError } from '../orders.ts'
import type { Propose } from '../proposer.ts'
import type { TenantOrders } from '../tenant-orders.ts'
import type { Transit } from './transit.ts'

export interface PlannedChangesDeps {
  readonly state: StateReader
  readonly propose: Propose
  readonly tenantOrders: Pick<TenantOrders, 'release'>
  readonly transit: Transit
  readonly clock: Clock
  readonly log: Logger
}

export class PlannedChanges {
  readonly #deps: PlannedChangesDeps

  constructor(deps: PlannedChangesDeps) {
    this.#deps = deps
  }

  /** Gateways hold the tenant's requests meanwhile. Throws OverloadedError when it is moving already, NodeOrderError. */
  begin(from: PlacementRow, change: PlannedChange): Promise<Result<null, RejectReason>> {
    const { transit, propose } = this.#deps
    return transit.whileMoving(from.tenantId, async () => {
      const planned = await propose({ type: 'change.begin', change })
      return planned.ok ? this.#carryOut(from, change, { isResumed: false }) : planned
    })
  }

  /** Whether a change of this placement was begun and did not get through to its end. */
  isBegun({ tenantId, epoch }: PlacementRow): boolean {
    return this.#deps.state.plannedChanges.get(tenantId)?.epoch === epoch
  }

  /** Goes on with it. */
  async resume(from: PlacementRow): Promise<void> {
    const { state, transit, log } = this.#deps
    const change = state.plannedChanges.get(from.tenantId)
    if (change === undefined || change.epoch !== from.epoch || transit.isBusy(from.tenantId)) return
    log.info('change of owner goes on', { tenant: from.tenantId, from: from.nodeId, to: change.nodeId })
    await transit.whileMoving(from.tenantId, () => this.#carryOut(from, change, { isResumed: true }))
  }

  async #carryOut(
    from: PlacementRow,
    change: PlannedChange,
    { isResumed }: { readonly isResumed: boolean },
  ): Promise<Result<null, RejectReason>> {
    const { propose, tenantOrders, clock, log } = this.#deps
    const { tenantId: id, epoch, nodeId, worker, standbys, forget, audit } = change
    const startedMs = clock.monotonic()
    let [mustStay, isShipped] = [true, false]
    try {
      await tenantOrders.release(from)
      isShipped = true
      const place = { nodeId, worker, expected: epoch, seen: epoch, standbys, forget } as const
      const outcome = await propose({ type: 'tenant.place', id, ...place }, audit)
      if (outcome.ok) {
        mustStay = false
        log.info('tenant moved', { tenant: id, from: from.nodeId, to: nodeId, ms: clock.monotonic() - startedMs })
      }
      return outcome
    } catch (error) {
      if (isTailKept(error) || (!isResumed && isUnheard(error))) {
        mustStay = false
        await this.#callOff(change)
        // Before the restart it may have heard: it is asked again, or counts as down.
      } else if (isResumed && isUnheard(error)) mustStay = false
      throw error
    } finally {
      if (mustStay) await this.#stayAt(from, isShipped && forget)
    }
  }

  /** The owner surely has the tenant as before. */
  async #callOff({ tenantId, epoch }: PlannedChange): Promise<void> {
    try {
      await this.#deps.propose({ type: 'change.end', id: tenantId, epoch })
    } catch (error) {
      // Then it is tried once more.
      this.#deps.log.warn('change of owner was not called off', { tenant: tenantId, error: errorMessage(error) })
    }
  }

  /** The old node may have let go, and keeps closed what it let go under its epoch: under the next one it serves it again. */
  async #stayAt(from: PlacementRow, forget: boolean): Promise<void> {
    const { state, propose, log } = this.#deps
    const { tenantId: id, nodeId, worker, epoch } = from
    const standbys = standbysOf(from).filter((each) => state.nodes.get(each) !== undefined)
    const place = { nodeId, worker, expected: epoch, seen: epoch, standbys, forget }
    try {
      const outcome = await propose({ type: 'tenant.place', id, ...place })
      if (outcome.ok) log.warn('tenant stays where it is', { tenant: id, node: nodeId })
      // Somebody else has placed or deleted it meanwhile: then there is nothing to mend.
      else log.info('tenant does not stay where it is', { tenant: id, node: nodeId, reason: outcome.error })
    } catch (error) {
      log.error('tenant may be closed where it is', { tenant: id, node: nodeId, error: errorMessage(error) })
    }
  }
}

/** Whether a node surely never heard an order. */
function isUnheard(error: unknown): boolean {
  return (
    error instanceof NodeOrderError && error.cause instanceof PeerUnreachableError && error.cause.delivered === 'no'
  )
}
