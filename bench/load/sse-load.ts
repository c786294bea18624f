// Many realtime clients on real sockets, and one writer whose events they follow. It runs in a process of its own
// (`bun bench/load/sse-load.ts`); parent and child talk in JSON lines: a job, then `connected`, then `go`, then a report.

import { quantile } from '../quantile.ts'

export interface SseJob {
  readonly host: string
  readonly port: number
  /** The Host header. */
  readonly name: string
  readonly headers: Readonly<Record<string, string>>
  readonly clients: number
  /** What each client subscribes to; it must tell of {@link create}. */
  readonly topics: readonly string[]
  /** Authorization headers; client i takes the i-th one, round robin. Empty: guests. */
  readonly tokens: readonly string[]
  /** Where the writer creates records, each with the next number as `n`. */
  readonly create: { readonly path: string; readonly body: Readonly<Record<string, unknown>> }
  /** Ends after so many events, or after this time. */
  readonly eventsMax: number
  readonly durationMs: number
}

export interface SseConnected {
  readonly type: 'connected'
  readonly connectMs: number
  readonly subscribeMs: number
}

export interface SseReport {
  readonly type: 'report'
  readonly events: number
  readonly deliveries: number
  /** Messages that came twice, out of order, or not at all. */
  readonly wrong: number
  readonly elapsedMs: number
  /** From the sending of a create to its event at the last client, ms. */
  readonly allP50Ms: number
  readonly allMaxMs: number
  /** The same at each client. */
  readonly oneP50Ms: number
  readonly oneP99Ms: number
  /** From the sending of a create to its answer, ms. */
  readonly answerP50Ms: number
  readonly generatorCpu: number
}

/** Connections that are being opened, and subscriptions under way, at the same time. */
const connectingMax = 64
/** An event that has not reached everybody by then is lost, ms. */
const deliveryMs = 60_000
const samplesMax = 500_000

interface Client {
  text: string
  id: string
  last: number
}

