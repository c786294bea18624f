// The parent's end of one reader process: asks one thing at a time, and kills the process when it takes too long or too
// much.

import { readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { sendInput } from '../../../lib/child-input.ts'
import type { Clock } from '../../../lib/clock.ts'
import { AppError, TimeoutError } from '../../../lib/errors.ts'
import { runBehindOthers, runOnlyWhenIdle } from '../../../lib/scheduling.ts'
import type { Insertion, ReaderAnswer, ReaderRequest } from './reader-child.ts'
import type { CheckpointResult, ReaderQuery, ReaderRows } from './reader-query.ts'

/** Of one answer's line; above what a query may return, as JSON writes it. */
const lineBytesMax = 256 * 1024 * 1024
/** Memory of a reader by default, beside what it maps, bytes: a sort or a list that grows past it ends the process. */
export const memoryBytesMaxDefault = 768 * 1024 * 1024
/** How often it is looked at while a question runs, ms. */
const memoryLookMs = 200
const pageBytes = 4_096
/** A question that takes longer goes on only while nobody else wants the core, ms. */
const patienceMs = 500
/** How long a reader may take to let go of a database, ms; it only closes files. */
const releaseMs = 2_000

/** SQLite refused the statement; the message is its own. */
export class ReaderQueryError extends AppError {
  readonly code = 'reader_query'
}

/** The answer, or the memory that it took to make, went past its limit. */
export class ReaderTooLargeError extends AppError {
  readonly code = 'reader_too_large'
}

/** The process went away under a question: idle for too long, or killed from outside. */
export class ReaderEndedError extends AppError {
  readonly code = 'reader_ended'
}

export interface ReaderOptions {
  readonly command: readonly string[]
  readonly clock: Clock
  readonly memoryBytesMax: number
  /** It does work that the parent would have to do itself, so that it need not stand back. */
  readonly isEqual?: boolean
}

export class Reader {
  readonly #process: Bun.Subprocess<'pipe', 'pipe', 'inherit'>
  readonly #clock: Clock
  readonly #memoryBytesMax: number
  readonly #output: { read(): Promise<{ done: boolean; value?: Uint8Array | undefined }> }
  /** Databases that it may have open; all of one folder, and so of one tenant. */
  readonly #held = new Set<string>()
  #isAlive = true
  #isDemoted = false

  constructor(options: ReaderOptions) {
    this.#clock = options.clock
    this.#memoryBytesMax = options.memoryBytesMax
    // Without an environment: it may hold secrets, and a reader is asked only for rows.
    this.#process = Bun.spawn([...options.command], { stdin: 'pipe', stdout: 'pipe', stderr: 'inherit', env: {} })
    this.#process.unref()
    if (options.isEqual !== true) runBehindOthers(this.#process.pid) // whoever answers at once goes first
    this.#output = this.#process.stdout.getReader()
    void this.#process.exited.then(() => {
      this.#isAlive = false
    })
  }

  get isAlive(): boolean {
    return this.#isAlive
  }

  /** It has been put behind everybody else, for good: not for the next question. */
  get isDemoted(): boolean {
    return this.#isDemoted
  }

  get pid(): number {
    return this.#process.pid
  }

  holds(path: string): boolean {
    return this.#held.has(path)
  }

  /** It may have some database open. */
  get isHolding(): boolean {
    return this.#held.size > 0
  }

  kill(): void {
    this.#isAlive = false
    this.#process.kill('SIGKILL')
  }

  /** Resolves when the process has gone, and with it its descriptors. */
  get ended(): Promise<unknown> {
    return this.#process.exited
  }

  /** Throws ReaderQueryError, ReaderTooLargeError, TimeoutError, ReaderEndedError. */
  async query(query: ReaderQuery, deadlineMs: number): Promise<ReaderRows> {
    // It closes those of others first, so that no tenant's databases wait for another one's question.
    for (const path of this.#held) if (dirname(path) !== dirname(query.path)) this.#held.delete(path)
    if (!query.isApart) this.#held.add(query.path)
    const { value } = await this.#ask({ type: 'query', query }, deadlineMs, patienceMs)
    return value!
  }

  /** Moves what a WAL holds into its database; the caller keeps writers out. Throws TimeoutError, ReaderEndedError. */
  async checkpoint(path: string, deadlineMs: number): Promise<CheckpointResult> {
    const { checkpoint } = await this.#ask({ type: 'checkpoint', path }, deadlineMs)
    return checkpoint!
  }

  /** Inserts a part of a transaction's rows. Throws ReaderQueryError, TimeoutError, ReaderEndedError; then nothing is stored. */
  async insert(part: Insertion, deadlineMs: number): Promise<void> {
    await this.#ask({ type: 'insert', ...part }, deadlineMs)
  }

  /** Has it close a database. Afterwards the process has no descriptor of it, or is gone. */
  async release(path: string): Promise<void> {
    if (!this.#held.delete(path)) return
    try {
      await this.#ask({ type: 'release', path }, releaseMs)
    } catch {
      await this.ended // it was killed; that closes files too
    }
  }

  /** @param patience after this long the process is put behind everybody else, ms; missing: never. */
  async #ask(
    request: ReaderRequest,
    deadlineMs: number,
    patience?: number,
  ): Promise<Extract<ReaderAnswer, { readonly ok: true }>> {
    let killedFor: AppError | null = null
    const killFor = (reason: AppError) => {
      killedFor = reason
      this.kill()
    }
    const cancelDeadline = this.#clock.setTimer(deadlineMs, () =>
      killFor(new TimeoutError(`the query ran longer than ${deadlineMs} ms`)),
    )
    const cancelPatience =
      patience === undefined
        ? () => {}
        : this.#clock.setTimer(patience, () => {
            this.#isDemoted = true
            runOnlyWhenIdle(this.pid)
          })
    let cancelLook = () => {}
    const look = () => {
      if (this.#memoryBytes() > this.#memoryBytesMax)
        killFor(new ReaderTooLargeError(`the query took more than ${this.#memoryBytesMax} bytes of memory`))
      else cancelLook = this.#clock.setTimer(memoryLookMs, look)
    }
    cancelLook = this.#clock.setTimer(memoryLookMs, look)
    try {
      await sendInput(this.#process.stdin, `${JSON.stringify(request)}\n`)
      const answer = JSON.parse(await this.#line()) as ReaderAnswer
      if (answer.ok) return answer
      throw answer.reason === 'too_large'
        ? new ReaderTooLargeError(answer.message)
        : new ReaderQueryError(answer.message)
    } catch (error) {
      if (killedFor !== null) throw killedFor
      if (error instanceof ReaderQueryError || error instanceof ReaderTooLargeError) throw error
      this.kill() // its pipe is in an unknown state
      throw error instanceof ReaderEndedError
        ? error
        : new ReaderEndedError('the reader process ended', { cause: error })
    } finally {
      cancelDeadline()
      cancelPatience()
      cancelLook()
    }
  }

  /** Its own memory: pages of a file that it maps are the system's, and there for the next reader. */
  #memoryBytes(): number {
    try {
      const [, resident, shared] = readFileSync(`/proc/${this.pid}/statm`, 'utf8').split(' ')
      return (Number(resident) - Number(shared)) * pageBytes
    } catch {
      return 0 // it has just ended; whoever waits for its answer is told
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
