// Goal: control plane, tenant node and gateway, each started by hand, form a fleet; each ends in order when it is told
// to. Method: three real processes, one configured by flags, one by its environment, one by both; wrong ones beside.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import PocketBase from 'pocketbase'
import { freePort } from '../../src/lib/free-port.ts'
import { programCommand } from '../support/fleet.ts'
import { isAlive, processTree, signal } from '../support/processes.ts'
import { until } from '../support/wait.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const root = mkdtempSync(join(tmpdir(), 'pf-separate-'))
const objects = join(root, 'objects')
const secret = 'the-cluster-secret-of-separate-processes'
const secretFile = join(root, 'secret')
const superuser = { email: 'root@example.com', password: 'a-long-password' }
const ports = {
  cp: freePort(),
  raft: freePort(),
  ipc: freePort(),
  pub: freePort(),
  node: freePort(),
  nodeIpc: freePort(),
}
const gatewayPort = freePort()
const at = (port: number) => `127.0.0.1:${port}`

class Process {
  readonly child: Bun.Subprocess<'ignore', 'pipe', 'pipe'>
  output = ''

  constructor(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    this.child = Bun.spawn([...programCommand('source'), ...args], {
      stdin: 'ignore',
      stdout: 'pipe',
      stderr: 'pipe',
      env: { ...process.env, ...env },
    })
    for (const stream of [this.child.stdout, this.child.stderr]) void this.#collect(stream)
  }

  async #collect(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder()
    for await (const chunk of stream) this.output += decoder.decode(chunk, { stream: true })
  }

  /** Waits for a line of its banner. */
  async says(text: string): Promise<this> {
    await until(`"${text}"`, () => {
      if (this.child.exitCode !== null) throw new Error(`ended with ${this.child.exitCode}: ${this.output}`)
      return this.output.includes(text)
    })
    return this
  }

  stop(): Promise<number> {
    this.child.kill('SIGTERM')
    return this.child.exited
  }
}

const controlPlane = () =>
  new Process([
    'serve',
    '--mode=control-plane',
    `--dir=${join(root, 'cp')}`,
    `--http=${at(ports.cp)}`,
    `--raft-bind=${at(ports.raft)}`,
    `--ipc-bind=${at(ports.ipc)}`,
    `--ipc-pub-bind=${at(ports.pub)}`,
    `--objects-dir=${objects}`,
    `--cluster-secret-file=${secretFile}`,
  ]).says('Control plane on')

const nodeEnvironment = (change: Readonly<Record<string, string>> = {}) => ({
  MODE: 'tenant-node',
  DATA_DIR: join(root, 'node'),
  NODE_ID: 'node-a',
  HTTP_ADDR: at(ports.node),
  IPC_BIND_ADDR: at(ports.nodeIpc),
  CONTROL_PLANE_ADDRS: at(ports.cp),
  OBJECTS_DIR: objects,
  CLUSTER_SECRET: secret,
  WORKERS: '1',
  ...change,
})
const tenantNode = () => new Process(['serve'], nodeEnvironment()).says('Tenant node on')

const gateway = () =>
  new Process(
    [
      'serve',
      '--mode=gateway',
      `--http=${at(gatewayPort)}`,
      `--control-plane=${at(ports.cp)}`,
      '--base-domain=localhost',
    ],
    { CLUSTER_SECRET_FILE: secretFile },
  ).says('Gateway on')

