// From options to a control-plane member.

import { openControlPlane } from '../../cp/control-plane.ts'
import { systemClock } from '../../lib/clock.ts'
import { locationOf } from '../../lib/object-store/open.ts'
import { Metrics } from '../../lib/obs/metrics.ts'
import { systemRng } from '../../lib/rng.ts'
import {
  archivePolicyOf,
  dataDirectory,
  fleetSecrets,
  hostPort,
  objectStoreConfig,
  openProbedStore,
  pricesOf,
  sweepPolicyOf,
} from '../fleet-config.ts'
import type { Running } from '../lifetime.ts'
import type { ModeInput } from '../mode.ts'

export async function startControlPlane({ options, log }: ModeInput): Promise<Running> {
  await using opened = new AsyncDisposableStack()
  const secrets = fleetSecrets(options)
  const { store: objectStore, isCreateOnlyAtomic } = await openProbedStore(options, log)
  opened.defer(() => objectStore.close())
  const member = await openControlPlane(
    {
      nodeId: options.nodeId ?? 'cp-1',
      dir: dataDirectory(options),
      httpListen: options.http ?? { host: '0.0.0.0', port: 8090 },
      ipcBind: `tcp://${hostPort(options.ipcBind ?? { host: '0.0.0.0', port: 5555 })}`,
      ipcPubBind: `tcp://${hostPort(options.ipcPubBind ?? { host: '0.0.0.0', port: 5556 })}`,
      advertiseHost: options.ipcAdvertise ?? null,
      raftPeers: options.raftPeers ?? [],
      secrets,
      baseDomain: options.baseDomain ?? 'localhost',
      publicUrl: { scheme: options.publicPort === undefined ? 'https' : 'http', port: options.publicPort ?? null },
      objectPrefix: '', // the store adds its own
      archive: archivePolicyOf(options),
      sweep: sweepPolicyOf(options),
      isCreateOnlyAtomic,
      prices: pricesOf(options),
      storeLocation: locationOf(objectStoreConfig(options)),
      createAdmin: options.createAdmin ?? 'admin@localhost',
    },
    { clock: systemClock, rng: systemRng, log, metrics: new Metrics(), objectStore },
  )
  opened.use(member)
  const all = opened.move()
  const token = member.firstAdminToken
  return {
    banner: [
      `Control plane on ${member.httpUrl}`,
      `  IPC           ${member.ipcAddress}, broadcasts ${member.ipcPubAddress}`,
      `  object store  ${objectStore.description}`,
      ...(token === null ? [] : ['', `  First admin token, shown once:  ${token}`]),
    ],
    facts: {
      http: new URL(member.httpUrl).host,
      objectStore: objectStore.description,
      ...(token !== null && { adminToken: token }),
    },
    failed: member.failed,
    close: () => all.disposeAsync(),
  }
}
