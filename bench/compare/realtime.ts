// Realtime fan-out: many clients that follow one collection, one writer. It runs in a process of its own
// (`bun bench/compare/realtime.ts`, a JSON job on standard input, a JSON report on standard output).

export interface FanOutJob {
  readonly port: number
  readonly hostName: string
  readonly clients: number
  readonly durationMs: number
}

export interface FanOutReport {
  readonly events: number
  readonly deliveries: number
  readonly deliveriesPerSecond: number
  /** From the sending of the create to the arrival of its event at one client, ms. */
  readonly p50Ms: number
  readonly p99Ms: number
  readonly generatorCpu: number
}

const topic = 'events/*'
/** Clients that connect at the same time: a server's backlog is short. */
const connectingMax = 50
/** An event that has not reached everybody by then is lost, ms. */
const deliveryTimeoutMs = 30_000
const samplesMax = 1_000_000

interface Listener {
  head: string
  clientId: string
}

async function fanOut(job: FanOutJob): Promise<FanOutReport> {
  const base = `http://127.0.0.1:${job.port}`
  const call = async (path: string, body: unknown) => {
    const headers = { host: job.hostName, 'content-type': 'application/json' }
    const answer = await fetch(base + path, { method: 'POST', headers, body: JSON.stringify(body) })
    const text = await answer.text()
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${text}`)
  }
  const samples: number[] = []
  let deliveries = 0
  let sentAtMs = 0
  let missing = 0
  let delivered: () => void = () => {}
  const marker = Buffer.from('"action":"create"')

  const connect = () =>
    new Promise<Bun.Socket<Listener>>((resolve, reject) => {
      Bun.connect<Listener>({
        hostname: '127.0.0.1',
        port: job.port,
        data: { head: '', clientId: '' },
        socket: {
          open(socket) {
            socket.write(`GET /api/realtime HTTP/1.1\r\nHost: ${job.hostName}\r\nAccept: text/event-stream\r\n\r\n`)
          },
          data(socket, chunk) {
            if (socket.data.clientId === '') {
              socket.data.head += chunk.toString()
              const id = /"clientId":"(\w+)"/.exec(socket.data.head)
              if (id === null) return
              socket.data.clientId = id[1]!
              resolve(socket)
              return
            }
            if (!chunk.includes(marker)) return
            deliveries++
            if (samples.length < samplesMax) samples.push(performance.now() - sentAtMs)
            if (--missing === 0) delivered()
          },
          connectError: (_, error) => reject(error),
          close: () => reject(new Error('a stream was closed')),
        },
      }).catch(reject)
    })

  const sockets: Bun.Socket<Listener>[] = []
  while (sockets.length < job.clients) {
    const count = Math.min(connectingMax, job.clients - sockets.length)
    const made = await Promise.all(Array.from({ length: count }, connect))
    await Promise.all(
      made.map((each) => call('/api/realtime', { clientId: each.data.clientId, subscriptions: [topic] })),
    )
    sockets.push(...made)
  }

  let events = 0
  const cpuAtStart = process.cpuUsage()
  const startedAtMs = performance.now()
  while (performance.now() - startedAtMs < job.durationMs) {
    missing = job.clients
    const everybody = new Promise<void>((resolve, reject) => {
      delivered = resolve
      setTimeout(() => reject(new Error(`${missing} clients did not get event ${events}`)), deliveryTimeoutMs).unref()
    })
    sentAtMs = performance.now()
    await Promise.all([everybody, call('/api/collections/events/records', { title: `event ${events}`, n: events })])
    events++
  }
  const elapsedMs = performance.now() - startedAtMs
  const cpu = process.cpuUsage(cpuAtStart)
  samples.sort((a, b) => a - b)
  const at = (q: number) => samples[Math.min(samples.length - 1, Math.floor(samples.length * q))] ?? 0
  return {
    events,
    deliveries,
    deliveriesPerSecond: (deliveries / elapsedMs) * 1_000,
    p50Ms: at(0.5),
    p99Ms: at(0.99),
    generatorCpu: (cpu.user + cpu.system) / 1_000 / elapsedMs,
  }
}

/** Runs a job in a process of its own; see `load` of http-load.ts. */
export async function runFanOut(job: FanOutJob, launcher: readonly string[] = []): Promise<FanOutReport> {
  const command = [...launcher, process.execPath, import.meta.path]
  const child = Bun.spawn(command, { stdin: 'pipe', stdout: 'pipe', stderr: 'inherit' })
  child.stdin.write(JSON.stringify(job))
  await child.stdin.end()
  const text = await new Response(child.stdout).text()
  if ((await child.exited) !== 0) throw new Error('the fan-out failed')
  return JSON.parse(text) as FanOutReport
}

if (import.meta.main) {
  console.log(JSON.stringify(await fanOut((await Bun.stdin.json()) as FanOutJob)))
  process.exit(0)
}
