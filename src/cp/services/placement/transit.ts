// Tenants between two owners. While one is moving, gateways hold its requests; while it is being copied it is still served
// where it is. Only in memory: after a crash of this process nobody moves.

import type { TenantId } from '../../../lib/brand.ts'
import { OverloadedError } from '../../../lib/errors.ts'

export class Transit {
  readonly #moving = new Set<TenantId>()
  /** About to move, and still served where they are. */
  readonly #copying = new Set<TenantId>()
  readonly #onRouteChange: (id: TenantId) => void

  /** @param onRouteChange called when a tenant begins or ends to move, beside the changes of its row. */
  constructor(onRouteChange: (id: TenantId) => void) {
    this.#onRouteChange = onRouteChange
  }

  isMoving(id: TenantId): boolean {
    return this.#moving.has(id)
  }

  isBusy(id: TenantId): boolean {
    return this.#moving.has(id) || this.#copying.has(id)
  }

  /** Throws OverloadedError when the tenant is moving already. */
  async whileMoving<T>(id: TenantId, work: () => Promise<T>): Promise<T> {
    if (this.#moving.has(id)) throw new OverloadedError(`tenant ${id} is moving already`)
    this.#moving.add(id)
    this.#onRouteChange(id)
    try {
      return await work()
    } finally {
      this.#moving.delete(id)
      this.#onRouteChange(id)
    }
  }

  /** Throws OverloadedError when the tenant is moving or being copied already. */
  async whileCopying<T>(id: TenantId, work: () => Promise<T>): Promise<T> {
    if (this.isBusy(id)) throw new OverloadedError(`tenant ${id} is moving already`)
    this.#copying.add(id)
    try {
      return await work()
    } finally {
      this.#copying.delete(id)
    }
  }
}
