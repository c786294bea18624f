// Goal: a worker that was stopped is killed and replaced within a second, one that computes only after ten, and one that
// answers never. Method: small programs in place of the worker, real signals, a simulated clock for the supervisor.

import { afterEach, expect, setDefaultTimeout, test } from 'bun:test'
import { until } from '../../test/support/wait.ts'
import { SimClock } from '../lib/clock.ts'
import { silentLogger as log } from '../lib/obs/log.ts'
import { seededRng } from '../lib/rng.ts'
import type { WorkerConfig } from './config.ts'
import { type WorkerDeps, WorkerProcess } from './worker-process.ts'
import { noWarm, type WorkerLoad } from './worker-protocol.ts'

setDefaultTimeout(60_000)

/** Says that it serves and answers pings; `follow` makes it compute for ever. */
const program = `
  const say = (message) => process.stdout.write(JSON.stringify(message) + '\\n')
  say({ type: 'ready', url: 'http://127.0.0.1:1' })
  let rest = ''
  let answers = 0
  for await (const piece of Bun.stdin.stream()) {
    rest += new TextDecoder().decode(piece)
    for (let end = rest.indexOf('\\n'); end >= 0; end = rest.indexOf('\\n')) {
      const message = JSON.parse(rest.slice(0, end))
      rest = rest.slice(end + 1)
      if (message.type === 'ping') say({ type: 'pong', id: message.id, load: { ...LOAD, requests: ++answers }, atMs: 0 })
      if (message.type === 'follow') for (;;) {}
      if (message.type === 'stop') process.exit(0)
    }
  }`

let worker: WorkerProcess | null = null
afterEach(() => worker?.kill())

/** Asks one question, and says in its figures what it was answered first. */
const asking = `
  const say = (message) => process.stdout.write(JSON.stringify(message) + '\\n')
  say({ type: 'ready', url: 'http://127.0.0.1:1' })
  say({ type: 'ask', id: 1, question: { type: 'placement.get', tenantId: String(process.pid) } })
  let rest = ''
  let heard = null
  for await (const piece of Bun.stdin.stream()) {
    rest += new TextDecoder().decode(piece)
    for (let end = rest.indexOf('\\n'); end >= 0; end = rest.indexOf('\\n')) {
      const message = JSON.parse(rest.slice(0, end))
      rest = rest.slice(end + 1)
      if (message.type === 'answer') heard ??= message.outcome.value
      if (message.type === 'ping') say({ type: 'pong', id: message.id, load: { heard }, atMs: 0 })
    }
  }`

async function start(waitedMs?: (clock: SimClock) => number, clock = new SimClock()): Promise<SimClock> {
  const load: Pick<WorkerLoad, 'warm' | 'requests'> = { warm: noWarm, requests: 0 }
  await run(clock, program.replace('LOAD', JSON.stringify(load)), {
    ...(waitedMs && { waitedMs: () => waitedMs(clock) }),
    onQuestion: () => Promise.reject(new Error('nobody asks here')),
  })
  return clock
}

async function run(clock: SimClock, source: string, deps: Pick<WorkerDeps, 'onQuestion' | 'waitedMs'>): Promise<void> {
  worker = new WorkerProcess({ index: 0 } as WorkerConfig, {
    clock,
    rng: seededRng(1),
    log,
    command: [process.execPath, '-e', source],
    onAddress: () => {},
    onOpened: () => {},
    leaseMsLeft: () => 0,
    ...deps,
  })
  await worker.start()
}

/** Lets the supervisor look for so long, in its own time; output of the worker is heard in between. */
async function look(clock: SimClock, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 250) {
    await clock.advance(250)
    await new Promise((resolve) => setImmediate(resolve))
  }
}

async function halt(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP')
  if (process.platform !== 'linux') return // nobody tells
  await until('it to be stopped', async () => (await Bun.file(`/proc/${pid}/stat`).text()).includes(') T '))
}

const replaced = (pid: number, clock: SimClock) =>
  until('another worker', async () => {
    await clock.advance(50) // its restart has a pause
    return worker!.pid !== null && worker!.pid !== pid && worker!.url !== null
  })

