// A control-plane member in this process, without nodes, on an object store in memory.

import type { ControlPlane, ControlPlaneConfig } from '../../src/cp/config.ts'
import { openControlPlane } from '../../src/cp/control-plane.ts'
import { defaultPrices } from '../../src/cp/services/prices.ts'
import { clusterSecrets } from '../../src/ipc/keys.ts'
import { type Clock, systemClock } from '../../src/lib/clock.ts'
import { MemoryObjectStore } from '../../src/lib/object-store/memory.ts'
import type { ObjectStore } from '../../src/lib/object-store/object-store.ts'
import { type Logger, silentLogger } from '../../src/lib/obs/log.ts'
import { Metrics } from '../../src/lib/obs/metrics.ts'
import { systemRng as rng } from '../../src/lib/rng.ts'
import { testClusterSecret } from './node-config.ts'

export function openMember(
  dir: string,
  over: Partial<ControlPlaneConfig> & {
    readonly objectStore?: ObjectStore
    readonly clock?: Clock
    readonly log?: Logger
  } = {},
): Promise<ControlPlane> {
  const { objectStore, clock = systemClock, log = silentLogger, ...config } = over
  return openControlPlane(
    {
      nodeId: 'cp-1',
      dir,
      httpListen: { host: '127.0.0.1', port: 0 },
      ipcBind: 'tcp://127.0.0.1:0',
      ipcPubBind: 'tcp://127.0.0.1:0',
      advertiseHost: null,
      raftPeers: [],
      secrets: clusterSecrets(testClusterSecret),
      baseDomain: 'fleet.test',
      publicUrl: { scheme: 'http', port: 8090 },
      objectPrefix: '',
      storeLocation: { kind: 'file', dir: '/nowhere' },
      prices: defaultPrices,
      isCreateOnlyAtomic: true,
      archive: { infrequentAfterDays: 0, archiveAfterDays: 0, infrequentClass: null, archiveClass: null },
      createAdmin: 'root@fleet.test',
      ...config,
    },
    { clock, rng, log, metrics: new Metrics(), objectStore: objectStore ?? new MemoryObjectStore() },
  )
}