const url = `http://${at(gatewayPort)}`
const client = (slug: string) => {
  const made = new PocketBase(`http://${slug}.localhost:${gatewayPort}`)
  made.autoCancellation(false)
  return made
}
const ready = async (port: number) => (await fetch(`http://${at(port)}/health/ready`)).status === 200
const running: Process[] = []
let token = ''
const admin = (method: string, path: string, body?: unknown) =>
  fetch(`http://${at(ports.cp)}/api/cp${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })

beforeAll(async () => {
  mkdirSync(objects)
  writeFileSync(secretFile, `${secret}\n`, { mode: 0o600 })
  const [cp, node, gw] = [await controlPlane(), await tenantNode(), await gateway()]
  running.push(cp, node, gw)
  await cp.says('First admin token')
  token = /(admin_\w{32})/.exec(cp.output)![1]!
  await until('the node to be registered', () => ready(ports.node))
  await until('the gateway to be ready', () => ready(gatewayPort))
}, 180_000)

afterAll(async () => {
  for (const { child } of running) {
    for (const { pid } of processTree(child.pid)) signal(pid, 'SIGKILL')
    await child.exited
  }
  rmSync(root, { recursive: true, force: true })
})

describe('a fleet of separate processes', () => {
  test('takes a tenant and its records, by host and by header', async () => {
    expect((await admin('POST', '/tenants', { id: 'shop', superuser })).status).toBe(201)
    const shop = client('shop')
    await shop.collection('_superusers').authWithPassword(superuser.email, superuser.password)
    await shop.collections.create({
      name: 'notes',
      type: 'base',
      listRule: '',
      fields: [{ name: 'title', type: 'text' }],
    })
    for (let n = 0; n < 20; n++) await shop.collection('notes').create({ title: `note ${n}` })
    const path = '/api/collections/notes/records'
    for (const base of [url, `http://localhost:${gatewayPort}`]) {
      const byHeader = await fetch(base + path, { headers: { 'x-tenant-id': 'shop' } })
      expect(((await byHeader.json()) as { totalItems: number }).totalItems).toBe(20)
    }
    // Where the host names a tenant, the header says nothing.
    const named = await fetch(`http://nobody.localhost:${gatewayPort}${path}`, { headers: { 'x-tenant-id': 'shop' } })
    expect(named.status).toBe(404)
    const oddHost = await fetch(url + path, {
      headers: { host: `ShOp.LocalHost:${gatewayPort}` },
    })
    expect(oddHost.status).toBe(200)
  })

  test('unknown tenants are 404 in PocketBase’s shape', async () => {
    const answer = await fetch(`http://nobody.localhost:${gatewayPort}/api/health`)
    expect(answer.status).toBe(404)
    expect(await answer.json()).toEqual({ status: 404, message: expect.any(String), data: {} })
  })

  test('a renamed tenant answers under its new name at once, and no longer under the old one', async () => {
    expect((await admin('POST', '/tenants', { id: 'before', superuser })).status).toBe(201)
    expect((await fetch(`http://before.localhost:${gatewayPort}/api/health`)).status).toBe(200)
    expect((await fetch(`http://after.localhost:${gatewayPort}/api/health`)).status).toBe(404) // remembered, too
    expect((await admin('PUT', '/tenants/before', { slug: 'after' })).status).toBe(200)
    await until(
      'the broadcast',
      async () => (await fetch(`http://after.localhost:${gatewayPort}/api/health`)).status === 200,
    )
    await until(
      'the old name to be gone',
      async () => (await fetch(`http://before.localhost:${gatewayPort}/api/health`)).status === 404,
    )
  })

  test('no secret stands in the environment or arguments of a worker, though its supervisor had it there', () => {
    const workers = processTree(running[1]!.child.pid).slice(1)
    expect(workers.length).toBeGreaterThanOrEqual(1)
    for (const { pid } of workers)
      for (const file of ['cmdline', 'environ'])
        expect(readFileSync(`/proc/${pid}/${file}`, 'utf8')).not.toContain(secret)
  })

  test('a node with another secret is not let in, and is not ready', async () => {
    const port = freePort()
    const stranger = await new Process(
      ['serve', `--dir=${join(root, 'stranger')}`, `--http=${at(port)}`, `--ipc-bind=${at(freePort())}`],
      nodeEnvironment({ NODE_ID: 'stranger', CLUSTER_SECRET: 'another-secret-that-is-long-enough-too' }),
    ).says('Tenant node on')
    running.push(stranger)
    expect(await ready(port)).toBe(false)
    // The node that belongs here is heard several times meanwhile; the stranger is not.
    await until('the real node to be listed', async () =>
      (await (await admin('GET', '/nodes')).text()).includes('node-a'),
    )
    expect(await (await admin('GET', '/nodes')).text()).not.toContain('stranger')
    expect(await ready(port)).toBe(false)
    expect(await stranger.stop()).toBe(0)
  })

  test('each ends with 0 on SIGTERM, and what it had is in the object store', async () => {
    const shop = client('shop')
    await shop.collection('_superusers').authWithPassword(superuser.email, superuser.password)
    await shop.collection('notes').create({ title: 'the last one' })
    const trees = running.flatMap(({ child }) => processTree(child.pid))
    for (const each of running.slice(0, 3).reverse()) expect(await each.stop()).toBe(0)
    await until('nothing to be left', () => !trees.some(({ pid }) => isAlive(pid)))
    rmSync(join(root, 'node'), { recursive: true })
    running.splice(0, running.length, await controlPlane(), await tenantNode(), await gateway())
    expect(running[0]!.output).not.toContain('admin_')
    await until('the node to be registered', () => ready(ports.node))
    const list = () => client('shop').collection('notes').getList(1, 1)
    const found = await until('the tenant to answer', list)
    expect(found.totalItems).toBe(21)
    expect(existsSync(join(root, 'node'))).toBe(true)
  }, 180_000)

  test('a worker that is dead takes its tenants nowhere: it is back, and they are', async () => {
    const shop = client('shop')
    const worker = processTree(running[1]!.child.pid).find(({ argv }) => argv.at(-1) === 'worker')!
    signal(worker.pid, 'SIGKILL')
    const found = await until('the tenant to answer again', () => shop.collection('notes').getList(1, 1))
    expect(found.totalItems).toBe(21)
    expect(isAlive(running[1]!.child.pid)).toBe(true)
  })

  test('a second SIGTERM ends a node at once that waits for a worker that hangs, and the worker with it', async () => {
    const node = running[1]!
    const tree = processTree(node.child.pid)
    signal(tree.find(({ argv }) => argv.at(-1) === 'worker')!.pid, 'SIGSTOP')
    node.child.kill('SIGTERM')
    await until('it to be stopping', () => node.output.includes('"stopping"'))
    node.child.kill('SIGTERM')
    expect(await node.child.exited).toBe(130)
    await until('all of it to be gone', () => tree.every(({ pid }) => !isAlive(pid)))
  })

  test('without the node its tenants are 502 or 503 in PocketBase’s shape', async () => {
    const answer = await fetch(`http://shop.localhost:${gatewayPort}/api/collections/notes/records`)
    expect([502, 503]).toContain(answer.status)
    expect(await answer.json()).toEqual({ status: answer.status, message: expect.any(String), data: {} })
  }, 180_000)
})

