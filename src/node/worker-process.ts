// The supervisor's end of one engine worker: starts it, watches it, and starts it again when it dies or hangs.

import { readFileSync } from 'node:fs'
import type { FollowedDatabase } from '../ipc/messages/standby.ts'
import type { TenantId } from '../lib/brand.ts'
import { sendInput } from '../lib/child-input.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { childEnvironment } from '../lib/config/child-environment.ts'
import { AppError, OverloadedError } from '../lib/errors.ts'
import type { Logger } from '../lib/obs/log.ts'
import { backoffMs, type RetryPolicy } from '../lib/retry.ts'
import type { Rng } from '../lib/rng.ts'
import { runBehindOthers, waitedForCoreMs } from '../lib/scheduling.ts'
import { selfCommand } from '../lib/self-command.ts'
import type { WorkerConfig } from './config.ts'
import {
  decodeLine,
  encodeLine,
  type FromWorker,
  fromWorkerTypes,
  type Outcome,
  outcomeOf,
  readLines,
  type ToWorker,
  type WorkerLoad,
  type WorkerOrder,
  type WorkerQuestion,
  type WorkerReplies,
} from './worker-protocol.ts'

/** Between two signs of life asked for, ms. */
const pingEveryMs = 250
/**
 * A worker that is silent for this long is killed. A statement of SQLite cannot be interrupted, so this also bounds what
 * an in-place query may take; far above any pause of the garbage collector, or of a machine that is merely busy.
 */
const silentMsMax = 10_000
/** What a silent worker waited for a core does not count, but it is killed after so long all the same, ms. */
const starvedMsMax = 60_000
/**
 * Looks in a row, one a ping, that find the silent worker stopped: then it is killed at once, since it computes nothing. Looks,
 * not time: when the machine was asleep, or all of the node was stopped, the worker goes on as we do.
 */
const stoppedLooksMax = 4
/** From start to serving, also on a busy machine. */
const readyMsMax = 30_000
/** How long a worker may take to drain and ship before it is killed: its files stay, the tail ships at the next start. */
const stopMsMax = 30_000
/** The first restart is immediate but for this jitter; a worker that keeps dying is tried less often. */
const restartPolicy: RetryPolicy = { attemptsMax: Number.MAX_SAFE_INTEGER, baseDelayMs: 50, delayMsMax: 5_000 }
/** A worker that served this long starts again with the shortest delay. */
const stableAfterMs = 10_000
/** Orders that may be under way in one worker. */
const ordersMax = 1_000

/** The worker died before it answered, or is not there now; the order may have been carried out. */
export class WorkerGoneError extends AppError {
  readonly code = 'worker_gone'
}

/** What a worker said about an order that it refused. */
export class WorkerRefusedError extends AppError {
  readonly code: string
  constructor(code: string, message: string) {
    super(message)
    this.code = code
  }
}

export interface WorkerDeps {
  readonly clock: Clock
  readonly rng: Rng
  readonly log: Logger
  /** Answers a worker's question; what it throws reaches the worker as an error. */
  readonly onQuestion: (question: WorkerQuestion) => Promise<unknown>
  /** The worker serves at a new address, or no longer. */
  readonly onAddress: () => void
  readonly onOpened: (ms: number, isRestored: boolean) => void
  /** How long the control plane's lease still lasts, ms; 0 without one. */
  readonly leaseMsLeft: () => number
  /** For tests: another program in place of ourselves. */
  readonly command?: readonly string[]
  /** For tests: how long the process has waited for a core; default: as the system says. */
  readonly waitedMs?: (pid: number) => number
}

interface Pending {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
}

type Process = Bun.Subprocess<'pipe', 'pipe', 'inherit'>

export class WorkerProcess {
  readonly index: number
  readonly #config: WorkerConfig
  readonly #deps: WorkerDeps
  readonly #orders = new Map<number, Pending>()
  readonly #firstReady = Promise.withResolvers<void>()
  #process: Process | null = null
  #url: string | null = null
  #load: WorkerLoad | null = null
  #sequence = 0
  #heardAtMs = 0
  #restarts = 0
  #stopping = false
  #running: Promise<void> = Promise.resolve()

  constructor(config: WorkerConfig, deps: WorkerDeps) {
    this.index = config.index
    this.#config = config
    this.#deps = deps
  }

  /** Where the worker serves; null while it starts. */
  get url(): string | null {
    return this.#url
  }

  get isForBusy(): boolean {
    return this.#config.isForBusy
  }

  get load(): WorkerLoad | null {
    return this.#load
  }

  get pid(): number | null {
    return this.#process?.pid ?? null
  }

