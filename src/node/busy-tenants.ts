// Which tenants are busy for long, so that they move to a worker of their own kind, and which have become calm, so that they
// move back. Pure: readings and the time come in, shifts come out.
//
// A worker knows the time of its thread exactly and that of each tenant roughly. So a tenant's share is the thread's time,
// garbage collection and shipping included, split in proportion to what was counted for each. Time that the thread waited
// for a core counts too: who always has work is busy, however little of it a crowded machine lets him do.

import type { TenantId } from '../lib/brand.ts'

/** What one worker used since its start; all counters grow. */
export interface WorkerReading {
  readonly worker: number
  /** One for busy tenants. */
  readonly isForBusy: boolean
  readonly threadMs: number
  readonly tenantsOpen: number
  /** Those that used most lately, since they were opened, ms of the thread as far as it is counted. */
  readonly tenants: readonly TenantUse[]
}

export interface TenantUse {
  readonly tenantId: TenantId
  readonly usedMs: number
}

export interface BusyLimits {
  /** Who takes this part of a thread beside others for {@link busyMs} moves. */
  readonly busyShare: number
  readonly busyMs: number
  /** Who takes less than this for {@link calmMs} moves back: far below the other bound, or it would come straight back. */
  readonly calmShare: number
  readonly calmMs: number
  /** After a shift, also one that failed, a tenant stays for so long at least, ms. */
  readonly restMs: number
  /** Busy tenants that may be away at once: beyond them the worker would only be another crowded one. */
  readonly awayMax: number
}

export const defaultBusyLimits: BusyLimits = {
  busyShare: 0.3,
  busyMs: 3_000,
  calmShare: 0.05,
  calmMs: 30_000,
  restMs: 15_000,
  awayMax: 16,
}

export interface Shift {
  readonly tenantId: TenantId
  readonly to: 'busy' | 'ordinary'
}

/**
 * What was counted for tenants stands for at least this part of the thread's time: the rest of a worker that is busy with
 * other things, such as the tail of a tenant that has gone, must not fall on whoever sent one request meanwhile.
 */
const leastCountedPart = 0.2

interface Account {
  /** Since when it has been busy without a break, or calm; null: it is not. */
  busySinceMs: number | null
  calmSinceMs: number | null
  restsUntilMs: number
}

export class BusyTenants {
  readonly #limits: BusyLimits
  readonly #accounts = new Map<TenantId, Account>()
  #last: { readonly atMs: number; readonly readings: ReadonlyMap<number, WorkerReading> } | null = null

  constructor(limits: BusyLimits) {
    this.#limits = limits
  }

  /**
   * One look; call it about once a second.
   *
   * @param away who is on a worker for busy tenants now.
   * @returns what should move, the most urgent first; nothing changes until {@link shifted} is told.
   */
  look(nowMs: number, readings: readonly WorkerReading[], away: ReadonlySet<TenantId>): Shift[] {
    const last = this.#last
    this.#last = { atMs: nowMs, readings: new Map(readings.map((reading) => [reading.worker, reading])) }
    if (last === null || nowMs <= last.atMs) return []
    const shares = new Map<TenantId, number>()
    const crowded = new Set<TenantId>()
    for (const reading of readings) {
      const before = last.readings.get(reading.worker)
      if (before === undefined) continue
      for (const [id, share] of sharesOf(before, reading, nowMs - last.atMs)) {
        shares.set(id, share)
        if (!reading.isForBusy && reading.tenantsOpen > 1) crowded.add(id)
      }
    }
    for (const [id, { restsUntilMs }] of this.#accounts)
      if (!shares.has(id) && !away.has(id) && nowMs >= restsUntilMs) this.#accounts.delete(id)
    for (const id of new Set([...shares.keys(), ...away])) this.#judge(id, shares.get(id) ?? 0, nowMs)
    const back = [...away].filter((id) => this.#isReady(id, 'calmSinceMs', this.#limits.calmMs, nowMs))
    const room = Math.max(0, this.#limits.awayMax - away.size + back.length)
    const leaving = [...crowded]
      .filter((id) => !away.has(id) && this.#isReady(id, 'busySinceMs', this.#limits.busyMs, nowMs))
      .sort((a, b) => shares.get(b)! - shares.get(a)!)
      .slice(0, room)
    return [
      ...back.map((tenantId) => ({ tenantId, to: 'ordinary' }) as const),
      ...leaving.map((tenantId) => ({ tenantId, to: 'busy' }) as const),
    ]
  }

  /** A shift has ended, well or not. */
  shifted(id: TenantId, nowMs: number): void {
    const restsUntilMs = nowMs + this.#limits.restMs
    this.#accounts.set(id, { busySinceMs: null, calmSinceMs: null, restsUntilMs })
  }

  #judge(id: TenantId, share: number, nowMs: number): void {
    const { busyShare, calmShare } = this.#limits
    const known = this.#accounts.get(id)
    const isBusy = share >= busyShare
    const isCalm = share < calmShare
    this.#accounts.set(id, {
      busySinceMs: isBusy ? (known?.busySinceMs ?? nowMs) : null,
      calmSinceMs: isCalm ? (known?.calmSinceMs ?? nowMs) : null,
      restsUntilMs: known?.restsUntilMs ?? Number.NEGATIVE_INFINITY,
    })
  }

  #isReady(id: TenantId, since: 'busySinceMs' | 'calmSinceMs', durationMs: number, nowMs: number): boolean {
    const account = this.#accounts.get(id)
    const sinceMs = account?.[since] ?? null
    return sinceMs !== null && nowMs - sinceMs >= durationMs && nowMs >= account!.restsUntilMs
  }
}

/** The part of the worker's thread that each tenant took between two readings; at most 1 in all. */
function* sharesOf(before: WorkerReading, now: WorkerReading, passedMs: number): Iterable<readonly [TenantId, number]> {
  const threadShare = Math.min(1, (now.threadMs - before.threadMs) / passedMs)
  if (threadShare <= 0) return // it was restarted: what it counted begins anew
  const earlier = new Map(before.tenants.map(({ tenantId, usedMs }) => [tenantId, usedMs]))
  const used = now.tenants.map(({ tenantId, usedMs }) => {
    const since = usedMs - (earlier.get(tenantId) ?? usedMs)
    return [tenantId, Math.max(0, since)] as const // opened anew, it counts from zero
  })
  const usedMs = used.reduce((sum, [, ms]) => sum + ms, 0)
  if (usedMs === 0) return
  for (const [id, ms] of used)
    yield [id, threadShare * (ms / Math.max(usedMs, leastCountedPart * threadShare * passedMs))]
}
