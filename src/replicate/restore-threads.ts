// Threads that expand pages and check files for all restores of this process. They live while a restore holds a lease.

import { availableParallelism } from 'node:os'
import { assert } from '../lib/assert.ts'
import { AppError } from '../lib/errors.ts'
import { workerUrl } from '../workers.ts'
import { DamagedDatabaseError, type FileCheck } from './check-file.ts'
import type { DecodeRun } from './decode-run.ts'
import { LtxFormatError } from './ltx/errors.ts'
import type { PieceChecksum } from './ltx/page-index.ts'

/** More gain nothing: the network and the disk are slower than four threads. */
const threadsMax = 4

export type ThreadTask =
  | { readonly id: number; readonly type: 'decode'; readonly run: DecodeRun }
  | { readonly id: number; readonly type: 'check'; readonly path: string; readonly check: FileCheck }

export type ThreadAnswer =
  | { readonly id: number; readonly type: 'decoded'; readonly piece: PieceChecksum }
  | { readonly id: number; readonly type: 'checked' }
  | {
      readonly id: number
      readonly type: 'failed'
      readonly kind: 'format' | 'damaged' | 'other'
      readonly code: string | null
      readonly message: string
    }

type Work = { readonly type: 'decode'; readonly run: DecodeRun } | Omit<Extract<ThreadTask, { type: 'check' }>, 'id'>

/** A thread died, or the disk failed under it. */
class RestoreThreadError extends AppError {
  readonly code: string
  constructor(message: string, code: string | null) {
    super(message)
    this.code = code ?? 'restore_thread'
  }
}

class Thread {
  readonly #worker = new Worker(workerUrl('replicate/restore-worker'))
  readonly #pending = new Map<number, { resolve(answer: ThreadAnswer): void; reject(error: Error): void }>()
  #nextId = 1
  #failure: Error | null = null

  constructor() {
    this.#worker.addEventListener('message', ({ data }: MessageEvent<ThreadAnswer>) => {
      const pending = this.#pending.get(data.id)
      assert(pending !== undefined, 'a thread answers what it was asked')
      this.#pending.delete(data.id)
      pending.resolve(data)
    })
    this.#worker.addEventListener('error', (event) => this.#fail(`a restore thread failed: ${event.message}`))
    this.#worker.addEventListener('close', () => this.#fail('a restore thread ended'))
  }

  get load(): number {
    return this.#pending.size
  }

  get hasFailed(): boolean {
    return this.#failure !== null
  }

  run(work: Work): Promise<ThreadAnswer> {
    if (this.#failure !== null) return Promise.reject(this.#failure)
    const id = this.#nextId++
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject })
      if (work.type === 'check') return this.#worker.postMessage({ ...work, id })
      const { bytes } = work.run
      const isWhole = bytes.byteLength === bytes.buffer.byteLength
      const owned = isWhole ? (bytes as Uint8Array<ArrayBuffer>) : bytes.slice()
      this.#worker.postMessage({ ...work, id, run: { ...work.run, bytes: owned } }, [owned.buffer])
    })
  }

  end(): void {
    this.#failure ??= new RestoreThreadError('the restore has ended', null)
    this.#worker.terminate()
  }

  #fail(message: string): void {
    this.#failure ??= new RestoreThreadError(message, null)
    for (const { reject } of this.#pending.values()) reject(this.#failure)
    this.#pending.clear()
  }
}

let threads: readonly Thread[] = []
let leases = 0

/** The right to use the threads; they end with the last lease. */
export class RestoreThreads implements Disposable {
  #isDisposed = false

  constructor() {
    leases++
    if (threads.length === 0)
      threads = Array.from({ length: Math.min(availableParallelism(), threadsMax) }, () => new Thread())
  }

  /** See `decodeRun`. The bytes belong to the thread from now on. */
  async decode(run: DecodeRun): Promise<PieceChecksum> {
    const answer = await this.#run({ type: 'decode', run })
    assert(answer.type === 'decoded', 'the answer fits the task')
    return answer.piece
  }

  /** See `checkFile`. */
  async check(path: string, check: FileCheck): Promise<void> {
    await this.#run({ type: 'check', path, check })
  }

  [Symbol.dispose](): void {
    if (this.#isDisposed) return
    this.#isDisposed = true
    if (--leases > 0) return
    for (const thread of threads) thread.end()
    threads = []
  }

  async #run(work: Work): Promise<ThreadAnswer> {
    assert(!this.#isDisposed, 'the lease is held')
    threads = threads.map((thread) => (thread.hasFailed ? new Thread() : thread))
    const idlest = threads.reduce((a, b) => (b.load < a.load ? b : a))
    const answer = await idlest.run(work)
    if (answer.type !== 'failed') return answer
    if (answer.kind === 'format') throw new LtxFormatError(answer.message)
    if (answer.kind === 'damaged') throw new DamagedDatabaseError(answer.message)
    throw new RestoreThreadError(answer.message, answer.code)
  }
}
