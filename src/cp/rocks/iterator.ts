import type { NativeDb, NativeIterator } from './binding.ts'

export interface Range {
  readonly gte: Uint8Array
  readonly lt: Uint8Array
  readonly reverse?: boolean
  readonly limit?: number
}

export interface KeyValue {
  readonly key: Uint8Array
  readonly value: Uint8Array
}

/** Reads a range in key order from a snapshot taken now; the native iterator is ended on every path. */
export async function* iterate(db: NativeDb, range: Range): AsyncGenerator<KeyValue> {
  const iterator = db.iterator({ ...range, gte: Buffer.from(range.gte), lt: Buffer.from(range.lt) })
  try {
    for (;;) {
      const pair = await next(iterator)
      if (pair === null) return
      yield pair
    }
  } finally {
    await new Promise<void>((resolve, reject) => iterator.end((error) => (error ? reject(error) : resolve())))
  }
}

function next(iterator: NativeIterator): Promise<KeyValue | null> {
  return new Promise((resolve, reject) =>
    iterator.next((error, key, value) => {
      if (error) reject(error)
      else resolve(key === undefined || value === undefined ? null : { key, value })
    }),
  )
}

/** The first key after every key that starts with `prefix`. */
export function prefixEnd(prefix: Uint8Array): Uint8Array {
  const end = prefix.slice()
  end[end.length - 1]!++ // our prefixes end in `/`, so this never overflows
  return end
}
