// Goal: routes are asked for once, kept while they may be right, forgotten when they are not, and outlive the control
// plane. Method: a control plane made of a map and a switch, a simulated clock.

import { expect, test } from 'bun:test'
import type { Route, RouteKey } from '../../ipc/messages/cp-gateway.ts'
import type { Epoch, NodeId, Slug, TenantId } from '../../lib/brand.ts'
import { SimClock } from '../../lib/clock.ts'
import { type RouteReply, RouteTable, routeTtlMs, unknownTtlMs } from './table.ts'

const tenantId = 'abcdefghij12345' as TenantId
const key: RouteKey = { kind: 'slug', slug: 'acme' }
const route = (epoch: number, port = epoch, nodeId = 'node-1'): Route => ({
  tenantId,
  slug: 'acme' as Slug,
  epoch: epoch as Epoch,
  nodeId: nodeId as NodeId,
  workerUrl: `http://127.0.0.1:${port}`,
})
const found = (epoch: number, port?: number): RouteReply => ({ found: 'route', route: route(epoch, port) })

function setUp() {
  const clock = new SimClock()
  const state = { asked: 0, reply: found(1) as RouteReply | Error, gate: null as Promise<void> | null }
  const table = new RouteTable({
    clock,
    routesMax: 3,
    resolve: async () => {
      state.asked++
      const { reply } = state // as of the question
      await state.gate
      if (reply instanceof Error) throw reply
      return reply
    },
  })
  return { clock, state, table }
}

test('concurrent misses are one question; hits are none and need no promise', async () => {
  const { state, table } = setUp()
  const answers = await Promise.all(Array.from({ length: 50 }, () => table.get(key)))
  expect(new Set(answers)).toEqual(new Set([found(1)]))
  expect(state.asked).toBe(1)
  expect(table.get(key)).toEqual(found(1)) // not a promise
  expect(state.asked).toBe(1)
})

test('an old route is served at once and refreshed behind', async () => {
  const { clock, state, table } = setUp()
  await table.get(key)
  state.reply = found(2)
  await clock.advance(routeTtlMs)
  expect(table.get(key)).toEqual(found(1))
  await clock.advance(1)
  expect(table.get(key)).toEqual(found(2))
  expect(state.asked).toBe(2)
})

test('an unknown name is remembered briefly, and forgotten when a tenant takes it', async () => {
  const { clock, state, table } = setUp()
  state.reply = { found: 'unknown' }
  expect(await table.get(key)).toEqual({ found: 'unknown' })
  expect(table.get(key)).toEqual({ found: 'unknown' })
  expect(state.asked).toBe(1)
  table.apply({ type: 'route.changed', tenantId, names: ['acme'], route: route(1) })
  expect(table.get(key)).toEqual(found(1))
  state.reply = { found: 'unknown' }
  table.apply({ type: 'route.changed', tenantId, names: ['acme'], route: null })
  expect(await table.get(key)).toEqual({ found: 'unknown' })
  await clock.advance(unknownTtlMs)
  state.reply = found(3)
  expect(await table.get(key)).toEqual(found(3))
})

test('a broadcast replaces a route, never by an older one, and drops names that are gone', async () => {
  const { state, table } = setUp()
  state.reply = found(5)
  await table.get(key)
  table.apply({ type: 'route.changed', tenantId, names: ['acme'], route: route(4) })
  expect(table.get(key)).toEqual(found(5))
  table.apply({ type: 'route.changed', tenantId, names: ['acme'], route: route(6) })
  expect(table.get(key)).toEqual(found(6))
  state.reply = { found: 'unknown' }
  table.apply({ type: 'route.changed', tenantId, names: ['renamed'], route: route(7) })
  expect(await table.get(key)).toEqual({ found: 'unknown' })
})

test('an answer that a broadcast overtook is not kept', async () => {
  const { state, table } = setUp()
  const gate = Promise.withResolvers<void>()
  state.gate = gate.promise
  const slow = table.get(key)
  table.apply({ type: 'route.changed', tenantId, names: ['acme'], route: null })
  state.gate = null
  state.reply = found(2)
  expect(await table.get(key)).toEqual(found(2)) // a new question, not the old flight
  gate.resolve()
  await slow
  expect(table.get(key)).toEqual(found(2))
  expect(state.asked).toBe(2)
})

test('without the control plane what is known stays good; what is not is unreachable', async () => {
  const { clock, state, table } = setUp()
  await table.get(key)
  state.reply = new Error('down')
  table.doubtAll()
  expect(await table.get(key)).toEqual(found(1))
  expect(table.get(key)).toEqual(found(1)) // not asked for every request
  expect(state.asked).toBe(2)
  await clock.advance(24 * 3_600_000)
  expect(table.get(key)).toEqual(found(1))
  expect(await table.get({ kind: 'slug', slug: 'other' })).toMatchObject({ found: 'unreachable' })
})

test('a node that changed casts doubt on its routes only', async () => {
  const { state, table } = setUp()
  await table.get(key)
  table.apply({ type: 'node.changed', nodeId: 'node-2' as NodeId })
  expect(table.get(key)).toEqual(found(1))
  state.reply = found(1, 999)
  table.apply({ type: 'node.changed', nodeId: 'node-1' as NodeId })
  expect(await table.get(key)).toEqual(found(1, 999))
})

test('a refresh asks again unless the cache already knows better', async () => {
  const { state, table } = setUp()
  await table.get(key)
  state.reply = found(2)
  expect(await table.refresh(key, route(1))).toEqual(found(2))
  expect(table.refresh(key, route(1))).toEqual(found(2))
  expect(state.asked).toBe(2)
})

test('a tenant that nobody serves is asked for each time, and news wake who waits', async () => {
  const { clock, state, table } = setUp()
  state.reply = { found: 'unavailable', tenantId, reason: 'moving' }
  await table.get(key)
  await table.get(key)
  expect(state.asked).toBe(2)
  const signal = new AbortController().signal
  let woken = 0
  const waiting = [tenantId, null].map((id) => table.waitForNews(key, id, 10_000, signal).then(() => woken++))
  table.apply({ type: 'route.changed', tenantId, names: ['acme'], route: route(2) })
  await Promise.all(waiting)
  const timedOut = table.waitForNews(key, null, 10_000, signal).then(() => woken++)
  await clock.advance(10_000)
  await timedOut
  const controller = new AbortController()
  const aborted = table.waitForNews(key, null, 10_000, controller.signal)
  controller.abort(new Error('left'))
  await expect(aborted).rejects.toThrow('left')
  expect(woken).toBe(3)
})

test('the cache is bounded', async () => {
  const { table } = setUp()
  for (const slug of ['a', 'b', 'c', 'd', 'e']) await table.get({ kind: 'slug', slug })
  expect(table.size).toBe(3)
})
