// One child process of the all-in-one launcher: started as ourselves, configured over standard input, restarted when
// it dies.

import { sendInput } from '../lib/child-input.ts'
import type { Clock } from '../lib/clock.ts'
import { sleep } from '../lib/clock.ts'
import { childEnvironment } from '../lib/config/child-environment.ts'
import type { Logger } from '../lib/obs/log.ts'
import { backoffMs, type RetryPolicy } from '../lib/retry.ts'
import type { Rng } from '../lib/rng.ts'
import { selfCommand } from '../lib/self-command.ts'
import { CliError } from './cli-error.ts'
import { exitFailed } from './exit-codes.ts'
import { stopLine } from './lifetime.ts'

/** What a child prints on standard output, as one JSON line, once it serves. */
export interface ReadyLine {
  readonly ready: true
  readonly banner: readonly string[]
  readonly facts: Readonly<Record<string, string>>
}

export interface ChildDeps {
  readonly clock: Clock
  readonly rng: Rng
  readonly log: Logger
}

/** A child that died is back soon, but never in a tight loop. */
const restartPolicy: RetryPolicy = { attemptsMax: Number.MAX_SAFE_INTEGER, baseDelayMs: 100, delayMsMax: 5_000 }
/** A child that served this long before it died starts again with the shortest delay. */
const stableAfterMs = 30_000
/** How long a child may take from start to serving. */
const readyTimeoutMs = 60_000
/** How long a child may drain before it is killed. */
const closeTimeoutMs = 60_000
/** Longest ready line, bytes. */
const readyLineBytesMax = 64 * 1024

type Process = Bun.Subprocess<'pipe', 'pipe', 'inherit'>

export class Child {
  readonly name: string
  readonly #config: Readonly<Record<string, unknown>>
  readonly #environment: Readonly<Record<string, string>>
  readonly #deps: ChildDeps
  #process: Process | null = null
  #closing = false
  #failures = 0

  constructor(
    options: {
      readonly name: string
      /** Options by flag name. */
      readonly config: Readonly<Record<string, unknown>>
      readonly environment?: Readonly<Record<string, string>>
    },
    deps: ChildDeps,
  ) {
    this.name = options.name
    this.#config = options.config
    this.#environment = options.environment ?? {}
    this.#deps = deps
  }

  get pid(): number | null {
    return this.#process?.pid ?? null
  }

  /**
   * Starts the child and waits until it serves; from then on it is restarted whenever it ends.
   *
   * Throws CliError with the child's own exit code when it ends first: it has told its reason on standard error.
   */
  async start(): Promise<ReadyLine> {
    const { child, ready } = this.#spawn()
    const line = await ready
    if (line === null) {
      child.kill('SIGKILL')
      const code = await child.exited
      throw new CliError(`${this.name} did not start`, code === 0 ? exitFailed : code)
    }
    this.#watch(child)
    return line
  }

  /** Ends the running process gracefully; it comes back with fresh code. */
  async restart(): Promise<void> {
    const child = this.#process
    if (child === null) return
    await this.#askToStop(child)
    await this.#exitedOrKilled(child)
  }

  /** Drains the child and waits for its end. */
  async close(): Promise<void> {
    this.#closing = true
    const child = this.#process
    if (child === null) return
    await this.#askToStop(child)
    await this.#exitedOrKilled(child)
  }

  /** Ends the child at once, for good. */
  abort(): void {
    this.#closing = true
    this.#process?.kill('SIGKILL')
  }

  /** A line, for a signal may come from anybody: those that reach the whole process group are not for a child. */
  async #askToStop(child: Process): Promise<void> {
    try {
      await sendInput(child.stdin, `${stopLine}\n`)
    } catch (error) {
      this.#deps.log.debug('child could not be written to, it is ending', { child: this.name, error })
    }
  }

  #spawn(): { child: Process; ready: Promise<ReadyLine | null> } {
    const child = Bun.spawn(selfCommand(['serve', '--config=-']), {
      stdin: 'pipe',
      stdout: 'pipe',
      stderr: 'inherit',
      env: childEnvironment(this.#environment),
    })
    sendInput(child.stdin, `${JSON.stringify(this.#config)}\n`).catch((error) =>
      this.#deps.log.debug('child could not be written to, it is ending', { child: this.name, error }),
    )
    this.#process = child
    return { child, ready: this.#readReady(child) }
  }

  /** null when it ends first, or says something else; never rejects. */
  async #readReady(child: Process): Promise<ReadyLine | null> {
    const cancel = this.#deps.clock.setTimer(readyTimeoutMs, () => {
      this.#deps.log.error('child did not become ready', { child: this.name, timeoutMs: readyTimeoutMs })
      child.kill('SIGKILL')
    })
    try {
      const reader = child.stdout.getReader()
      const decoder = new TextDecoder()
      let text = ''
      while (!text.includes('\n')) {
        const { done, value } = await reader.read()
        if (done || text.length > readyLineBytesMax) return null
        text += decoder.decode(value, { stream: true })
      }
      reader.releaseLock()
      return JSON.parse(text.slice(0, text.indexOf('\n'))) as ReadyLine
    } catch (error) {
      this.#deps.log.error('child said what is no ready line', { child: this.name, error })
      return null
    } finally {
      cancel()
    }
  }

  async #watch(child: Process): Promise<void> {
    const { clock, rng, log } = this.#deps
    let current = child
    while (true) {
      const startedAtMs = clock.monotonic()
      const code = await current.exited
      if (this.#closing) return
      if (clock.monotonic() - startedAtMs > stableAfterMs) this.#failures = 0
      log.warn('child ended, restarting', { child: this.name, code, signal: current.signalCode })
      await sleep(clock, backoffMs(restartPolicy, this.#failures, rng))
      this.#failures++
      if (this.#closing) return
      const next = this.#spawn()
      current = next.child
      if ((await next.ready) !== null) log.info('child restarted', { child: this.name })
      else current.kill('SIGKILL') // whatever it is doing: it does not serve
    }
  }

  async #exitedOrKilled(child: Process): Promise<void> {
    const cancel = this.#deps.clock.setTimer(closeTimeoutMs, () => {
      this.#deps.log.error('child did not end, killing it', { child: this.name, timeoutMs: closeTimeoutMs })
      child.kill('SIGKILL')
    })
    await child.exited
    cancel()
  }
}
