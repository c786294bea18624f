// A node's side of its conversation with the control plane: registers, sends heartbeats, asks for placements. Its own
// loss never stops a tenant that is open.

import { type ControlPlaneClient, openControlPlaneClient } from '../ipc/control-plane-client.ts'
import { nodeConversation } from '../ipc/conversation.ts'
import type { ClusterSecrets } from '../ipc/keys.ts'
import type { AwayTenant, NodeLoad, NodeReplies, NodeRequest, WorkerAddress } from '../ipc/messages/cp-node.ts'
import type { Messaging } from '../ipc/zmq/messaging.ts'
import type { Epoch, NodeId, TenantId } from '../lib/brand.ts'
import { type Clock, sleep } from '../lib/clock.ts'
import type { Logger } from '../lib/obs/log.ts'
import type { Rng } from '../lib/rng.ts'

export interface NodeFacts {
  readonly nodeId: NodeId
  /** Random per process start. */
  readonly incarnation: string
  readonly ipcAddress: string
  readonly tenantsMax: number
  readonly version: string
  readonly featureLevel: number
  readonly region: string
  readonly zone: string
  readonly labels: Readonly<Record<string, string>>
}

export interface ControlLinkDeps {
  readonly messaging: Messaging
  readonly secrets: ClusterSecrets
  readonly addresses: readonly string[]
  readonly clock: Clock
  readonly rng: Rng
  readonly log: Logger
  readonly workers: () => readonly WorkerAddress[]
  readonly load: () => NodeLoad
  readonly away: () => readonly AwayTenant[]
  /** It came or went. */
  readonly onLease: () => void
}

/** Until the control plane says otherwise. */
const heartbeatMsDefault = 500
/** A heartbeat that is not answered by then counts as lost. */
const heartbeatDeadlineMs = 2_000
const registerDeadlineMs = 5_000
const placementDeadlineMs = 5_000
const fencedDeadlineMs = 30_000

export class ControlLink {
  readonly #facts: NodeFacts
  readonly #deps: ControlLinkDeps
  readonly #client: ControlPlaneClient<NodeRequest, NodeReplies>
  readonly #closing = new AbortController()
  readonly #running: Promise<void>
  #isHurried = false
  /** Who waits for the control plane to hear what is so now. */
  readonly #untold = new Set<() => void>()
  #wake: () => void = () => {}
  #heartbeatMs = heartbeatMsDefault
  #leaseEndsAtMs = Number.NEGATIVE_INFINITY
  #isRegistered = false
  #draining = false

