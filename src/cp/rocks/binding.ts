// npm `rocksdb` as we use it: the LevelDOWN API with callbacks, declared here because it ships no types. The build
// replaces the package's lookup of its native file by a static require, so importing the package works in both modes.

// @ts-expect-error the package has no declarations; `openNative` gives it its type
import leveldown from 'rocksdb'

export type Callback<T = void> = (error: Error | null | undefined, value: T) => void

export type NativeOperation =
  | { readonly type: 'put'; readonly key: Buffer; readonly value: Buffer }
  | { readonly type: 'del'; readonly key: Buffer }

export interface NativeIterator {
  /** Calls back without key and value at the end. */
  next(callback: (error: Error | null | undefined, key?: Buffer, value?: Buffer) => void): void
  end(callback: Callback): void
}

export interface NativeDb {
  open(options: { readonly createIfMissing: boolean; readonly readOnly?: boolean }, callback: Callback): void
  close(callback: Callback): void
  get(key: Buffer, callback: Callback<Buffer>): void
  batch(operations: readonly NativeOperation[], options: { readonly sync: boolean }, callback: Callback): void
  iterator(options: {
    readonly gte: Buffer
    readonly lt: Buffer
    readonly reverse?: boolean
    readonly limit?: number
  }): NativeIterator
}

export function nativeDb(dir: string): NativeDb {
  return (leveldown as (location: string) => NativeDb)(dir)
}
