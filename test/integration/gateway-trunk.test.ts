// Goal: many realtime clients of a tenant get through a whole fleet what they would get from the worker itself, although
// what they all get crosses the gateway's connection once. Method: real processes, real sockets.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type PocketBase from 'pocketbase'
import { sseLoad } from '../../bench/load/sse-load.ts'
import { trunkHeaderName, trunkPath } from '../../src/ipc/messages/trunk.ts'
import { Fleet } from '../support/fleet.ts'
import { processTree } from '../support/processes.ts'
import { until } from '../support/wait.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const superuser = { email: 'root@example.com', password: 'a-long-test-password' }
const dir = mkdtempSync(join(tmpdir(), 'pf-trunk-'))
let fleet: Fleet
let client: PocketBase

beforeAll(async () => {
  fleet = await Fleet.start({ dir, flags: ['--workers=1'] })
  const passwordFile = join(dir, 'password')
  await Bun.write(passwordFile, superuser.password)
  const flags = ['--superuser', superuser.email, '--superuser-password-file', passwordFile]
  await fleet.cli(['tenant', 'create', 'demo', ...flags])
  client = fleet.sdk('demo')
  await client.collection('_superusers').authWithPassword(superuser.email, superuser.password)
  await client.collections.create({
    name: 'events',
    type: 'base',
    listRule: '',
    viewRule: '',
    createRule: '',
    fields: [
      { name: 'title', type: 'text' },
      { name: 'large', type: 'json', maxSize: 1_000_000 },
      { name: 'n', type: 'number' },
    ],
  })
}, 180_000)
afterAll(async () => {
  await fleet.killTree()
  rmSync(dir, { recursive: true, force: true })
})

async function gauge(name: string): Promise<number> {
  const text = await (await fetch(`${fleet.url}/metrics`)).text()
  const value = new RegExp(`^pocketfleet_gateway_${name} (\\d+)$`, 'm').exec(text)?.[1]
  if (value === undefined) throw new Error(`the gateway tells no ${name}`)
  return Number(value)
}

const host = () => `demo.localhost:${fleet.port}`

/** An event stream on a raw socket. */
async function listen(headers = '') {
  const state = { text: '', isClosed: false }
  const socket = await Bun.connect({
    hostname: '127.0.0.1',
    port: fleet.port,
    socket: {
      open: (it) => void it.write(`GET /api/realtime HTTP/1.1\r\nHost: ${host()}\r\n${headers}\r\n`),
      data: (_, chunk) => {
        state.text += chunk.toString()
      },
      close: () => {
        state.isClosed = true
      },
    },
  })
  const clientId = await until('the client id', () => /"clientId":"(\w+)"/.exec(state.text)?.[1])
  return { socket, state, clientId }
}

test('every client gets every event once and in order', async () => {
  const clients = 80
  const report = await sseLoad(
    {
      host: '127.0.0.1',
      port: fleet.port,
      name: host(),
      headers: {},
      clients,
      topics: ['events/*'],
      tokens: [],
      create: { path: '/api/collections/events/records', body: { title: 'x' } },
      eventsMax: 20,
      durationMs: 60_000,
    },
    async () => {
      expect([await gauge('trunks'), await gauge('event_streams')]).toEqual([1, clients])
    },
  )
  expect(report).toMatchObject({ events: 20, deliveries: 20 * clients, wrong: 0 })
  await until('all have gone', async () => (await gauge('event_streams')) === 0)
})

test('no client can name a trunk or a seat', async () => {
  const forged = { [trunkHeaderName]: 'a'.repeat(24), host: host() }
  const answers = await Promise.all([
    fetch(fleet.url + trunkPath, { headers: forged }),
    fetch(fleet.url + trunkPath, { headers: { host: host() } }),
    fetch(fleet.url + trunkPath, { method: 'POST', headers: forged, body: new Uint8Array(4) }),
  ])
  expect(answers.map((each) => each.status)).toEqual([404, 404, 404])
  const { socket } = await listen(`x-pocketfleet-seat: ${'a'.repeat(24)}.1\r\n`)
  socket.terminate()
})

test('who does not read loses its connection; the others get everything; all hear of a worker’s death', async () => {
  const others = await Promise.all(Array.from({ length: 20 }, () => listen()))
  await until('a trunk', async () => (await gauge('trunks')) === 1)
  const slow = await listen()
  const subscribe = (clientId: string) =>
    client.send('/api/realtime', {
      method: 'POST',
      body: { clientId, subscriptions: ['events/*'] },
    })
  for (const { clientId } of [...others, slow]) await subscribe(clientId)
  slow.socket.pause()
  const streams = await gauge('event_streams')
  expect(streams).toBe(21)
  expect(gatewayHolds(slow.socket)).toBe(true)
  const large = 'x'.repeat(400_000)
  let sent = 0
  for (; (await gauge('event_streams')) === streams && sent < 100; sent++)
    await client.collection('events').create({ title: `large ${sent}.`, large })
  expect(sent).toBeLessThan(100)
  await until('its connection is cut', () => !gatewayHolds(slow.socket))
  expect(slow.state.isClosed).toBe(false) // it has not heard of it yet
  slow.socket.terminate()
  await until('the others got everything', () => others.every(({ state }) => state.text.includes(`large ${sent - 1}.`)))

  const worker = processTree(fleet.pid).find(({ argv }) => argv.at(-1) === 'worker')!
  process.kill(worker.pid, 'SIGKILL')
  await until('all streams to end', () => others.every(({ state }) => state.isClosed))
  await until('the trunk to be gone', async () => (await gauge('trunks')) === 0)
})

/** Whether the gateway's end of a connection is open, by the system's table of sockets. */
function gatewayHolds(socket: { readonly localPort: number }): boolean {
  const hex = (port: number) => port.toString(16).toUpperCase().padStart(4, '0')
  const rows = readFileSync('/proc/net/tcp', 'utf8').split('\n')
  return rows.some((row) => {
    const [, local, remote, state] = row.trim().split(/\s+/)
    return local?.endsWith(`:${hex(fleet.port)}`) && remote?.endsWith(`:${hex(socket.localPort)}`) && state === '01'
  })
}