  constructor(facts: NodeFacts, deps: ControlLinkDeps) {
    this.#facts = facts
    this.#deps = deps
    this.#client = openControlPlaneClient({
      messaging: deps.messaging,
      conversation: nodeConversation,
      secrets: deps.secrets,
      addresses: deps.addresses,
      clock: deps.clock,
      rng: deps.rng,
      log: deps.log,
    })
    this.#running = this.#run()
  }

  get isRegistered(): boolean {
    return this.#isRegistered
  }

  /** By the monotonic clock of this machine; 0 without a lease. It makes writes safe only where epochs have paths. */
  get leaseMsLeft(): number {
    return Math.max(0, this.#leaseEndsAtMs - this.#deps.clock.monotonic())
  }

  get isDraining(): boolean {
    return this.#draining
  }

  /** From the next heartbeat on the control plane places nothing here and moves what is here. */
  drain(): void {
    this.#draining = true
    this.hurry()
  }

  /** Something in the heartbeat changed that others wait for, such as a worker's address. */
  hurry(): void {
    this.#isHurried = true
    this.#wake()
  }

  /** Whether the control plane has heard of what is so at the time of the call, within `timeoutMs`. */
  heard(timeoutMs: number): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>()
    const settle = (isHeard: boolean) => {
      cancel()
      this.#untold.delete(tell)
      resolve(isHeard)
    }
    const tell = () => settle(true)
    const cancel = this.#deps.clock.setTimer(timeoutMs, () => settle(false))
    this.#untold.add(tell)
    this.hurry()
    return promise
  }

  placement(tenantId: TenantId): Promise<NodeReplies['placement.get']> {
    const { nodeId } = this.#facts
    const { signal } = this.#closing
    return this.#client.request(
      { type: 'placement.get', nodeId, tenantId },
      { deadlineMs: placementDeadlineMs, idempotent: true, signal },
    )
  }

  /** Whether the copy counts: false when another owner came meanwhile. */
  async replicaMoved(tenantId: TenantId, epoch: Epoch): Promise<boolean> {
    const { nodeId } = this.#facts
    const { signal } = this.#closing
    const { counts } = await this.#client.request(
      { type: 'replica.moved', nodeId, tenantId, epoch },
      { deadlineMs: placementDeadlineMs, idempotent: true, signal },
    )
    return counts
  }

  fenced(
    tenantId: TenantId,
    epochs: { readonly epoch: Epoch; readonly seenEpoch: Epoch },
  ): Promise<{ readonly ok: true }> {
    const { nodeId } = this.#facts
    const { signal } = this.#closing
    return this.#client.request(
      { type: 'placement.fenced', nodeId, tenantId, ...epochs },
      { deadlineMs: fencedDeadlineMs, idempotent: true, signal },
    )
  }

  sealed(tenantId: TenantId, epoch: Epoch): Promise<{ readonly ok: true }> {
    const { nodeId } = this.#facts
    const { signal } = this.#closing
    return this.#client.request(
      { type: 'placement.sealed', nodeId, tenantId, epoch },
      { deadlineMs: placementDeadlineMs, idempotent: true, signal },
    )
  }

  async close(): Promise<void> {
    this.#closing.abort(new DOMException('the node is closing', 'AbortError'))
    this.#client.close()
    await this.#running
  }

  async #run(): Promise<void> {
    const { clock, log, onLease } = this.#deps
    const { signal } = this.#closing
    let isLost = false
    let hadLease = false
    while (!signal.aborted) {
      try {
        if (!this.#isRegistered) await this.#register()
        await this.#beat()
        if (isLost) log.info('control plane answers again')
        isLost = false
      } catch (error) {
        if (signal.aborted) return
        // Tenants that are open go on; new ones open by the placements kept on disk.
        if (!isLost) log.warn('control plane does not answer', { error })
        isLost = true
      }
      const hasLease = this.leaseMsLeft > 0
      if (hasLease !== hadLease) onLease()
      hadLease = hasLease
      await this.#pause(clock, signal)
    }
  }

  async #register(): Promise<void> {
    const { clock, workers, log } = this.#deps
    const sentAtMs = clock.monotonic()
    const reply = await this.#client.request(
      { type: 'node.register', ...this.#facts, workers: workers() },
      { deadlineMs: registerDeadlineMs, idempotent: true, signal: this.#closing.signal },
    )
    this.#heartbeatMs = Math.max(50, reply.heartbeatMs) // a bad answer must not make us a flood
    this.#leaseEndsAtMs = sentAtMs + reply.leaseMs // counted from before the request left, so never longer than granted
    this.#isRegistered = true
    log.info('node registered', { heartbeatMs: reply.heartbeatMs, leaseMs: reply.leaseMs })
  }

  async #beat(): Promise<void> {
    const { clock, workers, load, away } = this.#deps
    const { nodeId, incarnation } = this.#facts
    const sentAtMs = clock.monotonic()
    const toldNow = [...this.#untold]
    const reply = await this.#client.request(
      {
        type: 'node.heartbeat',
        nodeId,
        incarnation,
        workers: workers(),
        load: load(),
        draining: this.#draining,
        away: away(),
      },
      { deadlineMs: heartbeatDeadlineMs, idempotent: true, signal: this.#closing.signal },
    )
    if (reply.known) {
      this.#leaseEndsAtMs = sentAtMs + reply.leaseMs
      for (const tell of toldNow) tell()
    } else {
      this.#isRegistered = false // another leader, or we were declared down: tell who we are, at once
      this.hurry()
    }
  }

  /** Until the next heartbeat is due, or somebody cannot wait for it. */
  async #pause(clock: Clock, signal: AbortSignal): Promise<void> {
    const awake = Promise.withResolvers<void>()
    this.#wake = awake.resolve
    if (signal.aborted || this.#isHurried) awake.resolve()
    const over = new AbortController()
    const asleep = sleep(clock, this.#heartbeatMs, AbortSignal.any([over.signal, signal])).catch(() => {})
    await Promise.race([asleep, awake.promise]) // aborted: the loop sees the signal
    this.#isHurried = false
    over.abort()
  }
}
