// Tenant nodes as processes, with a fake control plane that says who owns what. For tests that stop, cut off and kill
// nodes and look at what clients were told.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import PocketBase from 'pocketbase'
import { clusterSecrets } from '../../src/ipc/keys.ts'
import type { TenantSpec } from '../../src/ipc/messages/tenant.ts'
import type { Epoch, NodeId, TenantId } from '../../src/lib/brand.ts'
import { newTenantId } from '../../src/lib/id.ts'
import type { ObjectStoreConfig } from '../../src/lib/object-store/open.ts'
import { systemRng } from '../../src/lib/rng.ts'
import type { TenantNodeConfig } from '../../src/node/config.ts'
import { FakeFleetControl } from './fake-fleet-control.ts'
import { nodeConfig, testClusterSecret as secret } from './node-config.ts'
import { killTree, processTree, signal } from './processes.ts'
import { until } from './wait.ts'

const superuser = { email: 'root@example.com', password: 'a-long-password' }

export interface NodeProcess {
  readonly id: NodeId
  readonly dir: string
  readonly pid: number
  /** Of its only worker. */
  readonly url: string
  pause(): void
  resume(): void
  kill(): void
}

/** A node in a process of its own; it ends with us at the latest. `NODES_LOG=1` shows what it logs. */
export function spawnNode(config: TenantNodeConfig): Bun.Subprocess {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, 'node-process.ts')], {
    stdin: 'pipe',
    stdout: 'inherit',
    stderr: process.env['NODES_LOG'] ? 'inherit' : 'ignore',
  })
  child.stdin.write(`${JSON.stringify(config)}\n`)
  child.stdin.flush()
  return child
}

export class Nodes implements AsyncDisposable {
  readonly root = mkdtempSync(join(tmpdir(), 'pf-nodes-'))
  readonly control = new FakeFleetControl(clusterSecrets(secret))
  readonly objects = join(this.root, 'objects')
  readonly #running = new Set<Bun.Subprocess>()

  /** Starts a node and waits until it serves. One of the same name goes on with the files of the one before. */
  async start(id: string, change: Partial<TenantNodeConfig> = {}): Promise<NodeProcess> {
    const nodeId = id as NodeId
    const objectStore: ObjectStoreConfig = { kind: 'file', dir: this.objects }
    const facts = { id, dir: join(this.root, id), controlPlane: this.control.url, objectStore }
    const config = nodeConfig(facts, change)
    this.control.registered.delete(nodeId)
    const child = spawnNode(config)
    this.#running.add(child)
    await until(`${id} to register`, () => this.control.registered.has(nodeId))
    // A heartbeat of one that was killed may have been on its way until then.
    this.control.heartbeats.delete(nodeId)
    const worker = await until(`${id} to serve`, () => this.control.heartbeats.get(nodeId)?.workers[0])
    const signalTree = (name: NodeJS.Signals) => {
      for (const { pid } of processTree(child.pid)) signal(pid, name)
    }
    return {
      id: nodeId,
      dir: config.dir,
      pid: child.pid,
      url: worker.url,
      pause: () => signalTree('SIGSTOP'),
      resume: () => signalTree('SIGCONT'),
      kill: () => killTree(child.pid),
    }
  }

  /** Makes a tenant with a public collection `notes` under epoch 1. */
  async createTenant(node: NodeProcess, change: Partial<TenantSpec> = {}): Promise<TenantId> {
    const id = newTenantId(systemRng)
    const placed = this.control.place(id, node.id, 1, change)
    const hash = await Bun.password.hash(superuser.password, { algorithm: 'bcrypt', cost: 4 })
    const passwordHash = hash.replace('$2b$', '$2a$')
    await this.control.order(node.id, {
      type: 'tenant.create',
      ...placed,
      superuser: { email: superuser.email, passwordHash },
    })
    const client = new PocketBase(node.url)
    client.beforeSend = (url, options) => ({ url, options: { ...options, fetch: this.control.fetchOf(id, 1) } })
    await client.collection('_superusers').authWithPassword(superuser.email, superuser.password)
    const fields = [{ name: 'text', type: 'text', max: 100_000 }]
    const open = { listRule: '', viewRule: '', createRule: '', updateRule: '', deleteRule: '' }
    await client.collections.create({ name: 'notes', type: 'base', fields, ...open })
    return id
  }

  /** Places a tenant elsewhere; nobody is told, as after a failure. `standbys` count from this epoch on. */
  place(
    id: TenantId,
    node: NodeProcess,
    epoch: number,
    change: Partial<TenantSpec> = {},
    standbys?: readonly NodeId[],
  ) {
    const before = this.control.placements.get(id)?.placement.standbySets ?? []
    const placed = this.control.place(id, node.id, epoch, change)
    const nodes = standbys?.map((nodeId) => {
      const { ipcAddress } = this.control.registered.get(nodeId)!
      return { nodeId, ipcAddress }
    })
    const standbySets = nodes === undefined ? before : [...before, { epoch: epoch as Epoch, nodes }]
    const withSets = { ...placed, placement: { ...placed.placement, ...(standbySets.length > 0 && { standbySets }) } }
    this.control.placements.set(id, withSets)
    return withSets
  }

  /** One write as a client behind a gateway makes it; @returns the status. Rejects when no answer comes. */
  async write(
    id: TenantId,
    node: NodeProcess,
    epoch: number,
    text: string,
    options: { readonly ack?: string; readonly timeoutMs?: number } = {},
  ): Promise<number> {
    const response = await this.control.fetchOf(id, epoch)(`${node.url}/api/collections/notes/records`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(options.ack !== undefined && { 'x-ack': options.ack }) },
      body: JSON.stringify({ text }),
      signal: AbortSignal.timeout(options.timeoutMs ?? 12_000),
    })
    await response.text()
    return response.status
  }

  /** Every stored text. */
  async texts(id: TenantId, node: NodeProcess, epoch: number): Promise<Set<string>> {
    const found = new Set<string>()
    for (let page = 1; ; page++) {
      const url = `${node.url}/api/collections/notes/records?perPage=1000&page=${page}&skipTotal=1&sort=@rowid`
      const response = await this.control.fetchOf(id, epoch)(url, { signal: AbortSignal.timeout(15_000) })
      if (response.status !== 200) throw new Error(`${response.status}: ${await response.text()}`)
      const { items } = (await response.json()) as { items: { text: string }[] }
      for (const { text } of items) found.add(text)
      if (items.length < 1_000) return found
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#running) killTree(child.pid)
    await Promise.all([...this.#running].map((child) => child.exited))
    await this.control[Symbol.asyncDispose]()
    rmSync(this.root, { recursive: true, force: true })
  }
}
