// Goal: a standby hears of everything that was shipped, a few times a second at most; where there is none, or nothing new,
// nobody is asked; a failure costs one hint. Method: a simulated clock, hints that are written down.

import { expect, test } from 'bun:test'
import type { FollowedDatabase } from '../../ipc/messages/standby.ts'
import type { Placement, WarmRef } from '../../ipc/messages/tenant.ts'
import type { Epoch, NodeId, TenantId } from '../../lib/brand.ts'
import { SimClock } from '../../lib/clock.ts'
import { silentLogger as log } from '../../lib/obs/log.ts'
import { WarmHints } from './warm-hints.ts'

const placement: Placement = {
  tenantId: 'abcdefghij12345' as TenantId,
  nodeId: 'a' as NodeId,
  worker: 0,
  epoch: 3 as Epoch,
}
const warmOn = (id: string): Placement => ({
  ...placement,
  warm: { nodeId: id as NodeId, ipcAddress: `tcp://${id}:1`, worker: 1 },
})

function start(at: Placement) {
  const clock = new SimClock()
  const heard: [node: string, ...names: FollowedDatabase[]][] = []
  const fault: { isOn: boolean } = { isOn: false }
  const hint = async (ref: WarmRef, owner: { readonly epoch: Epoch }, names: readonly FollowedDatabase[]) => {
    expect(owner.epoch).toBe(placement.epoch)
    if (fault.isOn) throw new Error('nobody answers')
    heard.push([ref.nodeId, ...names])
  }
  const pass = async (ms: number) => {
    for (let passed = 0; passed < ms; passed += 10) await clock.advance(10)
  }
  return { clock, heard, fault, pass, hints: new WarmHints(at, { hint }, clock, log) }
}

test('much that is shipped is few hints, and the last of it is told', async () => {
  const { clock, heard, pass, hints } = start(warmOn('b'))
  for (let n = 0; n < 100; n++) {
    hints.shipped('data.db')
    if (n === 99) hints.shipped('auxiliary.db')
    await pass(10)
  }
  await pass(500)
  expect(heard.length).toBeGreaterThan(3)
  expect(heard.length).toBeLessThan(7)
  expect(heard.at(-1)).toEqual(['b', 'data.db', 'auxiliary.db'])
  expect(clock.pendingTimers).toBe(0)
})

test('without a standby nobody is asked; a new one hears of all databases', async () => {
  const { clock, heard, pass, hints } = start(placement)
  hints.shipped('data.db')
  await pass(500)
  expect(heard).toEqual([])
  expect(clock.pendingTimers).toBe(0)
  hints.moveTo(warmOn('b'))
  await pass(500)
  hints.moveTo(warmOn('b'))
  await pass(500)
  hints.moveTo(warmOn('c'))
  await pass(500)
  expect(heard.map(([node, ...names]) => [node, names.length])).toEqual([
    ['b', 3],
    ['c', 3],
  ])
})

test('a hint that fails is lost, and the next one is told', async () => {
  const { heard, fault, pass, hints } = start(warmOn('b'))
  fault.isOn = true
  hints.shipped('data.db')
  await pass(500)
  fault.isOn = false
  hints.shipped('data.db')
  await pass(500)
  expect(heard).toEqual([['b', 'data.db']])
})
