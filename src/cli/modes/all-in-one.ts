// A whole fleet on one machine: a small launcher that starts a control plane, a tenant node and a gateway as processes
// of their own, exactly as they run on separate machines, and keeps them alive.

import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { systemClock } from '../../lib/clock.ts'
import { ConfigError, errorMessage } from '../../lib/errors.ts'
import { freePort } from '../../lib/free-port.ts'
import { randomText } from '../../lib/id.ts'
import { systemRng } from '../../lib/rng.ts'
import { version } from '../../version.ts'
import { Child } from '../child.ts'
import { never, type Running } from '../lifetime.ts'
import type { FleetOptions, ModeInput } from '../mode.ts'

/** 48 characters of 62 are 285 bits. */
const clusterSecretLength = 48

export interface AllInOne extends Running {
  /** Restarts every child with the code that is on disk now; for `dev`. */
  reload(): Promise<void>
}

export async function startAllInOne({ options, log }: ModeInput): Promise<AllInOne> {
  const dir = resolve(options.dir ?? './pocketfleet-data')
  for (const folder of [dir, join(dir, 'cp'), join(dir, 'node')]) makeDirectory(folder)
  const asked = options.http ?? { host: '127.0.0.1', port: 8090 }
  // A port that the system chose must be the same when the gateway is restarted.
  const http = asked.port === 0 ? { ...asked, port: freePort() } : asked
  const ports = {
    cpHttp: freePort(),
    raft: freePort(),
    cpIpc: freePort(),
    cpPub: freePort(),
    node: freePort(),
    nodeIpc: freePort(),
  }
  const at = (port: number) => `127.0.0.1:${port}`
  const shared = {
    'cluster-secret': options.clusterSecret ?? clusterSecret(join(dir, 'cp', 'cluster-secret')),
    'base-domain': options.baseDomain ?? 'localhost',
    'log-level': options.logLevel ?? 'info',
    'log-format': options.logFormat ?? (process.stderr.isTTY ? 'text' : 'json'),
    ...(options.dev && { dev: true }),
    ...objectStoreFlags(options, dir),
  }
  const deps = { clock: systemClock, rng: systemRng, log }
  const controlPlane = new Child(
    {
      name: 'control-plane',
      config: {
        ...shared,
        mode: 'control-plane',
        dir: join(dir, 'cp'),
        'node-id': options.nodeId ?? 'cp-1',
        http: at(ports.cpHttp),
        'raft-bind': at(ports.raft),
        'ipc-bind': at(ports.cpIpc),
        'ipc-pub-bind': at(ports.cpPub),
        'public-port': http.port,
        ...(options.createAdmin && { 'create-admin': options.createAdmin }),
        ...(options.prices && { prices: resolve(options.prices) }),
        ...(options.infrequentAfterDays !== undefined && { 'infrequent-after-days': options.infrequentAfterDays }),
        ...(options.archiveAfterDays !== undefined && { 'archive-after-days': options.archiveAfterDays }),
        ...(options.deletedKeepDays !== undefined && { 'deleted-keep-days': options.deletedKeepDays }),
        ...(options.s3InfrequentClass && { 's3-infrequent-class': options.s3InfrequentClass }),
        ...(options.s3ArchiveClass && { 's3-archive-class': options.s3ArchiveClass }),
      },
    },
    deps,
  )
  const node = new Child(
    {
      name: 'tenant-node',
      config: {
        ...shared,
        mode: 'tenant-node',
        dir: join(dir, 'node'),
        'node-id': 'node-1',
        http: at(ports.node),
        'ipc-bind': at(ports.nodeIpc),
        'control-plane': at(ports.cpHttp),
        ...(options.workers && { workers: options.workers }),
        ...(options.workerPorts && { 'worker-ports': `${options.workerPorts.from}-${options.workerPorts.to}` }),
        ...(options.tenantsMax && { 'max-tenants': options.tenantsMax }),
        ...(options.idleMs && { 'idle-ms': options.idleMs }),
        ...(options.region && { region: options.region }),
        ...(options.zone && { zone: options.zone }),
        ...(options.labels && { labels: options.labels }),
      },
    },
    deps,
  )
  const gateway = new Child(
    {
      name: 'gateway',
      config: {
        ...shared,
        mode: 'gateway',
        http: http.host.includes(':') ? `[${http.host}]:${http.port}` : `${http.host}:${http.port}`,
        'control-plane': at(ports.cpHttp),
        ...(options.httpsAddr && { 'https-addr': `${options.httpsAddr.host}:${options.httpsAddr.port}` }),
        ...(options.tlsCert && { 'tls-cert': resolve(options.tlsCert) }),
        ...(options.tlsKey && { 'tls-key': resolve(options.tlsKey) }),
      },
      // Read by Bun before any of our code runs; see docs/adr on the gateway's proxy.
      environment: { BUN_CONFIG_MAX_HTTP_REQUESTS: '65535' },
    },
    deps,
  )
  // In this order: each finds the one before it. The first that fails takes down what was started.
  const started: Child[] = []
  try {
    const cpReady = await startNext(controlPlane, started)
    await startNext(node, started)
    const gatewayReady = await startNext(gateway, started)
    const address = gatewayReady.facts['http'] ?? `${http.host}:${http.port}`
    return {
      banner: banner({
        options,
        dir,
        address,
        adminToken: cpReady.facts['adminToken'] ?? null,
        store: cpReady.facts['objectStore'] ?? '',
      }),
      facts: { http: address },
      failed: never,
      close: () => closeInOrder([gateway, node, controlPlane]),
      abort() {
        for (const child of [gateway, node, controlPlane]) child.abort()
      },
      async reload() {
        for (const child of [gateway, node, controlPlane]) await child.restart()
      },
    }
  } catch (error) {
    await closeInOrder(started.reverse())
    throw error
  }
}

