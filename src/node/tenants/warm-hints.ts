// An owner's end of a warm copy: tells the node that keeps it what was shipped, a few times a second at most. Only hints: one
// that is lost leaves the copy behind until the next, and a takeover adds what it lacks.

import type { FollowedDatabase } from '../../ipc/messages/standby.ts'
import type { Placement } from '../../ipc/messages/tenant.ts'
import { type Clock, sleep } from '../../lib/clock.ts'
import { errorMessage } from '../../lib/errors.ts'
import type { Logger } from '../../lib/obs/log.ts'
import type { StandbyClients } from './standby-clients.ts'
import { databaseNames } from './tenant-files.ts'

/** Between two hints, ms: each makes the copy ask the store for a slot. */
const hintEveryMs = 250

export class WarmHints {
  readonly #clients: Pick<StandbyClients, 'hint'>
  readonly #clock: Clock
  readonly #log: Logger
  readonly #behind = new Set<FollowedDatabase>()
  #placement: Placement
  #isTelling = false
  #hasFailed = false

  constructor(placement: Placement, clients: Pick<StandbyClients, 'hint'>, clock: Clock, log: Logger) {
    this.#placement = placement
    this.#clients = clients
    this.#clock = clock
    this.#log = log
  }

  /** A database was shipped, or sealed. */
  shipped(...names: readonly FollowedDatabase[]): void {
    if (this.#placement.warm === undefined) return
    for (const name of names) this.#behind.add(name)
    if (!this.#isTelling) void this.#tell()
  }

  /** The copy may be kept elsewhere from now on, where it begins with nothing. */
  moveTo(placement: Placement): void {
    const before = this.#placement.warm
    this.#placement = placement
    if (!Bun.deepEquals(before, placement.warm)) this.shipped(...databaseNames)
  }

  /** Never rejects. Ends when there is nothing to tell, so that a tenant at rest has no timer. */
  async #tell(): Promise<void> {
    this.#isTelling = true
    while (this.#behind.size > 0) {
      const { warm, tenantId } = this.#placement
      const names = [...this.#behind]
      this.#behind.clear()
      if (warm === undefined) break
      try {
        await this.#clients.hint(warm, this.#placement, names)
        this.#hasFailed = false
      } catch (error) {
        if (!this.#hasFailed)
          this.#log.warn('warm copy could not be told', {
            tenant: tenantId,
            node: warm.nodeId,
            error: errorMessage(error),
          })
        this.#hasFailed = true
      }
      await sleep(this.#clock, hintEveryMs)
    }
    this.#isTelling = false
  }
}