async function run(job: SseJob, started: (connected: SseConnected) => Promise<void>): Promise<SseReport> {
  const head = Object.entries(job.headers)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('')
  const call = async (path: string, body: unknown, token: string | undefined) => {
    const answer = await fetch(`http://${job.host}:${job.port}${path}`, {
      method: 'POST',
      headers: {
        host: job.name,
        'content-type': 'application/json',
        ...job.headers,
        ...(token !== undefined && { authorization: token }),
      },
      body: JSON.stringify(body),
    })
    const text = await answer.text()
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${text}`)
  }
  const tokenOf = (i: number) => job.tokens[i % Math.max(1, job.tokens.length)]
  const samples: number[] = []
  let sentAtMs = 0
  let deliveries = 0
  let wrong = 0
  let missing = 0
  let delivered: () => void = () => {}

  const receive = (client: Client, chunk: Buffer) => {
    client.text += chunk.toString('latin1')
    const end = client.text.lastIndexOf('\n\n')
    if (end < 0) return
    const messages = client.text.slice(0, end)
    client.text = client.text.slice(end + 2)
    for (const match of messages.matchAll(/"n":(\d+)[,}]/g)) {
      const n = Number(match[1])
      if (n !== client.last + 1) wrong++
      client.last = n
      deliveries++
      if (samples.length < samplesMax) samples.push(performance.now() - sentAtMs)
      if (--missing === 0) delivered()
    }
  }
  const connect = () =>
    new Promise<Client>((resolve, reject) => {
      const client: Client = { text: '', id: '', last: 0 }
      Bun.connect<Client>({
        hostname: job.host,
        port: job.port,
        data: client,
        socket: {
          open(socket) {
            socket.write(`GET /api/realtime HTTP/1.1\r\nHost: ${job.name}\r\nAccept: text/event-stream\r\n${head}\r\n`)
          },
          data(socket, chunk) {
            if (socket.data.id !== '') return receive(socket.data, chunk)
            client.text += chunk.toString('latin1')
            const id = /"clientId":"(\w+)"/.exec(client.text)
            if (id === null) return
            client.id = id[1]!
            client.text = ''
            resolve(client)
          },
          connectError: (_, error) => reject(error),
          close: () => reject(new Error(`a stream was closed: ${client.text.slice(0, 200)}`)),
        },
      }).catch(reject)
    })
  /** Runs `work` for every index, {@link connectingMax} at a time. */
  const forEach = async (work: (i: number) => Promise<void>) => {
    let next = 0
    const lane = async () => {
      for (let i = next++; i < job.clients; i = next++) await work(i)
    }
    await Promise.all(Array.from({ length: connectingMax }, lane))
  }

  const clients: Client[] = []
  const startedMs = performance.now()
  await forEach(async (i) => {
    clients[i] = await connect()
  })
  const connectMs = performance.now() - startedMs
  await forEach((i) => call('/api/realtime', { clientId: clients[i]!.id, subscriptions: job.topics }, tokenOf(i)))
  await started({ type: 'connected', connectMs, subscribeMs: performance.now() - startedMs - connectMs })

  const alls: number[] = []
  const answers: number[] = []
  const cpuAtStart = process.cpuUsage()
  const goMs = performance.now()
  let events = 0
  while (events < job.eventsMax && performance.now() - goMs < job.durationMs) {
    missing = job.clients * job.topics.length
    const everybody = new Promise<void>((resolve, reject) => {
      delivered = resolve
      const late = () => reject(new Error(`${missing} messages of event ${events} did not arrive`))
      setTimeout(late, deliveryMs).unref()
    })
    sentAtMs = performance.now()
    const answered = call(job.create.path, { ...job.create.body, n: ++events }, tokenOf(0)).then(() => {
      answers.push(performance.now() - sentAtMs)
    })
    await Promise.all([everybody, answered])
    alls.push(performance.now() - sentAtMs)
  }
  const elapsedMs = performance.now() - goMs
  const cpu = process.cpuUsage(cpuAtStart)
  return {
    type: 'report',
    events,
    deliveries,
    wrong,
    elapsedMs,
    allP50Ms: quantile(alls, 0.5),
    allMaxMs: quantile(alls, 1),
    oneP50Ms: quantile(samples, 0.5),
    oneP99Ms: quantile(samples, 0.99),
    answerP50Ms: quantile(answers, 0.5),
    generatorCpu: (cpu.user + cpu.system) / 1_000 / elapsedMs,
  }
}

/**
 * Runs a job in a process of its own.
 * @param onConnected called while all clients are connected and nothing happens.
 * @param launcher argv before the generator's own.
 * @returns null when it was stopped by the signal.
 */
export async function sseLoad(
  job: SseJob,
  onConnected: (connected: SseConnected) => Promise<void> | void,
  stop: AbortSignal | null = null,
  launcher: readonly string[] = [],
): Promise<SseReport | null> {
  const command = [...launcher, process.execPath, import.meta.path]
  const child = Bun.spawn(command, { stdin: 'pipe', stdout: 'pipe', stderr: 'inherit' })
  stop?.addEventListener('abort', () => child.kill('SIGKILL'))
  try {
    child.stdin.write(`${JSON.stringify(job)}\n`)
    await child.stdin.flush()
    let text = ''
    const decoder = new TextDecoder()
    for await (const chunk of child.stdout) {
      text += decoder.decode(chunk, { stream: true })
      for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
        const message = JSON.parse(text.slice(0, end)) as SseConnected | SseReport
        text = text.slice(end + 1)
        if (message.type === 'report') return message
        await onConnected(message)
        child.stdin.write('go\n')
        await child.stdin.flush()
      }
    }
    if (stop?.aborted) return null
    throw new Error(`the realtime load ended with ${await child.exited}`)
  } finally {
    child.kill('SIGKILL')
    await child.exited
  }
}

if (import.meta.main) {
  const lines: AsyncIterator<string> = console[Symbol.asyncIterator]()
  const job = JSON.parse((await lines.next()).value) as SseJob
  const report = await run(job, async (connected) => {
    console.log(JSON.stringify(connected))
    await lines.next()
  })
  console.log(JSON.stringify(report))
  process.exit(0)
}
