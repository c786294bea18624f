// Goal: nothing passes before its mode allows it, and nothing waits for ever.

import { expect, test } from 'bun:test'
import { SimClock } from '../../lib/clock.ts'
import { WritesRefusedError } from '../engine/errors.ts'
import {
  type AckPolicy,
  ackDeadlineMs,
  cutOffMs,
  ReplicatedGate,
  type ShipProgress,
  spoolAgeMsMax,
  withRequestedAck,
} from './output-gate.ts'

class Progress implements ShipProgress {
  isDurable = true
  lagMs = 0
  isFenced = false
  isStoreFailing = false
  isCutOff = false
  readonly durable = Promise.withResolvers<void>()
  readonly within = Promise.withResolvers<void>()
  whenDurable = () => this.durable.promise
  whenWithin = () => this.within.promise
}

const async: AckPolicy = { ackMode: 'async', lossBoundMs: 5_000, onStoreOutage: 'spool' }

function setUp(policy: AckPolicy = async) {
  const progress = new Progress()
  const clock = new SimClock()
  return { progress, clock, gate: new ReplicatedGate(progress, policy, clock) }
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

test('a node that hears of neither store nor control plane answers no write', () => {
  const { progress, gate } = setUp()
  Object.assign(progress, { isDurable: false, lagMs: cutOffMs + 1, isStoreFailing: true, isCutOff: true })
  expect(() => gate.pass()).toThrow(WritesRefusedError)
  progress.isCutOff = false
  expect(gate.pass()).toBeUndefined()
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
