// Goal: nothing that depends on a commit leaves before the object store has it: answers, errors, files, realtime events,
// mails; and a node that may not be the owner any more begins none of it. Method: a `sync` tenant over a store that fails
// until it is told otherwise; an SMTP server and a realtime client listen.

import { afterEach, beforeEach, expect, setDefaultTimeout, test } from 'bun:test'
import { systemClock } from '../../src/lib/clock.ts'
import { MemoryObjectStore } from '../../src/lib/object-store/memory.ts'
import { TenantApi } from '../../src/node/api/app.ts'
import { cronsOf } from '../../src/node/engine/crons/system-jobs.ts'
import type { OpenTenant } from '../../src/node/tenants/pool.ts'
import { type MailServer, startMailServer } from '../support/mail-server.ts'
import { addCollection, addRecord, specOfTest, TenantBench } from '../support/tenant.ts'
import { until } from '../support/wait.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

let store: MemoryObjectStore
let bench: TenantBench
let tenant: OpenTenant
let mails: MailServer
let api: TenantApi
let token = ''
let leaseLostMs = 0

beforeEach(async () => {
  store = new MemoryObjectStore()
  mails = await startMailServer()
  bench = await TenantBench.start(store, { ...systemClock })
  Object.assign(bench.deps, { leaseLostMs: () => leaseLostMs })
  leaseLostMs = 0
  tenant = await bench.create()
  await addCollection(tenant, 'notes', true)
  const { engine } = tenant
  Object.assign(engine, { mayReachPrivate: true }) // the mail server of this test is on this machine
  api = new TenantApi({
    host: { acquire: () => ({ engine, remoteAddress: '192.0.2.1', scheme: 'http', release() {} }) },
  })
  const signedIn = await call('POST', '/api/collections/_superusers/auth-with-password', {
    identity: 'root@example.com',
    password: 'password123',
  })
  expect(signedIn.status).toBe(200)
  token = ((await signedIn.json()) as { token: string }).token
  const smtp = { enabled: true, host: '127.0.0.1', port: mails.port, tls: false, authMethod: 'PLAIN' }
  expect((await call('PATCH', '/api/settings', { smtp })).status).toBe(200)
  await tenant.update({ ...specOfTest(tenant.spec.id), ackMode: 'sync' }, tenant.placement)
  await engine.gate.pass()
})
afterEach(async () => {
  store.fault = null
  await bench[Symbol.asyncDispose]()
  await mails.stop()
})

async function call(method: string, path: string, body?: unknown): Promise<Response> {
  const init = { method, headers: { authorization: token, 'content-type': 'application/json' } }
  const url = `http://t.localhost${path}`
  return api.answer(new Request(url, body === undefined ? init : { ...init, body: JSON.stringify(body) }), null)
}

const closed = () => {
  store.fault = (operation, key) =>
    operation === 'put' && key.includes('/data.db/') ? { type: 'error', status: 503 } : null
}

/** Runs `act` while the store fails; nothing may come of it until the store is back. */
async function holds<T>(act: () => Promise<T>, hasLeft: () => boolean = () => false): Promise<T> {
  closed()
  let isSettled = false
  const acting = act().finally(() => {
    isSettled = true
  })
  const before = store.requestCountOf('put')
  await until('three attempts to ship', () => store.requestCountOf('put') >= before + 3)
  expect(isSettled).toBe(false)
  expect(hasLeft()).toBe(false)
  store.fault = null
  return acting
}

const create = (title: string) => call('POST', '/api/collections/notes/records', { title })

test('an answer to a write, and to a read that has seen it', async () => {
  const answers = await holds(() => Promise.all([create('a'), call('GET', '/api/collections/notes/records')]))
  expect(answers.map(({ status }) => status)).toEqual([200, 200])
})

