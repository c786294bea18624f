// A closed-loop HTTP/1.1 load generator on raw sockets: cheap enough not to be what is measured. It runs in a process
// of its own (`bun bench/load/http-load.ts`, a JSON job on standard input, a JSON report on standard output).

import { quantile } from '../quantile.ts'

/** One request, ready to be sent: head and body as they go over the wire. */
export interface LoadJob {
  readonly host: string
  readonly port: number
  readonly connections: number
  readonly durationMs: number
  /** Sent round robin over all connections; base64, so that bodies may hold any bytes. */
  readonly requests: readonly string[]
  /** Requests a second in all; 0: as many as the server takes. */
  readonly rate: number
  /** Sends each request once and ends, however long that takes; else round robin until the time is over. */
  readonly once?: boolean
  /** What every answer must be like; missing: only statuses are counted. */
  readonly expect?: Expectation
}

export interface Expectation {
  readonly status: string
  /** Found in the body of every right answer; missing: nothing. */
  readonly contains?: string
}

export interface LoadReport {
  readonly requests: number
  readonly errors: number
  /** Answers by status code. */
  readonly statuses: Readonly<Record<string, number>>
  /** Answers that are not as expected, and the first of them. */
  readonly unexpected: number
  readonly unexpectedSample: string | null
  /** Share of one core that the generator itself used, 0 to 1: near 1 it may be what was measured. */
  readonly generatorCpu: number
  readonly requestsPerSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly maxMs: number
}

/** Bounded memory for latencies: beyond this many, every second one is dropped, and so on. */
const samplesMax = 1_000_000

interface Connection {
  buffered: Buffer
  sentAtMs: number
}

const nothing = Buffer.alloc(0)
const headEnd = Buffer.from('\r\n\r\n')
const lastChunk = Buffer.from('\r\n0\r\n\r\n')
/** Characters of a wrong answer that the report shows. */
const sampleMax = 500

/** Bytes of the body by the head's own word; -1: it comes in chunks. */
function bodyLength(head: string): number {
  const length = /\r\ncontent-length: *(\d+)/i.exec(head)
  if (length !== null) return Number(length[1])
  return /\r\ntransfer-encoding: *chunked/i.test(head) ? -1 : 0
}

