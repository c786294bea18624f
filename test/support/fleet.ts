// A real all-in-one fleet as a user starts it, from source or from the compiled binary.

import { join } from 'node:path'
import PocketBase from 'pocketbase'
import { isAlive, killTree, processTree } from './processes.ts'
import { until } from './wait.ts'

export const repository = join(import.meta.dir, '../..')

/** argv of the program: the source with this Bun, or the built binary. */
export function programCommand(kind: 'source' | 'binary'): string[] {
  return kind === 'binary'
    ? [join(repository, 'dist/pocketfleet')]
    : [process.execPath, join(repository, 'src/main.ts')]
}

export interface FleetOptions {
  readonly dir: string
  readonly kind?: 'source' | 'binary'
  /** More flags of `serve`. */
  readonly flags?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** Working directory; default: the fleet's own. */
  readonly cwd?: string
  /** A fixed port; default: a free one. */
  readonly port?: number
}

export class Fleet {
  readonly kind: 'source' | 'binary'
  readonly dir: string
  readonly pid: number
  readonly port: number
  /** Only after the first start of a control plane. */
  readonly adminToken: string | null
  readonly #process: Bun.Subprocess<'ignore', 'pipe', 'pipe'>
  readonly #output: { text: string }

  private constructor(
    options: FleetOptions,
    started: {
      process: Bun.Subprocess<'ignore', 'pipe', 'pipe'>
      output: { text: string }
      port: number
      adminToken: string | null
    },
  ) {
    this.kind = options.kind ?? 'source'
    this.dir = options.dir
    this.pid = started.process.pid
    this.port = started.port
    this.adminToken = started.adminToken
    this.#process = started.process
    this.#output = started.output
  }

  /** Starts the fleet and waits for its banner; throws with its output when it ends first. */
  static async start(options: FleetOptions): Promise<Fleet> {
    const child = Bun.spawn(
      [
        ...programCommand(options.kind ?? 'source'),
        'serve',
        '--mode=all-in-one',
        `--dir=${options.dir}`,
        `--http=127.0.0.1:${options.port ?? 0}`,
        '--log-level=warn',
        ...(options.flags ?? []),
      ],
      {
        stdin: 'ignore',
        stdout: 'pipe',
        stderr: 'pipe',
        cwd: options.cwd ?? repository,
        env: { ...process.env, ...options.env },
      },
    )
    const output = { text: '' }
    const collect = async (stream: ReadableStream<Uint8Array>) => {
      const decoder = new TextDecoder()
      for await (const chunk of stream) output.text += decoder.decode(chunk, { stream: true })
    }
    collect(child.stdout)
    collect(child.stderr)
    const port = await until('the banner', () => {
      if (child.exitCode !== null || child.signalCode !== null)
        throw new Error(`the fleet ended with ${child.exitCode ?? child.signalCode}: ${output.text}`)
      return Number(/control plane\s+http:\/\/[^\s/]+:(\d+)\//.exec(output.text)?.[1] ?? 0)
    })
    await until('object store line', () => output.text.includes('object store'))
    const adminToken = /First admin token[^:]*:\s+(admin_\w+)/.exec(output.text)?.[1] ?? null
    return new Fleet(options, { process: child, output, port, adminToken })
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  /** Everything printed so far. */
  get output(): string {
    return this.#output.text
  }

  tenantUrl(slug: string): string {
    return `http://${slug}.localhost:${this.port}`
  }

  /** The official SDK against one tenant, with its automatic cancellation off. */
  sdk(slug: string): PocketBase {
    const client = new PocketBase(this.tenantUrl(slug))
    client.autoCancellation(false)
    return client
  }

  /** Runs a verb of the CLI against this fleet; throws with its output unless it succeeds. */
  async cli(args: readonly string[], token = this.adminToken): Promise<string> {
    return runCli(this.kind, args, {
      POCKETFLEET_URL: this.url,
      ...(token !== null && { POCKETFLEET_TOKEN: token }),
    })
  }

  /** Processes of the fleet by what they run: mode names, and `worker`. */
  children(): { readonly pid: number; readonly parent: number }[] {
    return processTree(this.pid).slice(1)
  }

  /** SIGKILLs every process of the tree at the same moment. */
  async killTree(): Promise<void> {
    const tree = processTree(this.pid)
    killTree(this.pid)
    await this.#process.exited
    await until('the tree to be gone', () => tree.every(({ pid }) => !isAlive(pid)))
  }

  /** Exit code, once the launcher has ended. */
  get exited(): Promise<number> {
    return this.#process.exited
  }

  /** SIGTERM, then waits; returns the exit code. */
  async stop(): Promise<number> {
    this.#process.kill('SIGTERM')
    return await this.#process.exited
  }
}

export async function runCli(
  kind: 'source' | 'binary',
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  const child = Bun.spawn([...programCommand(kind), ...args], {
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
    env: { ...process.env, ...env },
  })
  const [out, errors] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()])
  const code = await child.exited
  if (code !== 0) throw new Error(`pocketfleet ${args.join(' ')} ended with ${code}: ${errors}${out}`)
  return out
}
