// Goal: every one of many realtime clients on real sockets gets every event once and in order, by its own rules, and who
// does not read is sent away. Method: the generator of the bench; ten thousand are the bench's, `bun run bench realtime`.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test'
import { readdirSync } from 'node:fs'
import { sseLoad } from '../../bench/load/sse-load.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { newAuthToken } from '../../src/node/engine/auth/tokens.ts'
import { EngineRecord } from '../../src/node/engine/records/record.ts'
import { saveUser } from '../support/engine.ts'
import { type Standalone, startStandalone } from '../support/standalone.ts'
import { until } from '../support/wait.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const clients = 200
const events = 10

let standalone: Standalone
let tokens: string[]

beforeAll(async () => {
  standalone = await startStandalone()
  const { engine } = standalone
  tokens = []
  for (let i = 0; i < 4; i++) {
    const user = await saveUser(engine, 'users', { email: `user${i}@example.com` })
    tokens.push(newAuthToken(user, systemClock.now()))
  }
  const superuser = await saveUser(engine, '_superusers', { email: 'root@example.com' })
  const rules = { open: '', members: '@request.auth.id != ""', owned: 'owner = "" || owner = @request.auth.id' }
  const fields = [
    { type: 'text', name: 'title' },
    { type: 'text', name: 'owner' },
    { type: 'number', name: 'n' },
  ]
  for (const [name, rule] of Object.entries(rules))
    await call(
      '/api/collections',
      { name, type: 'base', listRule: rule, viewRule: rule, createRule: '', fields },
      newAuthToken(superuser, systemClock.now()),
    )
}, 180_000)
afterAll(() => standalone.stop())

async function call(path: string, body: unknown, token: string): Promise<void> {
  const headers = { authorization: token, 'content-type': 'application/json' }
  const response = await fetch(standalone.url + path, { method: 'POST', headers, body: JSON.stringify(body) })
  const text = await response.text()
  if (!response.ok) throw new Error(`${path}: ${response.status} ${text}`)
}

const listen = (name: string, options: { readonly clients?: number; readonly tokens: readonly string[] }) => {
  const { hostname, port } = new URL(standalone.url)
  return sseLoad(
    {
      host: hostname,
      port: Number(port),
      name: hostname,
      headers: {},
      clients: options.clients ?? clients,
      topics: [`${name}/*`],
      tokens: options.tokens,
      create: { path: `/api/collections/${name}/records`, body: { title: 'x' } },
      eventsMax: events,
      durationMs: 60_000,
    },
    () => {},
  )
}

for (const name of ['open', 'members', 'owned'])
  test(`every client gets every event once and in order: ${name}`, async () => {
    const report = await listen(name, { tokens: name === 'open' ? [] : tokens })
    expect(report).toMatchObject({ events, deliveries: events * clients, wrong: 0 })
    await until('all have gone', () => standalone.engine.realtime.size === 0)
  }, 180_000)

test('clients that share a rule are told apart where it does', async () => {
  const { engine } = standalone
  const got: string[][] = []
  const streams = await Promise.all(
    [...tokens, ''].map(async (token, i) => {
      const abort = new AbortController()
      const response = await fetch(`${standalone.url}/api/realtime`, { signal: abort.signal })
      const reader = response.body!.getReader()
      const decoder = new TextDecoder()
      let text = ''
      got[i] = []
      const read = async () => {
        for (;;) {
          const { done, value } = await reader.read()
          if (done) return
          text += decoder.decode(value, { stream: true })
          got[i] = [...text.matchAll(/"title":"(\w+)"/g)].map((match) => match[1]!)
        }
      }
      const reading = read().catch(() => {}) // aborted below
      const clientId = await until('the client id', () => /"clientId":"(\w+)"/.exec(text)?.[1])
      await call('/api/realtime', { clientId, subscriptions: ['owned/*', 'members/*'] }, token)
      return { abort, reading }
    }),
  )
  const users = engine.data.all<{ id: string }>('SELECT id FROM users ORDER BY rowid')
  const save = async (collection: string, values: Readonly<Record<string, unknown>>) => {
    const record = EngineRecord.blank(engine.collections.require(collection))
    for (const [name, value] of Object.entries(values)) record.set(name, value)
    await engine.records.save(record)
  }
  for (const [i, { id }] of users.entries()) await save('owned', { title: `own${i}`, owner: id })
  await save('members', { title: 'members' })
  await save('owned', { title: 'last', owner: '' })
  await until('the last message', () => got.every((titles) => titles.includes('last')))
  expect(got).toEqual([
    ...tokens.map((_, i) => [`own${i}`, 'members', 'last']),
    ['last'], // a guest
  ])
  for (const { abort, reading } of streams) {
    abort.abort()
    await reading
  }
}, 180_000)

const descriptors = () => readdirSync('/proc/self/fd').length

test('a client that does not read is sent away; the others do not notice', async () => {
  const { engine } = standalone
  await until('all have gone', () => engine.realtime.size === 0)
  const { hostname, port } = new URL(standalone.url)
  let clientId = ''
  let closed = false
  const idle = await Bun.connect({
    hostname,
    port: Number(port),
    socket: {
      open: (socket) => void socket.write(`GET /api/realtime HTTP/1.1\r\nHost: ${hostname}\r\n\r\n`),
      data(socket, chunk) {
        clientId ||= /"clientId":"(\w+)"/.exec(chunk.toString())?.[1] ?? ''
        if (clientId !== '') socket.pause()
      },
      close() {
        closed = true
      },
    },
  })
  await until('the client id', () => clientId !== '')
  await call('/api/realtime', { clientId, subscriptions: ['open/*'] }, '')
  const open = descriptors()
  const title = 'x'.repeat(4_900)
  let sent = 0
  for (; engine.realtime.size > 0 && sent < 20_000; sent++) {
    const record = EngineRecord.blank(engine.collections.require('open'))
    record.set('title', title)
    await engine.records.save(record)
    await engine.realtime.idle()
  }
  expect(engine.realtime.size).toBe(0)
  // Its own backlog of 1 MiB, and what the system's socket buffers take.
  expect(sent * title.length).toBeLessThan(32 * 1024 * 1024)
  await until('its connection is cut, although it still does not read', () => descriptors() < open)
  expect(closed).toBe(false) // it has not heard of it yet
  idle.terminate()
}, 180_000)
