// Goal: who asks whether the control plane has heard of what is so now is never told yes by a heartbeat of before, and is told
// no in time. Method: real sockets; a control plane that stops answering for a while.

import { expect, setDefaultTimeout, test } from 'bun:test'
import { FakeFleetControl } from '../../test/support/fake-fleet-control.ts'
import { until } from '../../test/support/wait.ts'
import { clusterSecrets } from '../ipc/keys.ts'
import type { AwayTenant } from '../ipc/messages/cp-node.ts'
import { openMessaging } from '../ipc/zmq/context.ts'
import type { NodeId, TenantId } from '../lib/brand.ts'
import { systemClock as clock } from '../lib/clock.ts'
import { silentLogger as log } from '../lib/obs/log.ts'
import { systemRng as rng } from '../lib/rng.ts'
import { ControlLink } from './control-link.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const nodeId = 'node-a' as NodeId
const awayOn = (worker: number): AwayTenant[] => [{ tenantId: 'aaaaaaaaaaaaaaa' as TenantId, worker, url: null }]

test('heard: of what is so at the time of the question, or not at all', async () => {
  const secrets = clusterSecrets('a-cluster-secret-of-links')
  await using control = new FakeFleetControl(secrets)
  await using opened = new AsyncDisposableStack()
  const messaging = opened.adopt(openMessaging({ role: 'node', secrets, log }), (it) => it.close())
  let away: AwayTenant[] = []
  const load = {
    ...{ tenantsOpen: 0, cpu: 0, memoryBytes: 0, diskFreeBytes: 0, requestsPerSecond: 0 },
    replicationLagMsMax: 0,
  }
  const facts = { incarnation: 'first', ipcAddress: 'tcp://127.0.0.1:1', tenantsMax: 1, version: '1', featureLevel: 1 }
  let asked = 0
  const link = opened.adopt(
    new ControlLink(
      { nodeId, ...facts, region: 'r', zone: 'z', labels: {} },
      {
        ...{ messaging, secrets, addresses: [control.url], clock, rng, log },
        workers: () => [],
        load: () => load,
        away: () => {
          asked++
          return away
        },
        onLease: () => {},
      },
    ),
    (it) => it.close(),
  )
  const known = () => control.heartbeats.get(nodeId)?.away
  await until('a heartbeat', () => known() !== undefined)
  away = awayOn(1)
  expect(await link.heard(60_000)).toBe(true)
  expect(known()).toEqual(awayOn(1))

  control.cut(nodeId)
  const before = asked
  await until('a heartbeat that waits for its answer', () => asked > before)
  away = awayOn(2) // behind what that one says
  const answer = link.heard(60_000)
  expect(await link.heard(50)).toBe(false)
  control.mend(nodeId)
  expect(await answer).toBe(true)
  expect(known()).toEqual(awayOn(2))
})
