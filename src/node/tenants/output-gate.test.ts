// Goal: nothing passes before its mode allows it, and nothing waits for ever.

import { expect, test } from 'bun:test'
import { SimClock } from '../../lib/clock.ts'
import { WritesRefusedError } from '../engine/errors.ts'
import {
  type AckPolicy,
  ackDeadlineMs,
  ReplicatedGate,
  type ShipProgress,
  spoolAgeMsMax,
  spoolBytesMax,
  withRequestedAck,
} from './output-gate.ts'

class Progress implements ShipProgress {
  isDurable = true
  isOnStandbys = false
  hasStandbys = false
  lagMs = 0
  spoolBytes = 0
  isFenced = false
  isStoreFailing = false
  readonly onStandbys = Promise.withResolvers<void>()
  whenOnStandbys = () => this.onStandbys.promise
  readonly durable = Promise.withResolvers<void>()
  readonly within = Promise.withResolvers<void>()
  whenDurable = () => this.durable.promise
  whenWithin = () => this.within.promise
}

const async: AckPolicy = { ackMode: 'async', lossBoundMs: 5_000, onStoreOutage: 'spool' }

function setUp(policy: AckPolicy = async) {
  const progress = new Progress()
  const clock = new SimClock()
  const ownership = { may: true, touches: 0, mayWrite: () => ownership.may, touch: () => void ownership.touches++ }
  return { progress, clock, ownership, gate: new ReplicatedGate(progress, ownership, policy, clock) }
}

test('async passes at once within the bound and waits beyond it', async () => {
  const { progress, gate } = setUp()
  expect(gate.pass()).toBeUndefined()
  Object.assign(progress, { isDurable: false, lagMs: 5_000 })
  expect(gate.pass()).toBeUndefined()
  progress.lagMs = 5_001
  const waiting = gate.pass()
  expect(waiting).toBeInstanceOf(Promise)
  progress.within.resolve()
  await waiting
})

test('while the store is out, async spools for a while, or refuses where the tenant wants that', async () => {
  const { progress, clock, gate } = setUp()
  Object.assign(progress, { isDurable: false, lagMs: 60_000, isStoreFailing: true })
  expect(gate.pass()).toBeUndefined()
  progress.lagMs = spoolAgeMsMax + 1
  const old = Promise.resolve(gate.pass()).catch((error: unknown) => error)
  await clock.advance(ackDeadlineMs)
  expect(await old).toBeInstanceOf(WritesRefusedError)
  gate.setPolicy({ ...async, onStoreOutage: 'refuse' })
  progress.lagMs = 60_000
  const refusing = Promise.resolve(gate.pass()).catch((error: unknown) => error)
  await clock.advance(ackDeadlineMs)
  expect(await refusing).toBeInstanceOf(WritesRefusedError)
})

test('a spool above its size is no place for more', async () => {
  const { progress, clock, gate } = setUp()
  Object.assign(progress, { isDurable: false, lagMs: 60_000, isStoreFailing: true, spoolBytes: spoolBytesMax + 1 })
  const refusing = Promise.resolve(gate.pass()).catch((error: unknown) => error)
  await clock.advance(ackDeadlineMs)
  expect(await refusing).toBeInstanceOf(WritesRefusedError)
})

test('a node that may not be the owner any more takes no write, and each answer counts as traffic', () => {
  const { progress, ownership, gate } = setUp()
  expect(gate.admit()).toBeUndefined()
  ownership.may = false
  expect(() => gate.admit()).toThrow(WritesRefusedError)
  ownership.may = true
  progress.isFenced = true
  expect(() => gate.admit()).toThrow(WritesRefusedError)
  progress.isFenced = false
  void gate.pass()
  expect(ownership.touches).toBe(1)
})

