// Goal: only time in which this process could have heard a node counts as its silence. Method: the service over real state,
// looks at moments of the test's choice.

import { expect, test } from 'bun:test'
import { registerNode } from '../../../test/support/cluster-rows.ts'
import type { NodeId } from '../../lib/brand.ts'
import { SimClock } from '../../lib/clock.ts'
import { silentLogger as log } from '../../lib/obs/log.ts'
import { defaultTimings as timings } from '../config.ts'
import { apply } from '../state/apply.ts'
import { ClusterState, StateBatch } from '../state/state.ts'
import { NodeService, type NodeServiceDeps } from './nodes.ts'

const a = 'a' as NodeId

function setUp() {
  const state = new ClusterState()
  expect(apply(state, new StateBatch(state), registerNode(a)).ok).toBe(true)
  const clock = new SimClock()
  const nobody = () => {
    throw new Error('nothing is decided here')
  }
  const audit = { facts: nobody } as unknown as NodeServiceDeps['audit']
  const nodes = new NodeService({ state, propose: nobody, audit, clock, log, timings })
  const lookAfter = async (ms: number) => {
    await clock.advance(ms)
    nodes.check()
    return nodes.stateOf(a)
  }
  return { lookAfter }
}

test('a silent node is down in its time, also where a look is late now and then', async () => {
  const { lookAfter } = setUp()
  for (let passedMs = timings.heartbeatMs; passedMs < timings.downAfterMs; passedMs += timings.heartbeatMs)
    expect(await lookAfter(timings.heartbeatMs)).toBe('degraded')
  expect(await lookAfter(timings.heartbeatMs)).toBe('down')
})

test('a control plane that stood still takes nobody for down', async () => {
  const { lookAfter } = setUp()
  for (let round = 0; round < 3; round++) expect(await lookAfter(60_000)).toBe('degraded')
  for (let passedMs = 0; passedMs < timings.downAfterMs; passedMs += timings.heartbeatMs)
    await lookAfter(timings.heartbeatMs)
  expect(await lookAfter(timings.heartbeatMs)).toBe('down')
})
