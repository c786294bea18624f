// Requests straight to the worker of a tenant, as its gateway would send them.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { clusterSecrets } from '../../src/ipc/keys.ts'
import { routeHeaderKeys, routeHeaderName, signRouteHeader } from '../../src/ipc/messages/route-header.ts'
import type { Epoch, TenantId } from '../../src/lib/brand.ts'
import type { Fleet } from '../../test/support/fleet.ts'
import { processTree } from '../../test/support/processes.ts'

export interface Target {
  readonly host: string
  readonly port: number
  readonly headers: Readonly<Record<string, string>>
  /** The Host header. */
  readonly name: string
}

export interface TenantAnswer {
  readonly id: string
  readonly placement: { readonly nodeId: string; readonly worker: number; readonly epoch: number }
}

/** The first worker of the fleet, in the name of one tenant. */
export async function workerTarget(fleet: Fleet, dir: string, slug: string, tenant: TenantAnswer): Promise<Target> {
  const nodes = (await (
    await fetch(`${fleet.url}/api/cp/nodes`, { headers: { authorization: `Bearer ${fleet.adminToken}` } })
  ).json()) as { items: { workers: { url: string }[] }[] }
  const worker = new URL(nodes.items[0]!.workers[0]!.url)
  const secret = readFileSync(join(dir, 'cp/cluster-secret'), 'utf8').trim()
  const header = signRouteHeader(routeHeaderKeys(clusterSecrets(secret)), {
    tenantId: tenant.id as TenantId,
    epoch: tenant.placement.epoch as Epoch,
    clientAddress: '127.0.0.1',
    scheme: 'http',
    host: `${slug}.localhost`,
    expiresAtMs: Date.now() + 3_600_000,
  })
  return {
    host: worker.hostname,
    port: Number(worker.port),
    headers: { [routeHeaderName]: header },
    name: `${slug}.localhost`,
  }
}

/** The process id of the only worker. */
export function workerPid(fleet: Fleet): number {
  return processTree(fleet.pid).find((each) => each.argv.at(-1) === 'worker')!.pid
}

/** Resident memory of a process, bytes. */
export function residentBytes(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1_024
}