test('quorum answers by its standbys, by the store where they fail, and waits for the end of a long outage', async () => {
  const { progress, clock, gate } = setUp({ ...async, ackMode: 'quorum' })
  Object.assign(progress, { isDurable: false, hasStandbys: true, isOnStandbys: true })
  expect(gate.pass()).toBeUndefined()
  progress.isOnStandbys = false
  let waiting = Promise.resolve(gate.pass())
  progress.onStandbys.resolve()
  await waiting
  const broken = setUp({ ...async, ackMode: 'quorum' })
  Object.assign(broken.progress, { isDurable: false, hasStandbys: true })
  waiting = Promise.resolve(broken.gate.pass())
  broken.progress.onStandbys.reject(new Error('behind'))
  broken.progress.durable.resolve()
  await waiting
  const alone = setUp({ ...async, ackMode: 'quorum' })
  alone.progress.isDurable = false
  const outcome = Promise.resolve(alone.gate.pass()).catch((error: unknown) => error)
  await alone.clock.advance(ackDeadlineMs)
  expect(await outcome).toBeInstanceOf(WritesRefusedError)
  Object.assign(progress, { isOnStandbys: true, isStoreFailing: true, lagMs: spoolAgeMsMax })
  expect(gate.pass()).toBeUndefined()
  progress.lagMs = spoolAgeMsMax + 1
  const late = Promise.resolve(gate.pass()).catch((error: unknown) => error)
  await clock.advance(ackDeadlineMs)
  expect(await late).toBeInstanceOf(WritesRefusedError)
})

test('quorum+sync needs both; X-Ack adds to the mode whichever it does not have', async () => {
  for (const [mode, header] of [
    ['quorum+sync', null],
    ['sync', 'quorum'],
    ['quorum', 'sync'],
    ['async', 'Quorum+Sync'],
  ] as const) {
    const { progress, gate } = setUp({ ...async, ackMode: mode })
    Object.assign(progress, { isDurable: false, hasStandbys: true, isOnStandbys: true })
    let passed = false
    const waiting = Promise.resolve(withRequestedAck(header, () => gate.pass())).then(() => (passed = true))
    progress.onStandbys.resolve()
    await Bun.sleep(0)
    expect(passed).toBe(false)
    progress.durable.resolve()
    await waiting
    Object.assign(progress, { isDurable: true, isOnStandbys: false })
    expect(withRequestedAck(header, () => gate.pass())).toBeInstanceOf(Promise)
    Object.assign(progress, { isDurable: true, isOnStandbys: true })
    expect(withRequestedAck(header, () => gate.pass())).toBeUndefined()
  }
})

test('sync waits for the store, and refuses at the deadline', async () => {
  const { progress, clock, gate } = setUp({ ...async, ackMode: 'sync' })
  expect(gate.pass()).toBeUndefined() // nothing to wait for
  progress.isDurable = false
  const waiting = Promise.resolve(gate.pass())
  const outcome = waiting.catch((error: unknown) => error)
  await clock.advance(ackDeadlineMs)
  expect(await outcome).toBeInstanceOf(WritesRefusedError)
  expect(clock.pendingTimers).toBe(0)
})

test('X-Ack strengthens one request and never weakens', async () => {
  const { progress, gate } = setUp()
  progress.isDurable = false
  expect(withRequestedAck('async', () => gate.pass())).toBeUndefined()
  const waiting = withRequestedAck('Sync', () => gate.pass())
  expect(waiting).toBeInstanceOf(Promise)
  progress.durable.resolve()
  await waiting
  const strict = setUp({ ...async, ackMode: 'sync' })
  strict.progress.isDurable = false
  const still = withRequestedAck('async', () => strict.gate.pass())
  expect(still).toBeInstanceOf(Promise)
  strict.progress.durable.resolve()
  await still
})

test('a fenced tenant acknowledges nothing, also to those who wait already', async () => {
  const { progress, gate } = setUp({ ...async, ackMode: 'sync' })
  progress.isDurable = false
  const waiting = Promise.resolve(gate.pass()).catch((error: unknown) => error)
  progress.isFenced = true
  progress.durable.reject(new Error('fenced'))
  expect(await waiting).toBeInstanceOf(WritesRefusedError)
  progress.isDurable = true
  expect(() => gate.pass()).toThrow(WritesRefusedError)
})