describe('what cannot be is said in one line', () => {
  const cases: readonly [what: string, args: readonly string[], expected: RegExp][] = [
    ['an unknown flag', ['serve', '--worker=2'], /unknown option '--worker'.*--workers/],
    ['a bad value', ['serve', '--mode=tenant-node', '--workers=many'], /--workers: got "many", expected/],
    ['an unknown mode', ['serve', '--mode=everything'], /--mode: got "everything", expected .*all-in-one/],
    ['no secret', ['serve', '--mode=gateway', '--control-plane=127.0.0.1:1'], /--cluster-secret/],
    [
      'a short secret',
      ['serve', '--mode=gateway', '--cluster-secret=short'],
      /--cluster-secret: got a value of 5 char/,
    ],
    [
      'no control plane',
      ['serve', '--mode=gateway', `--cluster-secret=${secret}`],
      /--control-plane: this mode needs the HTTP address/,
    ],
    [
      'no object store',
      ['serve', '--mode=tenant-node', `--cluster-secret=${secret}`, `--control-plane=${at(1)}`],
      /--s3-bucket: this mode needs an object store/,
    ],
    [
      'an object store that cannot be reached',
      [
        'serve',
        '--mode=control-plane',
        `--cluster-secret=${secret}`,
        '--s3-bucket=abc',
        `--s3-endpoint=http://${at(1)}`,
      ],
      /--s3-bucket: /,
    ],
    [
      'an unwritable directory',
      ['serve', '--mode=all-in-one', '--dir=/proc/nowhere'],
      /--dir: cannot create \/proc\/nowhere/,
    ],
    [
      'a port in use',
      ['serve', '--mode=gateway', `--cluster-secret=${secret}`, '--control-plane=127.0.0.1:1', `--http=PORT`],
      /--http: .*in use/,
    ],
  ]
  for (const [what, args, expected] of cases) {
    test(what, async () => {
      using taken = Bun.serve({ hostname: '127.0.0.1', port: 0, fetch: () => new Response('taken') })
      const started = new Process(args.map((arg) => arg.replace('PORT', at(taken.port!))))
      running.push(started)
      expect(await started.child.exited).toBe(2)
      await until('its output', () => started.output.endsWith('\n'))
      expect(started.output).toMatch(expected)
      expect(started.output.trimEnd().split('\n')).toHaveLength(1)
      expect(started.output).not.toContain(secret)
    }, 180_000)
  }

  test('--help is there for the program and for each verb', async () => {
    for (const verb of [[], ['serve'], ['tenant'], ['tenant', 'create'], ['admin'], ['node'], ['superuser']]) {
      const help = new Process([...verb, '--help'])
      expect(await help.child.exited).toBe(0)
      await until('its output', () => help.output.includes('Usage: pocketfleet'))
    }
  }, 180_000)
})
