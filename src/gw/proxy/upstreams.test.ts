// Goal: questions and answers of kept connections do not mix, whatever workers and clients do.
// Method: workers that write their bytes by hand.

import { afterEach, expect, test } from 'bun:test'
import type { Socket } from 'bun'
import { SimClock } from '../../lib/clock.ts'
import { Exchange, type Question } from './exchange.ts'
import type { Attempt } from './http.ts'
import { encodeQuestion, Upstreams } from './upstreams.ts'

interface Visit {
  /** Connections so far, this one included. */
  readonly connection: number
  readonly request: string
  readonly socket: Socket<{ text: string; number: number }>
}

const closers: (() => void)[] = []
afterEach(() => {
  for (const close of closers.splice(0)) close()
})

/** A worker that calls `answer` for each request that has arrived in full. */
function startWorker(answer: (visit: Visit) => void) {
  const seen = { connections: 0, closed: 0 }
  const server = Bun.listen<{ text: string; number: number }>({
    hostname: '127.0.0.1',
    port: 0,
    socket: {
      open(socket) {
        socket.data = { text: '', number: ++seen.connections }
      },
      data(socket, bytes) {
        socket.data.text += bytes.toString('latin1')
        const end = socket.data.text.indexOf('\r\n\r\n')
        const length = Number(/content-length: (\d+)/.exec(socket.data.text)?.[1] ?? 0)
        if (end < 0 || socket.data.text.length < end + 4 + length) return
        const request = socket.data.text
        socket.data.text = ''
        answer({ connection: socket.data.number, request, socket })
      },
      close() {
        seen.closed++
      },
    },
  })
  closers.push(() => server.stop(true))
  return { origin: `http://127.0.0.1:${server.port}`, seen }
}

function openUpstreams() {
  const clock = new SimClock()
  const streams: { readonly response: Response; readonly end: () => void; ended: number }[] = []
  const upstreams = new Upstreams({
    clock,
    onEventStream(response, end) {
      const stream = { response, end, ended: 0 }
      streams.push(stream)
      return () => {
        stream.ended++
      }
    },
  })
  closers.push(() => upstreams.close())
  return { upstreams, clock, streams }
}

const question = (origin: string, changes: Partial<Question> = {}): Question => ({
  origin,
  method: 'GET',
  target: '/x?y=1',
  headers: [['host', 'a.test']],
  body: null,
  signal: new AbortController().signal,
  ...changes,
})

async function bodyOf(attempt: Attempt): Promise<string> {
  if (attempt.outcome !== 'answered') throw new Error(`not answered: ${attempt.outcome}`)
  return attempt.response.text()
}

const counted = (text: string) => `HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\n\r\n${text}`
const until = async (condition: () => boolean) => {
  while (!condition()) await new Promise(setImmediate)
}

test('a connection is kept for the next question, and closed when none comes', async () => {
  const worker = startWorker(({ connection, request, socket }) =>
    socket.write(counted(`${connection} ${request.split('\r\n')[0]}`)),
  )
  const { upstreams, clock } = openUpstreams()
  for (let i = 0; i < 3; i++)
    expect(await bodyOf(await upstreams.ask(question(worker.origin)))).toBe('1 GET /x?y=1 HTTP/1.1')
  const both = await Promise.all([1, 2].map(() => upstreams.ask(question(worker.origin))))
  expect((await Promise.all(both.map(bodyOf))).map((each) => each[0]).sort()).toEqual(['1', '2'])
  await clock.advance(60_000)
  await until(() => worker.seen.closed === 2)
  expect(clock.pendingTimers).toBe(0)
})

test('the framing of a request is ours alone', () => {
  const text = (changes: Partial<Question>) =>
    Buffer.from(encodeQuestion(question('http://x', changes))).toString('latin1')
  const headers = [
    ['host', 'a'],
    ['content-length', '999'],
    ['transfer-encoding', 'chunked'],
    ['x-odd', 'a\r\nx-injected: 1'],
    ['x-latin', 'ü'],
  ] as const
  expect(text({ headers })).toBe('GET /x?y=1 HTTP/1.1\r\nhost: a\r\nx-latin: ü\r\n\r\n')
  const body = Buffer.from('{}')
  expect(text({ method: 'POST', body })).toEndWith('\r\ncontent-length: 2\r\n\r\n{}')
  expect(text({ method: 'PATCH' })).toEndWith('\r\ncontent-length: 0\r\n\r\n')
  expect(text({ method: 'DELETE' })).not.toContain('content-length')
})

test('large bodies arrive whole, up and down', async () => {
  const large = 'x'.repeat(3_000_000)
  const worker = startWorker(({ request, socket }) => {
    const bytes = Buffer.from(counted(request.slice(request.indexOf('\r\n\r\n') + 4)))
    let sent = 0
    const more = () => {
      while (sent < bytes.length) {
        const written = socket.write(bytes.subarray(sent))
        if (written <= 0) return void setImmediate(more)
        sent += written
      }
    }
    more()
  })
  const { upstreams } = openUpstreams()
  for (const size of [10, 100_000, 3_000_000]) {
    const body = Buffer.from(large.slice(0, size))
    expect((await bodyOf(await upstreams.ask(question(worker.origin, { method: 'POST', body })))).length).toBe(size)
  }
  expect(worker.seen.connections).toBe(1)
})