test.skipIf(process.platform !== 'linux')('a stopped worker is replaced within a second and a quarter', async () => {
  const clock = await start()
  const pid = worker!.pid!
  await halt(pid)
  await look(clock, 1_500)
  await replaced(pid, clock)
  expect(worker!.restarts).toBe(1)
})

test.skipIf(process.platform !== 'linux')(
  'more than a pipe holds for a stopped worker costs its supervisor nothing',
  async () => {
    const clock = await start()
    const pid = worker!.pid!
    await halt(pid)
    // 64 KiB wait in the pipe; the rest is refused when the worker is killed.
    for (let n = 0; n < 3_000; n++) worker!.follow({ tenantId: `tenant-${n}` as never, databases: ['data.db'] })
    await look(clock, 1_500)
    await replaced(pid, clock)
    expect(worker!.restarts).toBe(1)
  },
)

test('a supervisor that stood still for long takes no worker for silent', async () => {
  class HaltingClock extends SimClock {
    stoodStillMs = 0
    override monotonic(): number {
      return super.monotonic() + this.stoodStillMs
    }
  }
  const clock = new HaltingClock()
  await start(undefined, clock)
  const pid = worker!.pid!
  for (let round = 0; round < 3; round++) {
    const before = worker!.load?.requests ?? 0
    clock.stoodStillMs += 70_000
    await look(clock, 500)
    await until('an answer to what was asked behind that', () => (worker!.load?.requests ?? 0) > before)
  }
  expect([worker!.pid, worker!.restarts]).toEqual([pid, 0])
  worker!.follow({ tenantId: 't' as never, databases: [] }) // it computes for ever
  await look(clock, 11_000)
  await replaced(pid, clock)
})

const runaways = [
  { what: 'a worker that computes is not taken for a stopped one, but ends after ten seconds', silentMs: 9_000 },
  {
    what: 'what a worker waited for a core is no silence, for a minute',
    silentMs: 59_000,
    waitedMs: (clock: SimClock) => clock.monotonic() * 0.9,
  },
]
for (const { what, silentMs, waitedMs } of runaways)
  test(what, async () => {
    const clock = await start(waitedMs)
    const pid = worker!.pid!
    worker!.follow({ tenantId: 't' as never, databases: [] })
    await look(clock, silentMs)
    expect(worker!.pid).toBe(pid)
    await look(clock, 1_500)
    await replaced(pid, clock)
    expect(worker!.restarts).toBe(1)
  })

test('a worker that was stopped for a moment goes on, also again and again', async () => {
  const clock = await start()
  const pid = worker!.pid!
  for (let round = 0; round < 3; round++) {
    await halt(pid)
    await look(clock, 500)
    process.kill(pid, 'SIGCONT')
    const before = worker!.load?.requests ?? 0
    await until('an answer', () => (worker!.load?.requests ?? 0) > before)
  }
  expect(worker!.pid).toBe(pid)
})

test('what a worker asked before it died is not answered to the next one, whose questions have the same numbers', async () => {
  const asked: { readonly by: string; readonly answer: (value: unknown) => void }[] = []
  const clock = new SimClock()
  await run(clock, asking, {
    onQuestion: ({ tenantId }) => {
      const { promise, resolve } = Promise.withResolvers<unknown>()
      asked.push({ by: tenantId, answer: resolve })
      return promise
    },
  })
  await until('the first question', () => asked.length === 1)
  process.kill(worker!.pid!, 'SIGKILL')
  await replaced(Number(asked[0]!.by), clock)
  await until('the second question', () => asked.length === 2)
  asked[0]!.answer('of the first')
  asked[1]!.answer('of the second')
  const heard = await until('an answer', async () => {
    await clock.advance(250) // a ping
    return (worker!.load as { readonly heard?: unknown } | null)?.heard
  })
  expect(heard).toBe('of the second')
  expect(asked.map(({ by }) => by)[1]).toBe(String(worker!.pid))
})
