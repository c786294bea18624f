// Goal: who is busy for long moves once and comes back once it is calm, without going to and fro, and never too many.
// Method: readings of workers as they would come each second, on a simulated clock.

import { expect, test } from 'bun:test'
import type { TenantId } from '../lib/brand.ts'
import { seededRng } from '../lib/rng.ts'
import { type BusyLimits, BusyTenants, defaultBusyLimits, type Shift, type WorkerReading } from './busy-tenants.ts'

const idOf = (n: number) => `tenant${String(n).padStart(9, '0')}` as TenantId
const lookMs = 1_000

/** One ordinary worker and one for busy tenants; shifts happen at once. */
class World {
  readonly core: BusyTenants
  readonly away = new Set<TenantId>()
  readonly #used = new Map<TenantId, number>()
  readonly #threadMs = [0, 0]
  nowMs = 0
  /** Others on the ordinary worker. */
  others = 3

  constructor(limits: BusyLimits = defaultBusyLimits) {
    this.core = new BusyTenants(limits)
  }

  /** @param shares the part of a thread that each tenant takes in this second. */
  second(shares: ReadonlyMap<TenantId, number>): Shift[] {
    this.nowMs += lookMs
    for (const [id, share] of shares) {
      this.#used.set(id, (this.#used.get(id) ?? 0) + share * lookMs * 0.5) // half of it is counted, as in life
      const worker = this.away.has(id) ? 1 : 0
      this.#threadMs[worker] = this.#threadMs[worker]! + share * lookMs
    }
    const shifts = this.core.look(this.nowMs, [this.#reading(0), this.#reading(1)], this.away)
    for (const { tenantId, to } of shifts) {
      if (to === 'busy') this.away.add(tenantId)
      else this.away.delete(tenantId)
      this.core.shifted(tenantId, this.nowMs)
    }
    return shifts
  }

  #reading(worker: number): WorkerReading {
    const isForBusy = worker === 1
    const tenants = [...this.#used]
      .filter(([id]) => this.away.has(id) === isForBusy)
      .map(([tenantId, usedMs]) => ({ tenantId, usedMs }))
    return { worker, isForBusy, threadMs: this.#threadMs[worker]!, tenantsOpen: tenants.length + this.others, tenants }
  }
}

function run(world: World, seconds: number, shares: Record<string, number>): Shift[] {
  const all: Shift[] = []
  for (let i = 0; i < seconds; i++) all.push(...world.second(new Map(Object.entries(shares) as [TenantId, number][])))
  return all
}

test('busy for three seconds beside others: it moves, once; calm for half a minute: it comes back, once', () => {
  const world = new World()
  run(world, 2, { [idOf(1)]: 0.01 })
  expect(run(world, 3, { [idOf(1)]: 0.8 })).toEqual([])
  expect(run(world, 20, { [idOf(1)]: 0.8 })).toEqual([{ tenantId: idOf(1), to: 'busy' }])
  expect(run(world, 29, { [idOf(1)]: 0.01 })).toEqual([])
  expect(run(world, 60, { [idOf(1)]: 0.01 })).toEqual([{ tenantId: idOf(1), to: 'ordinary' }])
})

test('a burst, a tenant that is alone, and one of a middling share stay', () => {
  const bursts = new World()
  for (let i = 0; i < 20; i++) {
    expect(run(bursts, 2, { [idOf(1)]: 1 })).toEqual([])
    expect(run(bursts, 1, { [idOf(1)]: 0 })).toEqual([])
  }
  const alone = new World()
  alone.others = 0
  expect(run(alone, 60, { [idOf(1)]: 1 })).toEqual([])
  expect(run(new World(), 60, { [idOf(1)]: 0.25, [idOf(2)]: 0.25 })).toEqual([])
})

test('what is neither busy nor calm stays where it is, here and there', () => {
  const world = new World()
  run(world, 10, { [idOf(1)]: 0.9 })
  expect(world.away.size).toBe(1)
  expect(run(world, 300, { [idOf(1)]: 0.1 })).toEqual([])
})

test('a tenant that was closed on the other worker comes back too', () => {
  const world = new World()
  run(world, 10, { [idOf(1)]: 0.9 })
  const gone = () => world.core.look((world.nowMs += lookMs), [], world.away)
  const shifts = Array.from({ length: 40 }, gone).flat()
  expect(shifts[0]).toEqual({ tenantId: idOf(1), to: 'ordinary' })
})

test('a failed shift is not tried again at once', () => {
  const core = new BusyTenants(defaultBusyLimits)
  const wishes: number[] = []
  for (let second = 1; second <= 60; second++) {
    const tenants = [{ tenantId: idOf(1), usedMs: second * 900 }]
    const reading = { worker: 0, isForBusy: false, threadMs: second * 900, tenantsOpen: 2, tenants }
    for (const { tenantId } of core.look(second * lookMs, [reading], new Set())) {
      wishes.push(second)
      core.shifted(tenantId, second * lookMs) // it did not get away
    }
  }
  expect(wishes.length).toBeGreaterThan(1)
  for (const [i, at] of wishes.entries()) if (i > 0) expect(at - wishes[i - 1]!).toBeGreaterThanOrEqual(15)
})

test('one request while the worker is busy with other things makes nobody busy', () => {
  const core = new BusyTenants(defaultBusyLimits)
  for (let second = 1; second <= 20; second++) {
    const tenants = [{ tenantId: idOf(1), usedMs: second * 0.5 }]
    const reading = { worker: 0, isForBusy: false, threadMs: second * 950, tenantsOpen: 9, tenants }
    expect(core.look(second * lookMs, [reading], new Set())).toEqual([])
  }
})

test('a worker that was restarted says nothing until its next reading', () => {
  const core = new BusyTenants({ ...defaultBusyLimits, busyMs: 0 })
  const reading = (threadMs: number, usedMs: number) => [
    { worker: 0, isForBusy: false, threadMs, tenantsOpen: 2, tenants: [{ tenantId: idOf(1), usedMs }] },
  ]
  core.look(1_000, reading(50_000, 9_000), new Set())
  expect(core.look(2_000, reading(10, 5), new Set())).toEqual([])
})

// SEED=… runs exactly one.
const seeds = process.env['SEED'] ? [Number(process.env['SEED'])] : Array.from({ length: 20 }, (_, i) => i + 1)
test.each(seeds)('arbitrary loads: never too many away, and nobody goes to and fro (SEED=%d)', (seed) => {
  const rng = seededRng(seed)
  const world = new World({ ...defaultBusyLimits, awayMax: 3 })
  const movedAtMs = new Map<TenantId, number>()
  const shares = new Map<TenantId, number>()
  for (let second = 0; second < 600; second++) {
    for (let n = 0; n < 10; n++)
      if (rng.below(20) === 0) shares.set(idOf(n), rng.below(2) === 0 ? 0 : rng.below(1_000) / 1_000)
    for (const { tenantId } of world.second(shares)) {
      const before = movedAtMs.get(tenantId)
      if (before !== undefined) expect(world.nowMs - before).toBeGreaterThanOrEqual(defaultBusyLimits.restMs)
      movedAtMs.set(tenantId, world.nowMs)
    }
    expect(world.away.size).toBeLessThanOrEqual(3)
  }
  expect(movedAtMs.size).toBeGreaterThan(0)
})