test('a worker whose client does not read has to wait', async () => {
  let accepted = 0
  const total = 64 * 1024 * 1024
  const worker = startWorker(({ socket }) => {
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${total}\r\n\r\n`)
    const part = Buffer.alloc(65_536)
    const more = () => {
      if (accepted >= total) return
      const written = socket.write(part.subarray(0, Math.min(part.length, total - accepted)))
      if (written < 0) return
      accepted += written
      setTimeout(more, written === 0 ? 1 : 0)
    }
    more()
  })
  const { upstreams } = openUpstreams()
  const attempt = await upstreams.ask(question(worker.origin))
  if (attempt.outcome !== 'answered') throw new Error(attempt.outcome)
  // Nobody reads: what was accepted stops growing at what sockets and streams hold.
  for (let last = -1, still = 0; still < 50; last = accepted) {
    still = accepted === last ? still + 1 : 0
    await Bun.sleep(2)
  }
  expect(accepted).toBeLessThan(total / 2)
  expect((await attempt.response.bytes()).length).toBe(total)
})

test('an answer that breaks off is an error to its reader, and no half of one', async () => {
  const cut = startWorker(({ socket }) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc'))
  const { upstreams } = openUpstreams()
  expect((await upstreams.ask(question(cut.origin))).outcome).toBe('broken')
  const stream = startWorker(({ socket }) => {
    socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n')
    setTimeout(() => socket.end(), 5)
  })
  const attempt = await upstreams.ask(question(stream.origin))
  expect(attempt.outcome).toBe('answered')
  await expect(bodyOf(attempt)).rejects.toThrow('closed')
  const nonsense = startWorker(({ socket }) => socket.write('hello\r\n\r\n'))
  expect(await upstreams.ask(question(nonsense.origin))).toMatchObject({
    outcome: 'broken',
    cause: { code: 'bad_answer' },
  })
})

test('whoever answers more than was asked loses the connection', async () => {
  const worker = startWorker(({ connection, socket }) =>
    socket.write(counted(`${connection}`) + (connection === 1 ? counted('smuggled') : '')),
  )
  const { upstreams } = openUpstreams()
  expect(await bodyOf(await upstreams.ask(question(worker.origin)))).toBe('1')
  expect(await bodyOf(await upstreams.ask(question(worker.origin)))).toBe('2')
  await until(() => worker.seen.closed === 1)
})

test('a client that leaves cuts the connection, before the answer and during it', async () => {
  const worker = startWorker(({ request, socket }) => {
    if (request.includes('/stream')) socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n')
  })
  const { upstreams } = openUpstreams()
  const leaving = new AbortController()
  const waiting = upstreams.ask(question(worker.origin, { signal: leaving.signal }))
  await until(() => worker.seen.connections === 1)
  leaving.abort()
  expect((await waiting).outcome).toBe('aborted')
  await until(() => worker.seen.closed === 1)
  const attempt = await upstreams.ask(question(worker.origin, { target: '/stream' }))
  if (attempt.outcome !== 'answered') throw new Error(attempt.outcome)
  await attempt.response.body?.cancel()
  await until(() => worker.seen.closed === 2)
  const gone = AbortSignal.abort()
  expect((await upstreams.ask(question(worker.origin, { signal: gone }))).outcome).toBe('aborted')
})

test('who leaves with a complete answer unread takes nobody else along', async () => {
  const calls: string[] = []
  const line = { pause: () => calls.push('pause'), resume: () => calls.push('resume'), cut: () => calls.push('cut') }
  const exchange = new Exchange(question('http://worker'), line, () => () => {})
  const [head, body] = [Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 600000\r\n\r\n'), Buffer.alloc(300_000)]
  for (const bytes of [head, body, body]) exchange.push(bytes)
  expect(exchange).toMatchObject({ isDone: true, keepsOpen: true })
  const attempt = await exchange.attempt
  if (attempt.outcome !== 'answered') throw new Error(attempt.outcome)
  const before = [...calls]
  const reader = attempt.response.body!.getReader()
  await reader.read()
  await reader.cancel()
  expect(calls).toEqual(before) // by now the line serves another question
})

test('event streams are told of, can be ended, and say when they ended', async () => {
  const worker = startWorker(({ socket }) =>
    socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n'),
  )
  const { upstreams, streams } = openUpstreams()
  const attempt = await upstreams.ask(question(worker.origin))
  expect(streams).toHaveLength(1)
  expect(attempt).toMatchObject({ outcome: 'answered', response: streams[0]!.response })
  streams[0]!.end()
  expect(await bodyOf(attempt)).toBe('a')
  expect(streams[0]!.ended).toBe(1)
  await until(() => worker.seen.closed === 1)
})

test('421 is no answer, and a closed port is a refusal', async () => {
  const worker = startWorker(({ socket }) => socket.write('HTTP/1.1 421 X\r\nContent-Length: 2\r\n\r\nno'))
  const { upstreams } = openUpstreams()
  expect((await upstreams.ask(question(worker.origin))).outcome).toBe('misrouted')
  expect((await upstreams.ask(question('http://127.0.0.1:1'))).outcome).toBe('refused')
})
