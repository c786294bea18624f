// Goal: what standby nodes acknowledged survives the owner and its disk, and nobody acknowledges once a successor has
// asked; the store may be out meanwhile. Method: real nodes as processes; the control plane is a fake that speaks the
// real protocol, the store a directory that is taken away by renaming it.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test'
import { existsSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type NodeProcess, Nodes } from '../support/nodes.ts'
import { until } from '../support/wait.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

let nodes: Nodes
let a: NodeProcess
let b: NodeProcess
let c: NodeProcess

beforeAll(async () => {
  nodes = new Nodes()
  ;[a, b, c] = await Promise.all([nodes.start('a'), nodes.start('b'), nodes.start('c')])
}, 180_000)
afterAll(() => nodes[Symbol.asyncDispose]())

/** A file in the place of the directory: every request to the store fails. */
function storeOut(): void {
  renameSync(nodes.objects, `${nodes.objects}.away`)
  writeFileSync(nodes.objects, '')
}
function storeBack(): void {
  rmSync(nodes.objects)
  renameSync(`${nodes.objects}.away`, nodes.objects)
}

const chains = (node: NodeProcess, id: string) =>
  existsSync(join(node.dir, 'standby', id))
    ? readdirSync(join(node.dir, 'standby', id)).filter((name) => name.endsWith('.chain'))
    : []

test('owner and disk gone while the store was out: the successor has every acknowledged write', async () => {
  const id = await nodes.createTenant(a, { ackMode: 'quorum' })
  nodes.place(id, a, 2, { ackMode: 'quorum' }, [b.id])
  expect(await nodes.write(id, a, 2, 'before the outage')).toBe(200)
  storeOut()
  const acked = ['before the outage']
  try {
    for (let n = 0; n < 20; n++) {
      const text = `${n} ${'x'.repeat(n * 500)}`
      expect(await nodes.write(id, a, 2, text)).toBe(200)
      acked.push(text)
    }
    expect(chains(b, id).length).toBe(1)
    a.kill()
    rmSync(a.dir, { recursive: true, force: true })
  } finally {
    storeBack()
  }
  a = await nodes.start('a')
  nodes.place(id, c, 3, { ackMode: 'quorum' }, [a.id])
  const texts = await until('the successor to serve', () => nodes.texts(id, c, 3))
  expect(acked.filter((text) => !texts.has(text))).toEqual([])
  await until('the old standby to be released', () => chains(b, id).length === 0)
  expect(await nodes.write(id, c, 3, 'after')).toBe(200)
  // The store may have been faster, and then it is what the answer waited for.
  await until('the new standby to have it', () => chains(a, id).length === 1)
}, 180_000)

test('a paused owner that wakes acknowledges nothing; a successor waits for a standby that is away', async () => {
  const id = await nodes.createTenant(a, { ackMode: 'quorum' })
  nodes.place(id, a, 2, { ackMode: 'quorum' }, [b.id])
  expect(await nodes.write(id, a, 2, 'before the pause')).toBe(200)
  a.pause()
  b.pause()
  nodes.place(id, c, 3, { ackMode: 'quorum' }, [])
  const url = `${c.url}/api/health`
  expect((await nodes.control.fetchOf(id, 3)(url)).status).toBe(503) // the standby may hold what was acknowledged
  b.resume()
  await until('the successor to serve', async () => (await nodes.control.fetchOf(id, 3)(url)).status === 200)
  expect(await nodes.write(id, c, 3, 'two')).toBe(200)
  a.resume()
  const status = await nodes.write(id, a, 2, 'from the past', { timeoutMs: 20_000 })
  expect([421, 503]).toContain(status)
  const texts = await nodes.texts(id, c, 3)
  expect(texts.has('before the pause') && texts.has('two') && !texts.has('from the past')).toBe(true)
  const orphan = await until('the orphan', async () => {
    const { orphans } = await nodes.control.order<'orphan.list'>(a.id, { type: 'orphan.list' })
    return orphans.find(({ tenantId }) => tenantId === id)
  })
  const file = { name: orphan.name, file: 'data.db-wal', from: 0, to: 1 << 20 } as const
  const { bytes } = await nodes.control.order<'orphan.read'>(a.id, { type: 'orphan.read', ...file })
  // What it had not shipped. `from the past` is there too, unless it noticed its successor before that.
  expect(new TextDecoder().decode(bytes).includes('before the pause')).toBe(true)
  await nodes.control.order<'orphan.remove'>(a.id, { type: 'orphan.remove', name: orphan.name })
  await expect(nodes.control.order<'orphan.read'>(a.id, { type: 'orphan.read', ...file })).rejects.toMatchObject({
    code: 'orphan_not_found',
  })
}, 180_000)

test('a tenant that moved to a worker for busy ones: its standbys hold what that worker acknowledged alone', async () => {
  const busy = { busyShare: 0.1, busyMs: 0, calmShare: 0, calmMs: 60_000, restMs: 0, awayMax: 16 }
  const d = await nodes.start('d', { busy })
  await nodes.createTenant(d) // who is alone is in nobody's way
  const id = await nodes.createTenant(d, { ackMode: 'quorum' })
  nodes.place(id, d, 2, { ackMode: 'quorum' }, [b.id])
  const away = () => nodes.control.heartbeats.get(d.id)?.away?.find(({ tenantId }) => tenantId === id)?.url ?? null
  const acked: string[] = []
  const write = async (text: string) => {
    const status = await nodes.write(id, { ...d, url: away() ?? d.url }, 2, text)
    if (status === 200) acked.push(text)
    return status
  }
  let isOver = false
  const writers = Array.from({ length: 4 }, async (_, writer) => {
    for (let n = 0; !isOver; n++) await write(`${writer} ${n}`)
  })
  try {
    await until('it to be away', () => away())
  } finally {
    isOver = true
    await Promise.all(writers)
  }
  await until('a write of the other worker', async () => (await write('there')) === 200)
  storeOut()
  try {
    for (let n = 0; n < 20; n++) expect(await write(`alone ${n}`)).toBe(200)
    d.kill()
    rmSync(d.dir, { recursive: true, force: true })
  } finally {
    storeBack()
  }
  nodes.place(id, c, 3, { ackMode: 'quorum' }, [b.id])
  const texts = await until('the successor to serve', () => nodes.texts(id, c, 3))
  expect(acked.filter((text) => !texts.has(text))).toEqual([])
})
