// The real PocketBase on a directory of the caller's, for tests that compare us with it.

import { join } from 'node:path'
import { freePort } from '../../src/lib/free-port.ts'
import { until } from './wait.ts'

/** A server that answers at `url`. */
export interface PeerServer {
  readonly url: string
  stop(): Promise<void>
}

const attemptsMax = 5

/**
 * Starts a server as a process of its own and waits until it answers.
 *
 * @param command its argv, given the address to listen on.
 */
export async function startServer(command: (address: string) => string[]): Promise<PeerServer> {
  for (let attempt = 1; ; attempt++) {
    const started = await tryStart(command)
    if (typeof started !== 'number') return started
    // Somebody else took the port in between, or the server cannot run at all.
    if (attempt === attemptsMax) throw new Error(`the server ended with ${started}, ${attempt} times`)
  }
}

/** @returns the exit code of a server that ended before it answered. */
async function tryStart(command: (address: string) => string[]): Promise<PeerServer | number> {
  const port = freePort()
  const child = Bun.spawn(command(`127.0.0.1:${port}`), { stdin: 'ignore', stdout: 'ignore', stderr: 'ignore' })
  const url = `http://127.0.0.1:${port}`
  const stop = async (signal: 'SIGTERM' | 'SIGKILL') => {
    child.kill(signal)
    await child.exited
  }
  try {
    await until('the server to answer', async () => child.exitCode !== null || (await fetch(`${url}/api/health`)).ok)
  } catch (error) {
    await stop('SIGKILL')
    throw error
  }
  return child.exitCode ?? { url, stop: () => stop('SIGTERM') }
}

export interface PocketBaseOptions {
  readonly dir: string
  /** Made, or given this password, before the start. */
  readonly superuser?: { readonly email: string; readonly password: string }
}

/** @param binary from `testWithPeers(['pocketbase'], …)`. */
export async function startPocketBase(binary: string, options: PocketBaseOptions): Promise<PeerServer> {
  const { dir, superuser } = options
  // By default it writes each change of a schema beside the directory, and would run it on the next one there.
  const flags = [`--dir=${dir}`, `--migrationsDir=${join(dir, 'no-migrations')}`, '--automigrate=false']
  if (superuser !== undefined) {
    const made = Bun.spawnSync([binary, 'superuser', 'upsert', superuser.email, superuser.password, ...flags])
    if (made.exitCode !== 0) throw new Error(`superuser: ${made.stderr.toString()}`)
  }
  return startServer((address) => [binary, 'serve', `--http=${address}`, ...flags])
}
