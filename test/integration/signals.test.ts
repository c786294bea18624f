// Goal: however a fleet is told to stop, it ships what it acknowledged and leaves nothing running. Method: a real
// all-in-one in a process group of its own, signalled as a terminal or a service manager does it.

import { afterAll, expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Fleet, runCli } from '../support/fleet.ts'
import { isAlive, processTree, signal } from '../support/processes.ts'
import { until } from '../support/wait.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const root = mkdtempSync(join(tmpdir(), 'pf-signals-'))
const superuser = { email: 'root@example.com', password: 'a-long-password' }

afterAll(() => rmSync(root, { recursive: true, force: true }))

async function withNotes(
  dir: string,
): Promise<{ readonly fleet: Fleet; readonly create: (title: string) => Promise<unknown> }> {
  const fleet = await Fleet.start({ dir, flags: ['--workers=1', '--log-level=info'] })
  const made = await fetch(`${fleet.url}/api/cp/tenants`, {
    method: 'POST',
    headers: { authorization: `Bearer ${fleet.adminToken}`, 'content-type': 'application/json' },
    body: JSON.stringify({ id: 'one', superuser }),
  })
  expect(made.status).toBe(201)
  const client = fleet.sdk('one')
  await client.collection('_superusers').authWithPassword(superuser.email, superuser.password)
  await client.collections.create({ name: 'notes', type: 'base', fields: [{ name: 'title', type: 'text' }] })
  return { fleet, create: (title) => client.collection('notes').create({ title }) }
}

const treeOf = (fleet: Fleet) => processTree(fleet.pid)

test('Ctrl-C reaches every process at once; the fleet still ships in order, and nothing is restarted', async () => {
  const dir = join(root, 'group')
  const { fleet, create } = await withNotes(dir)
  const titles = Array.from({ length: 50 }, (_, index) => `note ${index}`)
  await Promise.all(titles.map(create))
  const tree = treeOf(fleet)
  expect(tree.length).toBeGreaterThanOrEqual(5)
  for (const { pid } of tree) signal(pid, 'SIGINT')
  expect(await fleet.exited).toBe(0)
  // Helpers of a worker that the kernel kills with it may take a moment longer.
  await until('nothing to be left', () => !tree.some(({ pid }) => isAlive(pid)))
  expect(fleet.output).not.toContain('restarting')
  // What lies on the node's disk is gone: everything must have been shipped before the end.
  rmSync(join(dir, 'node'), { recursive: true })
  const again = await Fleet.start({ dir, flags: ['--workers=1'] })
  try {
    expect(again.output).not.toContain('admin token')
    const client = again.sdk('one')
    await client.collection('_superusers').authWithPassword(superuser.email, superuser.password)
    const found = await client.collection('notes').getFullList<{ title: string }>()
    expect(found.map(({ title }) => title).sort()).toEqual([...titles].sort())
  } finally {
    expect(await again.stop()).toBe(0)
  }
}, 180_000)

test('a second signal ends the whole tree at once, also when a child hangs', async () => {
  const { fleet } = await withNotes(join(root, 'second'))
  const tree = treeOf(fleet)
  const hanging = tree.find(({ argv }) => argv.at(-1) === '--config=-')!
  signal(hanging.pid, 'SIGSTOP')
  signal(fleet.pid, 'SIGTERM')
  await until('the launcher to be stopping', () => fleet.output.includes('"stopping"'))
  signal(fleet.pid, 'SIGTERM')
  expect(await fleet.exited).toBe(130)
  await until('the tree to be gone', () => tree.every(({ pid }) => !isAlive(pid)))
}, 180_000)

test('what a child cannot start with ends the launcher at once, in one line', async () => {
  const fleet = await Fleet.start({ dir: join(root, 'taken'), flags: ['--workers=1'] })
  try {
    const sameDirectory = runCli('source', ['serve', `--dir=${fleet.dir}`, '--http=127.0.0.1:0'])
    await expect(sameDirectory).rejects.toThrow(/ended with [12]: [\s\S]*in use by another process/)
    const samePort = runCli('source', ['serve', `--dir=${join(root, 'free')}`, `--http=127.0.0.1:${fleet.port}`])
    await expect(samePort).rejects.toThrow(/ended with 2: [\s\S]*--http: .*in use/)
    expect((await fetch(`${fleet.url}/api/cp/health`)).status).toBe(200)
  } finally {
    await fleet.stop()
  }
}, 180_000)

test('no secret stands in the arguments or the environment of a child', async () => {
  const secret = 'a-cluster-secret-that-nobody-should-see-anywhere'
  const fleet = await Fleet.start({ dir: join(root, 'secrets'), env: { CLUSTER_SECRET: secret } })
  try {
    const children = treeOf(fleet).slice(1)
    expect(children.length).toBeGreaterThanOrEqual(4)
    for (const { pid } of children)
      for (const file of ['cmdline', 'environ'])
        expect(readFileSync(`/proc/${pid}/${file}`, 'utf8')).not.toContain(secret)
  } finally {
    await fleet.stop()
  }
}, 180_000)