async function run(job: LoadJob): Promise<LoadReport> {
  const payloads = job.requests.map((each) => Buffer.from(each, 'base64'))
  const samples: number[] = []
  const statuses: Record<string, number> = {}
  let next = 0
  let requests = 0
  let errors = 0
  let stride = 1
  const startedAtMs = performance.now()
  const endAtMs = startedAtMs + job.durationMs
  let open = 0
  let unexpected = 0
  let unexpectedSample: string | null = null
  const wanted = job.expect?.contains === undefined ? null : Buffer.from(job.expect.contains)
  const cpuAtStart = process.cpuUsage()
  let finish: () => void = () => {}
  const finished = new Promise<void>((resolve) => {
    finish = resolve
  })

  const send = (socket: Bun.Socket<Connection>) => {
    const now = performance.now()
    // However busy the machine: a measurement of nothing would be none.
    if (job.once ? next >= payloads.length : now >= endAtMs && requests > 0) {
      socket.end()
      return
    }
    if (job.rate > 0) {
      const dueAtMs = startedAtMs + (next / job.rate) * 1_000
      if (dueAtMs > now) {
        const index = next++
        setTimeout(() => write(socket, index), dueAtMs - now)
        return
      }
    }
    write(socket, next++)
  }
  const write = (socket: Bun.Socket<Connection>, index: number) => {
    socket.data.sentAtMs = performance.now()
    socket.data.buffered = nothing
    socket.write(payloads[index % payloads.length]!)
  }
  const complete = (socket: Bun.Socket<Connection>, status: string, answer: Buffer) => {
    requests++
    statuses[status] = (statuses[status] ?? 0) + 1
    if (job.expect && (status !== job.expect.status || (wanted !== null && !answer.includes(wanted)))) {
      unexpected++
      unexpectedSample ??= answer.toString('utf8', 0, sampleMax)
    }
    if (requests % stride === 0) samples.push(performance.now() - socket.data.sentAtMs)
    if (samples.length >= samplesMax) {
      for (let i = 0; i < samples.length / 2; i++) samples[i] = samples[i * 2]!
      samples.length = samples.length >> 1
      stride *= 2
    }
    send(socket)
  }
  const receive = (socket: Bun.Socket<Connection>, chunk: Buffer) => {
    const data = socket.data
    data.buffered = data.buffered.length === 0 ? chunk : Buffer.concat([data.buffered, chunk])
    const end = data.buffered.indexOf(headEnd)
    if (end < 0) return
    const head = data.buffered.toString('latin1', 0, end)
    const length = bodyLength(head)
    const isComplete =
      length < 0
        ? data.buffered.subarray(-lastChunk.length).equals(lastChunk)
        : data.buffered.length - end - headEnd.length >= length
    if (isComplete) complete(socket, head.slice(9, 12), data.buffered)
  }
  const closed = () => {
    if (--open === 0) finish()
  }
  for (let i = 0; i < job.connections; i++) {
    open++
    Bun.connect<Connection>({
      hostname: job.host,
      port: job.port,
      data: { buffered: Buffer.alloc(0), sentAtMs: 0 },
      socket: {
        open: send,
        data: receive,
        close: closed,
        error() {
          errors++
        },
        connectError() {
          errors++
          closed()
        },
      },
    }).catch(() => {})
  }
  await finished
  const elapsedMs = performance.now() - startedAtMs
  const cpu = process.cpuUsage(cpuAtStart)
  samples.sort((a, b) => a - b)
  return {
    requests,
    errors,
    statuses,
    unexpected,
    unexpectedSample,
    generatorCpu: (cpu.user + cpu.system) / 1_000 / elapsedMs,
    requestsPerSecond: (requests / elapsedMs) * 1_000,
    p50Ms: quantile(samples, 0.5),
    p99Ms: quantile(samples, 0.99),
    maxMs: samples.at(-1) ?? 0,
  }
}

/**
 * Runs a job in a process of its own.
 *
 * @param launcher argv before the generator's own: what pins it to a core, say.
 */
export async function load(job: LoadJob, launcher: readonly string[] = []): Promise<LoadReport> {
  const command = [...launcher, process.execPath, import.meta.path]
  const child = Bun.spawn(command, { stdin: 'pipe', stdout: 'pipe', stderr: 'inherit' })
  child.stdin.write(JSON.stringify(job))
  await child.stdin.end()
  const report = await new Response(child.stdout).json()
  await child.exited
  return report as LoadReport
}

/** The same load until it is stopped, whatever is under way then; what it measured is lost. */
export async function startLoad(job: LoadJob, launcher: readonly string[] = []): Promise<{ stop(): Promise<void> }> {
  const command = [...launcher, process.execPath, import.meta.path]
  const child = Bun.spawn(command, { stdin: 'pipe', stdout: 'ignore', stderr: 'inherit' })
  child.stdin.write(JSON.stringify(job))
  await child.stdin.end()
  return {
    async stop() {
      child.kill('SIGKILL')
      await child.exited
    },
  }
}

/** The bytes of one request; adds Host and Content-Length. */
export function encodeRequest(request: {
  readonly method: string
  readonly path: string
  readonly host: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: unknown
}): string {
  const body = request.body === undefined ? '' : JSON.stringify(request.body)
  const headers = {
    host: request.host,
    ...(body !== '' && { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(body)) }),
    ...request.headers,
  }
  const head = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  return Buffer.from(`${request.method} ${request.path} HTTP/1.1\r\n${head.join('')}\r\n${body}`).toString('base64')
}

if (import.meta.main) console.log(JSON.stringify(await run((await Bun.stdin.json()) as LoadJob)))
