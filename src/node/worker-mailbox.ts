// What a worker says to its supervisor and hears from it: messages, and questions with their answers.

import type { Clock } from '../lib/clock.ts'
import { AppError, TimeoutError } from '../lib/errors.ts'
import {
  type AnswersToWorker,
  decodeLine,
  encodeLine,
  type FromWorker,
  type Outcome,
  type ToWorker,
  toWorkerTypes,
  type WorkerQuestion,
} from './worker-protocol.ts'

/** How long the supervisor may take to answer, ms; it asks the control plane. */
const answerMs = 10_000

/** The worker's end of the conversation with its supervisor. */
export class Mailbox {
  readonly #clock: Clock
  readonly #write: (line: string) => void
  readonly #early: ToWorker[] = []
  readonly #asked = new Map<number, { resolve(value: unknown): void; reject(error: unknown): void }>()
  #onMessage: ((message: ToWorker) => void) | null = null
  #sequence = 0

  /** @param write takes each line to the supervisor. */
  constructor(clock: Clock, write: (line: string) => void) {
    this.#clock = clock
    this.#write = write
  }

  /** Delivers what came before there was somebody to hear it. */
  set onMessage(listener: (message: ToWorker) => void) {
    this.#onMessage = listener
    for (const message of this.#early.splice(0)) listener(message)
  }

  onLine(line: string): void {
    const message = decodeLine<ToWorker>(line, toWorkerTypes)
    if (message === null) return // of a newer supervisor; it learns from the missing reply
    if (this.#onMessage === null) this.#early.push(message)
    else this.#onMessage(message)
  }

  say(message: FromWorker): void {
    this.#write(encodeLine(message))
  }

  /** Rejects with TimeoutError, or with the code of what the supervisor said instead. */
  ask<Q extends WorkerQuestion>(question: Q): Promise<AnswersToWorker[Q['type']]> {
    const id = ++this.#sequence
    return new Promise((resolve, reject) => {
      const settle = () => {
        cancel()
        this.#asked.delete(id)
      }
      const cancel = this.#clock.setTimer(answerMs, () => {
        settle()
        reject(new TimeoutError(`the supervisor did not answer ${question.type} within ${answerMs} ms`))
      })
      this.#asked.set(id, {
        // The supervisor is this program: its answer to a question of this type has that type.
        resolve: (value) => {
          settle()
          resolve(value as AnswersToWorker[Q['type']])
        },
        reject: (error) => {
          settle()
          reject(error)
        },
      })
      this.say({ type: 'ask', id, question })
    })
  }

  settle(id: number, outcome: Outcome<unknown>): void {
    const asked = this.#asked.get(id)
    if (asked === undefined) return // answered too late
    if (outcome.ok) asked.resolve(outcome.value)
    else asked.reject(new QuestionFailedError(outcome.error.code, outcome.error.message))
  }
}

/** The supervisor could not answer; `code` is its reason. */
class QuestionFailedError extends AppError {
  readonly code: string
  constructor(code: string, message: string) {
    super(message)
    this.code = code
  }
}
