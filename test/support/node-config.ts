// The configuration of a tenant node in tests: one worker on loopback, quiet, with all times as in the product; busy
// tenants stay where they are.

import type { NodeId } from '../../src/lib/brand.ts'
import type { ObjectStoreConfig } from '../../src/lib/object-store/open.ts'
import { defaultBusyLimits } from '../../src/node/busy-tenants.ts'
import type { TenantNodeConfig } from '../../src/node/config.ts'

/** Of the fleets of tests. */
export const testClusterSecret = 'a-cluster-secret-of-tests'

export interface NodeFacts {
  readonly id: string
  readonly dir: string
  /** Base URL. */
  readonly controlPlane: string
  readonly objectStore: ObjectStoreConfig
}

export function nodeConfig(
  { id, dir, controlPlane, objectStore }: NodeFacts,
  change: Partial<TenantNodeConfig> = {},
): TenantNodeConfig {
  return {
    nodeId: id as NodeId,
    dir,
    http: { host: '127.0.0.1', port: 0 },
    workers: 1,
    busy: { ...defaultBusyLimits, awayMax: 0 }, // many tests speak to a worker, and follow nobody to another one
    workerPorts: null,
    nodeAddress: '127.0.0.1',
    ipcBind: 'tcp://127.0.0.1:0',
    ipcAdvertise: null,
    controlPlane: [controlPlane],
    clusterSecret: testClusterSecret,
    objectStore,
    objectPrefix: '',
    tenantsMax: 50,
    region: 'r',
    zone: id,
    labels: {},
    idleMs: 60_000,
    evictMs: 600_000,
    logLevel: 'error',
    logFormat: 'text',
    ...change,
  }
}
