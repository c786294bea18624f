// The stores that both programs ship to: a directory, and MinIO where it is installed; and how official Litestream names them.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ObjectStore } from '../../src/lib/object-store/object-store.ts'
import { openObjectStore } from '../../src/lib/object-store/open.ts'
import { type Minio, startMinio } from '../../test/support/minio.ts'
import { peer } from '../../test/support/peers.ts'

/** Between two looks at the memory of a program, ms. */
const peakLookMs = 25

type StoreConfig = Parameters<typeof openObjectStore>[0]

export interface BenchStore extends AsyncDisposable {
  readonly name: 'directory' | 'MinIO'
  readonly config: StoreConfig
  readonly store: ObjectStore
  /** Of a replica path, for `litestream`. */
  url(prefix: string): string
  /** What `litestream` needs in its environment. */
  readonly env: Record<string, string>
  /** Requests that the server has answered so far, by kind; null for a directory. */
  requests(): Promise<Readonly<Record<string, number>> | null>
}

export async function directoryStore(dir: string): Promise<BenchStore> {
  const config: StoreConfig = { kind: 'file', dir }
  const store = await openObjectStore(config)
  return {
    name: 'directory',
    config,
    store,
    url: (prefix) => `file://${join(dir, prefix)}`,
    env: {},
    requests: async () => null,
    [Symbol.asyncDispose]: () => store.close(),
  }
}

/** null where MinIO is not installed. */
export async function minioStore(dir: string): Promise<BenchStore | null> {
  const path = peer('minio')
  if (path === null) return null
  const server = await startMinio(path, dir)
  const config: StoreConfig = {
    kind: 's3',
    endpoint: server.endpoint,
    region: 'us-east-1',
    bucket: server.bucket,
    prefix: 'bench',
    credentials: { accessKeyId: server.accessKey, secretAccessKey: server.secretKey },
  }
  const store = await openObjectStore(config)
  return {
    name: 'MinIO',
    config,
    store,
    url: (prefix) =>
      `s3://${server.bucket}/bench/${prefix}?endpoint=${server.endpoint}&forcePathStyle=true&region=us-east-1`,
    env: { LITESTREAM_ACCESS_KEY_ID: server.accessKey, LITESTREAM_SECRET_ACCESS_KEY: server.secretKey },
    requests: () => requestCounts(server),
    async [Symbol.asyncDispose]() {
      await store.close()
      await server.stop()
    },
  }
}

/** From the server's own metrics, so nobody's client has a say in it. */
async function requestCounts(server: Minio): Promise<Readonly<Record<string, number>>> {
  const text = await (await fetch(`${server.endpoint}/minio/v2/metrics/cluster`)).text()
  const counts: Record<string, number> = {}
  for (const [, api, value] of text.matchAll(/^minio_s3_requests_total\{[^}]*\bapi="(\w+)"[^}]*\} (\S+)$/gm))
    counts[api!] = (counts[api!] ?? 0) + Number(value)
  return counts
}

export interface Ended {
  readonly wallMs: number
  readonly cpuMs: number
  readonly residentBytesMax: number
}

export interface Started {
  readonly child: Bun.Subprocess<'pipe', 'pipe', 'pipe'>
  /** Waits for the end; throws when it failed. */
  ended(): Promise<Ended & { readonly output: string }>
}

/** Starts a program; its time runs from here. */
export function start(
  command: readonly string[],
  env: Record<string, string> = {},
  onLine: (line: string) => void = () => {},
): Started {
  const { AWS_CA_BUNDLE: _, ...inherited } = process.env // the S3 commands of litestream fail where it is set
  const startedAtMs = performance.now()
  const child = Bun.spawn([...command], {
    env: { ...inherited, ...env },
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'pipe',
  })
  let residentBytesMax = 0
  const look = setInterval(() => {
    if (child.exitCode === null) residentBytesMax = Math.max(residentBytesMax, peakBytes(child.pid))
  }, peakLookMs)
  const texts = Promise.all([linesOf(child.stdout, onLine), new Response(child.stderr).text()])
  return {
    child,
    async ended() {
      const code = await child.exited
      const wallMs = performance.now() - startedAtMs
      clearInterval(look)
      const [output, errors] = await texts
      if (code !== 0) throw new Error(`${command.join(' ')} exited with ${code}: ${output}${errors}`.slice(0, 4_000))
      const usage = child.resourceUsage()
      const cpuMs = Number(usage?.cpuTime.total ?? 0) / 1_000
      return { wallMs, cpuMs, residentBytesMax, output }
    },
  }
}

async function linesOf(stream: ReadableStream<Uint8Array>, onLine: (line: string) => void): Promise<string> {
  let text = ''
  let at = 0
  const decoder = new TextDecoder()
  for await (const piece of stream) {
    text += decoder.decode(piece, { stream: true })
    for (let end = text.indexOf('\n', at); end >= 0; end = text.indexOf('\n', at)) {
      onLine(text.slice(at, end))
      at = end + 1
    }
  }
  return text
}

/** Of a process that runs. */
export function residentBytes(pid: number): number {
  return statusBytes(pid, 'VmRSS')
}

export function descriptorsOf(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length
}

/** 0 when it has ended meanwhile. */
function peakBytes(pid: number): number {
  return statusBytes(pid, 'VmHWM')
}

function statusBytes(pid: number, name: string): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    return Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1] ?? 0) * 1_024
  } catch {
    return 0
  }
}
