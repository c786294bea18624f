// A RocksDB directory: get, range, atomic batch. One process holds it at a time, by RocksDB's own lock.

import { AppError, errorMessage } from '../../lib/errors.ts'
import type { Batch } from './batch.ts'
import { type NativeDb, nativeDb } from './binding.ts'
import { iterate, type KeyValue, type Range } from './iterator.ts'

/** RocksDB refused: the directory is locked, unreadable, corrupt or full. */
export class RocksError extends AppError {
  readonly code = 'rocksdb'
}

export class RocksDb implements AsyncDisposable {
  readonly #native: NativeDb
  readonly #dir: string
  #closed: Promise<void> | null = null

  constructor(native: NativeDb, dir: string) {
    this.#native = native
    this.#dir = dir
  }

  get(key: Uint8Array): Promise<Uint8Array | null> {
    return new Promise((resolve, reject) =>
      this.#native.get(Buffer.from(key), (error, value) => {
        if (!error) resolve(value)
        else if ('notFound' in error && error.notFound === true) resolve(null)
        else if (/NotFound/.test(error.message)) resolve(null)
        else reject(this.#failed('read', error))
      }),
    )
  }

  range(range: Range): AsyncGenerator<KeyValue> {
    return iterate(this.#native, range)
  }

  /** All or nothing; with `sync` only once it is on the disk. Later synced writes make earlier unsynced ones durable. */
  write(batch: Batch, options: { readonly sync: boolean }): Promise<void> {
    if (batch.operations.length === 0) return Promise.resolve()
    return new Promise((resolve, reject) =>
      this.#native.batch(batch.operations, options, (error) =>
        error ? reject(this.#failed('write', error)) : resolve(),
      ),
    )
  }

  close(): Promise<void> {
    this.#closed ??= new Promise((resolve, reject) =>
      this.#native.close((error) => (error ? reject(this.#failed('close', error)) : resolve())),
    )
    return this.#closed
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #failed(verb: string, cause: Error): RocksError {
    return new RocksError(`cannot ${verb} in ${this.#dir}`, { cause })
  }
}

/** Opens or makes the database. A second process, or a directory that cannot be written, fails with RocksError. */
export async function openRocksDb(dir: string, options: { readonly readOnly?: boolean } = {}): Promise<RocksDb> {
  const native = nativeDb(dir)
  const { readOnly = false } = options
  await new Promise<void>((resolve, reject) =>
    native.open({ createIfMissing: !readOnly, readOnly }, (error) => {
      if (!error) return resolve()
      const isLocked = /lock/i.test(error.message)
      const hint = isLocked ? `${dir} is in use by another process` : `cannot open the database in ${dir}`
      reject(new RocksError(`${hint}: ${errorMessage(error)}`, { cause: error }))
    }),
  )
  return new RocksDb(native, dir)
}