async function startNext(child: Child, started: Child[]) {
  const ready = await child.start()
  started.push(child)
  return ready
}

/** The gateway stops taking requests, then the node ships its tails, then the control plane ends. */
async function closeInOrder(children: readonly Child[]): Promise<void> {
  for (const child of children) await child.close()
}

function makeDirectory(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 })
  } catch (error) {
    throw new ConfigError(`--dir: cannot create ${path}: ${errorMessage(error)}`, { cause: error })
  }
}

/** The fleet's own secret, made at the first start and readable by its owner alone. */
function clusterSecret(path: string): string {
  if (existsSync(path)) {
    const secret = readFileSync(path, 'utf8').trim()
    if (secret.length < 32)
      throw new ConfigError(`${path}: holds no cluster secret; restore it, or delete it to make a new one`)
    return secret
  }
  const secret = randomText(systemRng, clusterSecretLength)
  try {
    writeFileSync(path, `${secret}\n`, { mode: 0o600, flag: 'wx' })
    chmodSync(path, 0o600)
  } catch (error) {
    throw new ConfigError(`--dir: cannot write ${path}: ${errorMessage(error)}`, { cause: error })
  }
  return secret
}

function objectStoreFlags(options: FleetOptions, dir: string): Record<string, unknown> {
  if (options.s3Bucket === undefined) return { 'objects-dir': resolve(options.objectsDir ?? join(dir, 'objects')) }
  return {
    's3-bucket': options.s3Bucket,
    ...(options.s3Endpoint && { 's3-endpoint': options.s3Endpoint }),
    ...(options.s3Region && { 's3-region': options.s3Region }),
    ...(options.s3Prefix && { 's3-prefix': options.s3Prefix }),
    ...(options.s3AccessKey && { 's3-access-key': options.s3AccessKey }),
    ...(options.s3SecretKey && { 's3-secret-key': options.s3SecretKey }),
    ...(options.s3Rate && { 's3-rate': options.s3Rate }),
    ...(options.s3RateBytes && { 's3-rate-bytes': options.s3RateBytes }),
  }
}

function banner(facts: {
  readonly options: FleetOptions
  readonly dir: string
  readonly address: string
  readonly adminToken: string | null
  readonly store: string
}): string[] {
  const baseDomain = facts.options.baseDomain ?? 'localhost'
  const port = facts.address.slice(facts.address.lastIndexOf(':') + 1)
  const base = `http://${baseDomain}:${port}`
  const lines = [
    `Pocketfleet ${version} runs a whole fleet on this machine.`,
    '',
    `  control plane   ${base}/api/cp/health`,
    `  tenants         http://{slug}.${baseDomain}:${port}   (or ${base} with the header X-Tenant-ID)`,
    `  metrics         ${base}/metrics`,
    `  data            ${facts.dir}`,
    `  object store    ${facts.store}`,
  ]
  if (facts.adminToken !== null) {
    lines.push(
      '',
      `  First admin token, shown once:  ${facts.adminToken}`,
      '  Make a first tenant:',
      `    curl -X POST ${base}/api/cp/tenants -H 'authorization: Bearer ${facts.adminToken}' \\`,
      `      -H 'content-type: application/json' -d '{"id":"demo","superuser":{"email":"me@example.com","password":"change-me-please"}}'`,
    )
  }
  return lines
}