test('an error that tells of a commit', async () => {
  const path = '/api/collections/notes'
  expect((await call('PATCH', path, { indexes: ['CREATE UNIQUE INDEX idx_title ON notes (title)'] })).status).toBe(200)
  const [made, refused] = await holds(() => Promise.all([create('same'), create('same')]))
  expect([made.status, refused.status].sort()).toEqual([200, 400])
})

test('a file of a record that was just made', async () => {
  const record = await addRecord(tenant, 'notes', 'with a file', ['photo.txt'])
  const [name] = record.texts('photos')
  const answer = await holds(() => call('GET', `/api/files/notes/${record.id}/${name}`))
  expect(answer.status).toBe(200)
})

test('a realtime event', async () => {
  const stream = await call('GET', '/api/realtime')
  const reader = stream.body!.getReader()
  let heard = ''
  void (async () => {
    for (let read = await reader.read(); !read.done; read = await reader.read())
      heard += new TextDecoder().decode(read.value)
  })()
  const clientId = await until('the connection', () => /"clientId":"(\w+)"/.exec(heard)?.[1])
  expect((await call('POST', '/api/realtime', { clientId, subscriptions: ['notes/*'] })).status).toBe(204)
  await holds(
    () => create('heard of'),
    () => heard.includes('heard of'),
  )
  await until('the event', () => heard.includes('heard of'))
  await reader.cancel()
})

test('a mail', async () => {
  await call('POST', '/api/collections', { name: 'people', type: 'auth' })
  const person = { email: 'one@example.com', password: 'password123', passwordConfirm: 'password123' }
  expect((await call('POST', '/api/collections/people/records', person)).status).toBe(200)
  closed()
  const tries = async () => {
    const before = store.requestCountOf('put')
    await until('two attempts to ship', () => store.requestCountOf('put') >= before + 2)
  }
  const writing = create('not durable yet')
  await tries()
  const asking = call('POST', '/api/collections/people/request-verification', { email: 'one@example.com' })
  await tries()
  expect(mails.mails).toEqual([])
  store.fault = null
  await mails.take('one@example.com')
  expect([(await asking).status, (await writing).status]).toEqual([204, 200])
})

test('many writers wait for few files', async () => {
  const before = store.requestCountOf('put')
  const answers = await Promise.all(Array.from({ length: 50 }, (_, n) => create(`w${n}`)))
  expect(answers.every(({ status }) => status === 200)).toBe(true)
  expect(store.requestCountOf('put') - before).toBeLessThan(25)
})

test('cut off from store and control plane for ten seconds: no write is applied, no job runs, no mail leaves', async () => {
  await call('POST', '/api/collections', { name: 'people', type: 'auth' })
  const person = { email: 'two@example.com', password: 'password123', passwordConfirm: 'password123' }
  expect((await call('POST', '/api/collections/people/records', person)).status).toBe(200)
  store.fault = () => ({ type: 'error', status: 503 })
  leaseLostMs = 11_000
  const { monotonic } = bench.clock
  const { commitSeq } = tenant.engine.data
  // The watch has heard of the store a moment ago: only its clock makes that long past.
  Object.assign(bench.clock, { monotonic: () => monotonic() + 20_000 })
  try {
    const refused = await create('never')
    expect(refused.status).toBe(503)
    expect(refused.headers.get('retry-after')).toBe('2')
    await call('POST', '/api/collections/people/request-verification', { email: 'two@example.com' })
    await cronsOf(tenant.engine).runNow('__pbDBOptimize__')
    expect(tenant.engine.data.commitSeq).toBe(commitSeq)
    expect((await call('GET', '/api/collections/notes/records')).status).toBe(200) // reads go on
  } finally {
    Object.assign(bench.clock, { monotonic })
  }
  leaseLostMs = 0
  store.fault = null
  expect((await create('again')).status).toBe(200)
  await call('POST', '/api/collections/people/request-password-reset', { email: 'two@example.com' })
  await mails.take('two@example.com')
  expect(mails.mails).toEqual([]) // the one from before never left
})
