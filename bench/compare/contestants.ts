// Who is compared: PocketBase itself, our standalone server, and a whole fleet with gateway and replication.

import { cpSync, mkdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { Fleet, programCommand } from '../../test/support/fleet.ts'
import { killTree, processTree } from '../../test/support/processes.ts'

/** A server that answers as the tenant of the fixture. */
export interface Contestant {
  readonly name: 'PocketBase' | 'direct' | 'fleet'
  readonly port: number
  /** What stands in `Host`. */
  readonly hostName: string
  readonly pid: number
  stop(): Promise<void>
}

const startMs = 30_000
export const superuser = { email: 'root@example.com', password: 'a-long-bench-password' }
export const slug = 'bench'

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise<void>((resolve) => server.close(() => resolve()))
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

/** Runs a program on one core alone, where the machine has the tool for it. */
export function pinned(command: readonly string[], core: number | null): string[] {
  return core === null ? [...command] : ['taskset', '-c', String(core), ...command]
}

/** Kills everything that this process has started: a bench that is interrupted must not leave servers behind. */
export function killChildren(): void {
  for (const child of processTree(process.pid)) if (child.parent === process.pid) killTree(child.pid)
}

export interface StartedServer {
  readonly port: number
  readonly pid: number
  /** From the start of the process to its first answer, ms. */
  readonly startMs: number
  stop(): Promise<void>
}

/** Starts a server as a process of its own and waits until `/api/health` answers. */
export async function startServer(command: (address: string) => string[]): Promise<StartedServer> {
  const port = await freePort()
  const startedAtMs = performance.now()
  const child = Bun.spawn(command(`127.0.0.1:${port}`), { stdin: 'ignore', stdout: 'ignore', stderr: 'inherit' })
  for (;;) {
    const answer = await fetch(`http://127.0.0.1:${port}/api/health`).catch(() => null)
    if (answer?.ok) break
    if (performance.now() - startedAtMs > startMs || child.exitCode !== null) {
      child.kill('SIGKILL')
      throw new Error(`${command('…').join(' ')} did not start`)
    }
    await Bun.sleep(1)
  }
  return {
    port,
    pid: child.pid,
    startMs: performance.now() - startedAtMs,
    async stop() {
      child.kill('SIGTERM')
      await child.exited
    },
  }
}

/** argv of PocketBase on a data directory. Its binary lies outside temporary folders, where it would run in dev mode. */
export const theirCommand = (binary: string, dir: string) => (address: string) => [
  binary,
  'serve',
  `--dir=${dir}`,
  `--http=${address}`,
]

export const ourCommand = (kind: 'source' | 'binary', dir: string) => (address: string) => [
  ...programCommand(kind),
  'serve',
  '--mode=standalone',
  `--dir=${dir}`,
  `--http=${address}`,
  '--log-level=warn',
]

/** Each gets a copy of the fixture of its own below `dir`. */
export async function startContestants(options: {
  readonly binary: string
  readonly fixture: string
  readonly dir: string
  /** The core that each server alone runs on; null: wherever the system puts it. The fleet is left out when it is set. */
  readonly core: number | null
}): Promise<Contestant[]> {
  const { binary, fixture, dir, core } = options
  mkdirSync(dir, { recursive: true })
  const started: Contestant[] = []
  try {
    for (const [name, command] of [
      ['PocketBase', (at: string) => theirCommand(binary, at)],
      ['direct', (at: string) => ourCommand('source', at)],
    ] as const) {
      const copy = join(dir, name)
      cpSync(fixture, copy, { recursive: true })
      const server = await startServer((address) => pinned(command(copy)(address), core))
      started.push({ name, hostName: `127.0.0.1:${server.port}`, ...server })
    }
    if (core === null) started.push(await startFleet(fixture, join(dir, 'fleet')))
    return started
  } catch (error) {
    for (const each of started) await each.stop()
    throw error
  }
}

async function startFleet(fixture: string, dir: string): Promise<Contestant> {
  const fleet = await Fleet.start({ dir, flags: ['--workers=1', '--idle-ms=3600000'] })
  try {
    await fleet.cli(['tenant', 'create', slug])
    await fleet.cli(['tenant', 'import', fixture, '--tenant', slug, '--yes'])
  } catch (error) {
    await fleet.killTree()
    throw error
  }
  return {
    name: 'fleet',
    port: fleet.port,
    hostName: `${slug}.localhost:${fleet.port}`,
    pid: fleet.pid,
    async stop() {
      await fleet.killTree()
    },
  }
}

/** CPU time that a process and its descendants have used, ms. */
export function cpuMs(pid: number): number {
  let ticks = 0
  for (const each of processTree(pid)) {
    const stat = readFileSync(`/proc/${each.pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    ticks += Number(fields[11]) + Number(fields[12])
  }
  return ticks * 10 // USER_HZ is 100 on every Linux that we run on
}

/** Resident memory of a process and its descendants, bytes. */
export function residentBytes(pid: number): number {
  let bytes = 0
  for (const each of processTree(pid)) {
    const status = readFileSync(`/proc/${each.pid}/status`, 'utf8')
    bytes += Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1_024
  }
  return bytes
}

/** One call of the API, as a client makes it; throws unless it succeeds. */
export async function callApi(
  contestant: Contestant,
  method: string,
  path: string,
  options: { readonly token?: string; readonly body?: unknown } = {},
): Promise<unknown> {
  const answer = await fetch(`http://127.0.0.1:${contestant.port}${path}`, {
    method,
    headers: {
      host: contestant.hostName,
      ...(options.token && { authorization: options.token }),
      ...(options.body !== undefined && { 'content-type': 'application/json' }),
    },
    ...(options.body !== undefined && { body: JSON.stringify(options.body) }),
  })
  const text = await answer.text()
  if (!answer.ok) throw new Error(`${contestant.name} ${method} ${path}: ${answer.status} ${text}`)
  return text === '' ? null : JSON.parse(text)
}

export async function signIn(contestant: Contestant, collection: string, identity: string, password: string) {
  const path = `/api/collections/${collection}/auth-with-password`
  const signedIn = await callApi(contestant, 'POST', path, { body: { identity, password } })
  return (signedIn as { token: string }).token
}

export const signInSuperuser = (contestant: Contestant) =>
  signIn(contestant, '_superusers', superuser.email, superuser.password)
