// From options to a tenant node.

import { availableParallelism } from 'node:os'
import type { NodeId } from '../../lib/brand.ts'
import { systemClock } from '../../lib/clock.ts'
import { systemRng } from '../../lib/rng.ts'
import { defaultEvictMs, defaultIdleMs, defaultTenantsMax } from '../../node/config.ts'
import { openTenantNode } from '../../node/supervisor.ts'
import {
  dataDirectory,
  hostPort,
  objectStoreConfig,
  openProbedStore,
  requireClusterSecret,
  requireControlPlane,
} from '../fleet-config.ts'
import { never, type Running } from '../lifetime.ts'
import type { ModeInput } from '../mode.ts'

export async function startTenantNode({ options, log }: ModeInput): Promise<Running> {
  const probed = await openProbedStore(options, log) // workers open their own; this one only tells early what is wrong
  await probed.store.close()
  const ipc = options.ipcBind ?? { host: '0.0.0.0', port: 5557 }
  const node = await openTenantNode(
    {
      nodeId: (options.nodeId ?? 'node-1') as NodeId,
      dir: dataDirectory(options),
      http: options.http ?? { host: '0.0.0.0', port: 8091 },
      workers: options.workers ?? availableParallelism(),
      workerPorts: options.workerPorts ?? null,
      nodeAddress: options.nodeAddress ?? '127.0.0.1',
      ipcBind: `tcp://${hostPort(ipc)}`,
      ipcAdvertise:
        options.ipcAdvertise === undefined ? null : `tcp://${hostPort({ host: options.ipcAdvertise, port: ipc.port })}`,
      controlPlane: requireControlPlane(options),
      clusterSecret: requireClusterSecret(options),
      objectStore: objectStoreConfig(options),
      objectPrefix: '', // the store adds its own
      tenantsMax: options.tenantsMax ?? defaultTenantsMax,
      region: options.region ?? 'local',
      zone: options.zone ?? 'local',
      labels: options.labels ?? {},
      idleMs: options.idleMs ?? defaultIdleMs,
      evictMs: defaultEvictMs,
      logLevel: options.logLevel ?? 'info',
      logFormat: options.logFormat ?? (process.stderr.isTTY ? 'text' : 'json'),
      isDev: options.dev ?? false,
    },
    { clock: systemClock, rng: systemRng, log },
  )
  return {
    banner: [
      `Tenant node on ${node.httpUrl}`,
      `  IPC      ${node.ipcAddress}`,
      ...node.workers.map((worker) => `  worker ${worker.index} ${worker.url}`),
    ],
    facts: { http: new URL(node.httpUrl).host },
    failed: never,
    close: () => node.close(),
    abort: () => node.abort(),
  }
}
