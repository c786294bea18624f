// Questions that may scan for long run in a process of their own: a statement of SQLite cannot be interrupted from
// JavaScript, only a process can be killed. Few processes serve all tenants of a worker; a database has one question
// running at a time, so that one tenant's queue is not the others'.

import type { Clock } from '../../../lib/clock.ts'
import { AppError, OverloadedError, TimeoutError } from '../../../lib/errors.ts'
import { selfCommand } from '../../../lib/self-command.ts'
import type { ReaderAnswer } from './reader-child.ts'
import type { ReaderQuery, ReaderRows } from './reader-query.ts'

const processesMax = 2
/** Questions that may wait, in all and of one database. */
const waitingMax = 200
const waitingMaxOfOne = 10
/** Of one answer's line; above what a query may return. */
const lineBytesMax = 256 * 1024 * 1024

/** SQLite refused the statement; the message is its own. */
export class ReaderQueryError extends AppError {
  readonly code = 'reader_query'
}

/** The process went away under a question: idle for too long, or killed from outside. */
class ReaderEndedError extends AppError {
  readonly code = 'reader_ended'
}

interface Job {
  readonly query: ReaderQuery
  readonly deadlineMs: number
  readonly done: (rows: ReaderRows) => void
  readonly fail: (error: unknown) => void
}

export interface ReaderPoolOptions {
  readonly clock: Clock
  /** The argv of a reader; default: ourselves. */
  readonly command?: readonly string[]
}

export class ReaderPool {
  readonly #clock: Clock
  readonly #command: readonly string[]
  readonly #waiting: Job[] = []
  readonly #busyPaths = new Set<string>()
  readonly #idle: Reader[] = []
  #running = 0

  constructor(options: ReaderPoolOptions) {
    this.#clock = options.clock
    this.#command = options.command ?? selfCommand(['reader'])
  }

  /**
   * Rows of one statement. Throws ReaderQueryError, TimeoutError past `deadlineMs` of running (the process is killed),
   * OverloadedError when too many wait.
   */
  run(query: ReaderQuery, deadlineMs: number): Promise<ReaderRows> {
    const ofOne = this.#waiting.filter((each) => each.query.path === query.path).length
    if (this.#waiting.length >= waitingMax || ofOne >= waitingMaxOfOne)
      return Promise.reject(new OverloadedError('too many queries wait already'))
    return new Promise((done, fail) => {
      this.#waiting.push({ query, deadlineMs, done, fail })
      this.#next()
    })
  }

  #next(): void {
    while (this.#running < processesMax) {
      const at = this.#waiting.findIndex((each) => !this.#busyPaths.has(each.query.path))
      if (at < 0) return
      const [job] = this.#waiting.splice(at, 1)
      this.#running++
      this.#busyPaths.add(job!.query.path)
      void this.#serve(job!)
    }
  }

  async #serve(job: Job): Promise<void> {
    let reader = this.#take()
    try {
      try {
        job.done(await reader.ask(job.query, job.deadlineMs))
      } catch (error) {
        if (!(error instanceof ReaderEndedError)) throw error
        reader = new Reader(this.#command, this.#clock) // once, and a fresh one: reading twice harms nobody
        job.done(await reader.ask(job.query, job.deadlineMs))
      }
    } catch (error) {
      job.fail(error)
    }
    this.#running--
    this.#busyPaths.delete(job.query.path)
    if (reader.isAlive) this.#idle.push(reader)
    this.#next()
  }

  #take(): Reader {
    for (let reader = this.#idle.pop(); reader !== undefined; reader = this.#idle.pop())
      if (reader.isAlive) return reader
    return new Reader(this.#command, this.#clock)
  }

  /** Ends the processes that nobody waits for. */
  close(): void {
    for (const reader of this.#idle.splice(0)) reader.kill()
  }
}

class Reader {
  readonly #process: Bun.Subprocess<'pipe', 'pipe', 'inherit'>
  readonly #clock: Clock
  readonly #output: { read(): Promise<{ done: boolean; value?: Uint8Array | undefined }> }
  #isAlive = true

  constructor(command: readonly string[], clock: Clock) {
    this.#clock = clock
    // Without an environment: it may hold secrets, and a reader is asked only for rows.
    this.#process = Bun.spawn([...command], { stdin: 'pipe', stdout: 'pipe', stderr: 'inherit', env: {} })
    this.#process.unref()
    this.#output = this.#process.stdout.getReader()
    void this.#process.exited.then(() => {
      this.#isAlive = false
    })
  }

  get isAlive(): boolean {
    return this.#isAlive
  }

  kill(): void {
    this.#isAlive = false
    this.#process.kill('SIGKILL')
  }

  async ask(query: ReaderQuery, deadlineMs: number): Promise<ReaderRows> {
    let isLate = false
    const cancel = this.#clock.setTimer(deadlineMs, () => {
      isLate = true
      this.kill()
    })
    try {
      this.#process.stdin.write(`${JSON.stringify(query)}\n`)
      await this.#process.stdin.flush()
      const answer = JSON.parse(await this.#line()) as ReaderAnswer
      if (!answer.ok) throw new ReaderQueryError(answer.message)
      return answer.value
    } catch (error) {
      if (isLate) throw new TimeoutError(`the query ran longer than ${deadlineMs} ms`, { cause: error })
      if (!(error instanceof ReaderQueryError)) this.kill() // its pipe is in an unknown state
      throw error
    } finally {
      cancel()
    }
  }

  async #line(): Promise<string> {
    const decoder = new TextDecoder()
    const parts: string[] = []
    for (let bytes = 0; ; ) {
      const { done, value } = await this.#output.read()
      if (done || value === undefined) throw new ReaderEndedError('the reader process ended')
      bytes += value.length
      if (bytes > lineBytesMax) throw new ReaderEndedError('the answer is too large')
      parts.push(decoder.decode(value, { stream: true }))
      if (value.at(-1) === 0x0a) return parts.join('') // one answer at a time: a line ends where a chunk does
    }
  }
}

let shared: ReaderPool | null = null

/** The readers of this process. */
export function readerPool(clock: Clock): ReaderPool {
  return (shared ??= new ReaderPool({ clock }))
}
