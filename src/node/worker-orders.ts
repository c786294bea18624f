// What the control plane orders a worker to do with a tenant. Each order may come again after a lost reply.

import type { OrderReplies } from '../ipc/messages/cp-node.ts'
import { unreachable } from '../lib/assert.ts'
import { firstEpoch, type TenantId } from '../lib/brand.ts'
import { OverloadedError } from '../lib/errors.ts'
import { Mutex } from '../lib/mutex.ts'
import { createInstallerPath } from './engine/auth/superusers.ts'
import type { Engine } from './engine/engine.ts'
import { createTenant, putSuperuser } from './tenants/create-tenant.ts'
import type { JobDesk } from './tenants/job-desk.ts'
import { readFacts, writeIdentity } from './tenants/manifest.ts'
import type { MeterBook } from './tenants/meter-book.ts'
import type { TenantDeps } from './tenants/open-tenant.ts'
import { withRequestedAck } from './tenants/output-gate.ts'
import type { TenantPool } from './tenants/pool.ts'
import { TailNotShippedError } from './tenants/tenant-errors.ts'
import type { WorkerOrder, WorkerReplies } from './worker-protocol.ts'

type Order<T extends WorkerOrder['type']> = Extract<WorkerOrder, { readonly type: T }>

/** Orders for one tenant that may wait for each other. */
const waitingMax = 100
/** How long requests under way may keep a tenant that is to yield, and others of it wait for them, ms. */
const yieldWaitMsMax = 2_000

export class OrderDesk {
  readonly #pool: TenantPool
  readonly #jobs: JobDesk
  readonly #meters: MeterBook
  readonly #deps: TenantDeps
  readonly #onYielded: (id: TenantId) => Promise<WorkerReplies['tenant.yield']>
  /** Orders of one tenant follow one another. */
  readonly #turns = new Map<TenantId, Mutex>()

  /** @param onYielded the tenant is closed, for another worker; resolves once it is known there, or nobody wants it. */
  constructor(
    pool: TenantPool,
    jobs: JobDesk,
    meters: MeterBook,
    deps: TenantDeps,
    onYielded: (id: TenantId) => Promise<WorkerReplies['tenant.yield']>,
  ) {
    this.#pool = pool
    this.#jobs = jobs
    this.#meters = meters
    this.#deps = deps
    this.#onYielded = onYielded
  }

  /** Rejects with what the work threw; the reply to a lost reply is the same again. */
  async carryOut(order: WorkerOrder): Promise<WorkerReplies[WorkerOrder['type']]> {
    if (order.type === 'job.run') return this.#jobs.look(order) // answered at once, so it need not wait for its turn
    if (order.type === 'job.stop') {
      this.#jobs.stop(order.jobId)
      return { stopped: true }
    }
    if (order.type === 'tenant.meter')
      return { sinceMs: this.#meters.sinceMs, reading: this.#meters.readingOf(order.tenantId) }
    const id = 'tenant' in order ? order.tenant.id : order.tenantId
    let turn = this.#turns.get(id)
    if (turn === undefined) this.#turns.set(id, (turn = new Mutex(waitingMax)))
    try {
      return await turn.run(() => this.#do(order))
    } finally {
      if (!turn.isHeld) this.#turns.delete(id)
    }
  }

  async #do(
    order: Exclude<WorkerOrder, { readonly type: 'job.run' | 'job.stop' | 'tenant.meter' }>,
  ): Promise<WorkerReplies[WorkerOrder['type']]> {
    switch (order.type) {
      case 'tenant.create':
        return this.#create(order)
      case 'tenant.update':
        return this.#update(order)
      case 'tenant.release':
        return this.#release(order)
      case 'tenant.yield':
        // One that waits for its turn here would begin when another worker has the tenant, and has carried it out too.
        if (this.#jobs.has(order.tenantId)) throw new OverloadedError(`a job of tenant ${order.tenantId} is under way`)
        // Opening asks the store: while that fails, the tenant goes on here, where its databases are open.
        await readFacts(this.#depsOf(order.tenantId), order.tenantId)
        await this.#pool.peek(order.tenantId)?.flush()
        // Nobody is cut off for the sake of neighbours: a request that takes long keeps its tenant here.
        return this.#pool.exclusively(order.tenantId, () => this.#onYielded(order.tenantId), {
          waitMsMax: yieldWaitMsMax,
        })
      case 'tenant.open':
        await this.#pool.use(order.tenantId, order.epoch, () => {})
        return { opened: true }
      case 'superuser.upsert':
        return this.#pool.use(order.tenantId, this.#epochMin(order.tenantId), async ({ engine }) => {
          const created = await putSuperuser(engine, order)
          await durable(engine)
          return { created }
        })
      default:
        return unreachable(order)
    }
  }

  /** What a crash or an outage kept from the store is shipped when the tenant opens; until then it stays here. */
  async #release({ tenantId, epoch }: Order<'tenant.release'>): Promise<OrderReplies['tenant.release']> {
    const { files } = this.#deps
    const isKept = () => files.mayHoldMore(tenantId)
    const refusal = () =>
      new TailNotShippedError(`tenant ${tenantId} has commits here that the object store does not have`)
    if (this.#pool.peek(tenantId) === null && isKept()) throw refusal()
    await this.#pool.release(tenantId, epoch)
    if (!isKept()) return { released: true }
    this.#pool.keep(tenantId, epoch)
    throw refusal()
  }

  async #create({ tenant, placement, superuser }: Order<'tenant.create'>): Promise<OrderReplies['tenant.create']> {
    if (this.#pool.peek(tenant.id) === null) {
      const made = await this.#pool.whileClosed(tenant.id, async () => {
        const created = await createTenant(tenant, placement, superuser, this.#depsOf(tenant.id))
        if (!created.existed) await this.#deps.files.markClean(tenant.id) // closed, and its slots 1 are all of it
        return created
      })
      if (made !== null && !made.existed) return { created: true, setupPath: made.setupPath }
    }
    // An earlier attempt got this far: its reply was lost, or it stopped before the superuser was made.
    return this.#pool.use(tenant.id, placement.epoch, async ({ engine }) => {
      if (superuser !== null) await putSuperuser(engine, superuser)
      const setupPath = superuser === null ? await createInstallerPath(engine) : null
      await durable(engine)
      return { created: true, setupPath }
    })
  }

  async #update({ tenant, placement }: Order<'tenant.update'>): Promise<OrderReplies['tenant.update']> {
    const open = this.#pool.peek(tenant.id)
    const isActive = tenant.status === 'active' || tenant.status === 'created'
    if (open === null) await writeIdentity(this.#depsOf(tenant.id), { tenant, updatedAtMs: this.#deps.clock.now() })
    else {
      await open.update(tenant, placement)
      // Closed, it opens again under the new epoch, or not at all while it is suspended.
      if (!isActive || open.placement.epoch < placement.epoch) await this.#pool.closeNow(tenant.id)
    }
    return { ok: true }
  }

  /** What is done for a tenant is counted as its own. */
  #depsOf(id: TenantId): TenantDeps {
    return { ...this.#deps, store: this.#meters.storeOf(id) }
  }

  #epochMin(id: TenantId) {
    return this.#pool.peek(id)?.placement.epoch ?? firstEpoch
  }
}

/** What an order did must survive this node, whatever the tenant's own mode. */
async function durable(engine: Engine): Promise<void> {
  await withRequestedAck('sync', () => engine.gate.pass())
}
