// A fleet of several tenant nodes: control plane, gateway and nodes as processes of their own, over one directory of
// objects.

import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import PocketBase from 'pocketbase'
import { freePort } from '../../src/lib/free-port.ts'
import { programCommand, runCli } from './fleet.ts'
import { killTree } from './processes.ts'
import { until } from './wait.ts'

class Part {
  readonly child: Bun.Subprocess<'ignore', 'pipe', 'pipe'>
  output = ''

  constructor(args: readonly string[]) {
    const command = [...programCommand('source'), 'serve', '--log-level=warn', ...args]
    this.child = Bun.spawn(command, { stdin: 'ignore', stdout: 'pipe', stderr: 'pipe' })
    for (const stream of [this.child.stdout, this.child.stderr]) void this.#collect(stream)
  }

  async says(text: string): Promise<this> {
    await until(`"${text}"`, () => {
      if (this.child.exitCode !== null) throw new Error(`ended with ${this.child.exitCode}: ${this.output}`)
      return this.output.includes(text)
    })
    return this
  }

  async kill(): Promise<void> {
    killTree(this.child.pid)
    await this.child.exited
  }

  async #collect(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder()
    for await (const piece of stream) this.output += decoder.decode(piece, { stream: true })
  }
}

interface NodePart {
  readonly part: Part
  /** Of health and metrics. */
  readonly http: string
}

export class NodeFleet implements AsyncDisposable {
  readonly dir: string
  readonly token: string
  readonly port: number
  readonly #controlPlane: string
  readonly #parts: readonly Part[]
  readonly #nodes: ReadonlyMap<string, NodePart>

  private constructor(
    dir: string,
    facts: { token: string; port: number; controlPlane: string; parts: Part[]; nodes: ReadonlyMap<string, NodePart> },
  ) {
    this.dir = dir
    this.token = facts.token
    this.port = facts.port
    this.#controlPlane = facts.controlPlane
    this.#parts = facts.parts
    this.#nodes = facts.nodes
  }

  /** Starts one node for each id, of one worker, and waits until all are healthy. */
  static async start(dir: string, nodeIds: readonly string[]): Promise<NodeFleet> {
    mkdirSync(join(dir, 'objects'), { recursive: true })
    const secret = join(dir, 'secret')
    writeFileSync(secret, 'the-cluster-secret-of-several-nodes', { mode: 0o600 })
    const at = () => `127.0.0.1:${freePort()}`
    const [cp, port] = [at(), freePort()]
    const shared = [`--cluster-secret-file=${secret}`]
    const objects = `--objects-dir=${join(dir, 'objects')}`
    const parts: Part[] = []
    const nodes = new Map<string, NodePart>()
    const add = (...args: string[]) => {
      const part = new Part([...shared, ...args])
      parts.push(part)
      return part
    }
    try {
      const first = await add(
        '--mode=control-plane',
        `--dir=${join(dir, 'cp')}`,
        `--http=${cp}`,
        `--raft-bind=${at()}`,
        `--ipc-bind=${at()}`,
        `--ipc-pub-bind=${at()}`,
        `--public-port=${port}`,
        objects,
      ).says('Control plane on')
      const token = (await until('the token', () => /(admin_\w{32})/.exec(first.output)?.[1] ?? null))!
      await Promise.all([
        add('--mode=gateway', `--http=127.0.0.1:${port}`, `--control-plane=${cp}`).says('Gateway on'),
        ...nodeIds.map(async (id) => {
          const http = at()
          const part = add(
            '--mode=tenant-node',
            `--node-id=${id}`,
            `--dir=${join(dir, id)}`,
            `--http=${http}`,
            `--ipc-bind=${at()}`,
            `--control-plane=${cp}`,
            '--workers=1',
            objects,
          )
          nodes.set(id, { part, http })
          await part.says('Tenant node on')
        }),
      ])
      const fleet = new NodeFleet(dir, { token, port, controlPlane: cp, parts, nodes })
      await until('all nodes', async () => (await fleet.healthyNodes()).length === nodeIds.length)
      return fleet
    } catch (error) {
      for (const part of parts) await part.kill()
      throw error
    }
  }

  async healthyNodes(): Promise<string[]> {
    const { items } = (await this.admin('GET', '/nodes')) as { items: { id: string; state: string }[] }
    return items.filter(({ state }) => state === 'healthy').map(({ id }) => id)
  }

  /** A node dies with its disk. */
  async destroyNode(id: string): Promise<void> {
    await this.#nodes.get(id)!.part.kill()
    rmSync(join(this.dir, id), { recursive: true, force: true })
  }

  /** Sum of the samples of a metric of one node; 0 where there are none. */
  async metric(id: string, name: string): Promise<number> {
    const response = await fetch(`http://${this.#nodes.get(id)!.http}/metrics`)
    const text = await response.text()
    if (!response.ok) throw new Error(`${id} answered ${response.status} to a question for metrics: ${text}`)
    const samples = text
      .split('\n')
      .filter((line) => line.startsWith(`pocketfleet_${name} `) || line.startsWith(`pocketfleet_${name}{`))
    return samples.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0)
  }

  /** Below `/api/cp`; throws what is refused. */
  async admin(method: string, path: string, body?: unknown): Promise<unknown> {
    const response = await fetch(`http://${this.#controlPlane}/api/cp${path}`, {
      method,
      headers: { authorization: `Bearer ${this.token}`, 'content-type': 'application/json' },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`)
    return response.json()
  }

  cli(args: readonly string[]): Promise<string> {
    const env = { POCKETFLEET_URL: `http://${this.#controlPlane}`, POCKETFLEET_TOKEN: this.token }
    return runCli('source', args, env)
  }

  sdk(slug: string): PocketBase {
    const client = new PocketBase(`http://${slug}.localhost:${this.port}`)
    client.autoCancellation(false)
    return client
  }

  /** What all processes printed. */
  get output(): string {
    return this.#parts.map((part) => part.output).join('\n')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const part of this.#parts) await part.kill()
  }
}