  get restarts(): number {
    return this.#restarts
  }

  /** Starts the worker and resolves once it serves; from then on it is restarted whenever it ends. */
  start(): Promise<void> {
    this.#running = this.#keepRunning()
    return this.#firstReady.promise
  }

  /** Rejects with WorkerGoneError, WorkerRefusedError, OverloadedError or the signal's reason. */
  order<T extends WorkerOrder>(order: T, signal: AbortSignal): Promise<WorkerReplies[T['type']]> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason)
      if (this.#url === null) return reject(new WorkerGoneError(`worker ${this.index} is starting`))
      if (this.#orders.size >= ordersMax)
        return reject(new OverloadedError(`${ordersMax} orders are under way in worker ${this.index}`))
      const id = ++this.#sequence
      const onAbort = () => {
        this.#orders.delete(id)
        reject(signal.reason)
      }
      signal.addEventListener('abort', onAbort, { once: true })
      const done = () => signal.removeEventListener('abort', onAbort)
      this.#orders.set(id, {
        // The worker is this program: its answer to an order of this type has that type.
        resolve: (value) => {
          done()
          resolve(value as WorkerReplies[T['type']])
        },
        reject: (error) => {
          done()
          reject(error)
        },
      })
      this.#send({ type: 'order', id, order })
    })
  }

  /** The lease came or went: the worker hears of it at once, and at every sign of life anyway. */
  leaseChanged(): void {
    if (this.#deps.leaseMsLeft() === 0) this.#send({ type: 'link', leaseEndsAtMs: null })
    else this.#send({ type: 'ping', id: ++this.#sequence })
  }

  /** Passes on that warm copies are behind. A worker that is starting misses it, as it may: the next hint says the same. */
  follow(hint: { readonly tenantId: TenantId; readonly databases: readonly FollowedDatabase[] }): void {
    if (this.#url !== null) this.#send({ type: 'follow', ...hint })
  }

  /** Lets the worker drain and ship; kills it when that takes too long. */
  async stop(): Promise<void> {
    this.#stopping = true
    const child = this.#process
    if (child !== null) {
      this.#send({ type: 'stop' })
      const cancel = this.#deps.clock.setTimer(stopMsMax, () => {
        this.#deps.log.error('worker did not stop, killing it', { worker: this.index, timeoutMs: stopMsMax })
        child.kill('SIGKILL')
      })
      await child.exited
      cancel()
    }
    await this.#running
  }

  /** Ends the worker at once. What it did not ship stays on disk. */
  kill(): void {
    this.#stopping = true
    this.#process?.kill('SIGKILL')
  }

  async #keepRunning(): Promise<void> {
    const { clock, rng, log } = this.#deps
    let failures = 0
    while (!this.#stopping) {
      const startedAtMs = clock.monotonic()
      const { code, signal } = await this.#runOnce()
      if (this.#stopping) break
      if (clock.monotonic() - startedAtMs > stableAfterMs) failures = 0
      this.#restarts++
      log.warn('worker ended, restarting', { worker: this.index, code, signal })
      const pauseMs = backoffMs(restartPolicy, failures++, rng)
      await new Promise<void>((resolve) => clock.setTimer(pauseMs, resolve))
    }
  }

  async #runOnce(): Promise<{ readonly code: number; readonly signal: string | number | null }> {
    const { clock, log } = this.#deps
    const child = Bun.spawn([...(this.#deps.command ?? selfCommand(['worker']))], {
      stdin: 'pipe',
      stdout: 'pipe',
      stderr: 'inherit',
      env: childEnvironment(),
    })
    this.#process = child
    // Before it has threads and children.
    if (this.#config.isForBusy && !runBehindOthers(child.pid))
      log.warn('worker for busy tenants runs beside the others', { worker: this.index })
    this.#heardAtMs = clock.monotonic() + readyMsMax - silentMsMax
    this.#write(child, `${JSON.stringify(this.#config)}\n`)
    const stopWatching = this.#watch(child)
    try {
      await Promise.all([child.exited, readLines(child.stdout, (line) => this.#onLine(child, line))])
    } catch (error) {
      log.error('worker could not be heard', { worker: this.index, error })
      child.kill('SIGKILL')
      await child.exited
    } finally {
      stopWatching()
      this.#process = null
      this.#load = null
      for (const pending of this.#orders.values())
        pending.reject(new WorkerGoneError(`worker ${this.index} ended before it answered`))
      this.#orders.clear()
      if (this.#url !== null) {
        this.#url = null
        this.#deps.onAddress()
      }
    }
    return { code: child.exitCode ?? -1, signal: child.signalCode }
  }

  /** Asks for signs of life and kills a worker that gives none: nothing else ends a runaway statement. */
  #watch(child: Process): Cancel {
    const { clock, log, waitedMs = waitedForCoreMs } = this.#deps
    let cancel: Cancel = () => {}
    let stoppedLooks = 0
    let heardAtMs = Number.NEGATIVE_INFINITY
    let waitedBeforeMs = 0
    let dueAtMs = clock.monotonic()
    let deafMs = 0
    const beat = () => {
      const nowMs = clock.monotonic()
      if (heardAtMs !== this.#heardAtMs) {
        heardAtMs = this.#heardAtMs
        deafMs = 0
        waitedBeforeMs = waitedMs(child.pid)
        stoppedLooks = 0 // it went on in between
      }
      // While this process stood still it heard nobody, and what the worker said may wait behind this very look.
      deafMs += Math.max(0, nowMs - dueAtMs)
      const silentMs = nowMs - heardAtMs - deafMs
      const starvedMs = silentMs > silentMsMax ? Math.max(0, waitedMs(child.pid) - waitedBeforeMs) : 0
      const isSilent = silentMs - starvedMs > silentMsMax || silentMs > starvedMsMax
      const isHalted = !this.#stopping && silentMs >= pingEveryMs && isStopped(child.pid) // nobody waits for one that ends
      stoppedLooks = isHalted ? stoppedLooks + 1 : 0
      if (isSilent || stoppedLooks >= stoppedLooksMax) {
        const [silent, starved] = [silentMs, starvedMs].map(Math.round)
        log.error('worker was silent, killing it', { worker: this.index, silentMs: silent, starvedMs: starved })
        child.kill('SIGKILL')
        return
      }
      this.#send({ type: 'ping', id: ++this.#sequence })
      dueAtMs = nowMs + pingEveryMs
      cancel = clock.setTimer(pingEveryMs, beat)
    }
    beat()
    return () => cancel()
  }

  #send(message: ToWorker): void {
    if (this.#process !== null) this.#write(this.#process, encodeLine(message))
  }

  #write(child: Process, line: string): void {
    sendInput(child.stdin, line).catch((error) =>
      // Its end of the pipe is gone, so it is about to be restarted; orders are answered there.
      this.#deps.log.debug('worker could not be written to', { worker: this.index, error }),
    )
  }

  #onLine(child: Process, line: string): void {
    const message = decodeLine<FromWorker>(line, fromWorkerTypes)
    if (message === null) {
      this.#deps.log.warn('worker said something unknown', { worker: this.index, length: line.length })
      return
    }
    this.#heardAtMs = Math.max(this.#heardAtMs, this.#deps.clock.monotonic())
    switch (message.type) {
      case 'ready':
        this.#url = message.url
        this.#heardAtMs = this.#deps.clock.monotonic()
        this.#firstReady.resolve()
        this.#deps.log.info('worker started', { worker: this.index, url: message.url })
        this.#deps.onAddress()
        return
      case 'pong':
        this.#load = message.load
        this.#tellLease(message.atMs)
        return
      case 'reply':
        this.#settle(message.id, message.outcome)
        return
      case 'opened':
        this.#deps.onOpened(message.ms, message.isRestored)
        return
      case 'ask':
        void this.#answer(child, message.id, message.question)
    }
  }

  #tellLease(atMs: number): void {
    const leftMs = this.#deps.leaseMsLeft()
    this.#send({ type: 'link', leaseEndsAtMs: leftMs > 0 ? atMs + leftMs : null })
  }

  #settle(id: number, outcome: Outcome<unknown>): void {
    const pending = this.#orders.get(id)
    if (pending === undefined) return // given up at its deadline
    this.#orders.delete(id)
    if (outcome.ok) pending.resolve(outcome.value)
    else pending.reject(new WorkerRefusedError(outcome.error.code, outcome.error.message))
  }

  async #answer(child: Process, id: number, question: WorkerQuestion): Promise<void> {
    type Answer = Extract<ToWorker, { readonly type: 'answer' }>['outcome']
    const outcome = (await outcomeOf(() => this.#deps.onQuestion(question))) as Answer // its asker knows the type
    // The next process counts its questions from one again: this would be the answer to another one.
    if (this.#process === child) this.#send({ type: 'answer', id, outcome })
  }
}

/** Whether a signal has stopped the process (Linux; elsewhere nobody can tell). */
function isStopped(pid: number): boolean {
  let stat: string
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch {
    return false // it is gone, which its exit tells, or there is no such file here
  }
  return stat.slice(stat.lastIndexOf(')') + 2).startsWith('T') // the name before may hold anything
}
