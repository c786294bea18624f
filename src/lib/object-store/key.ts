// One rule for object keys, for every store: what a directory can hold and S3 accepts.

import { assert } from '../assert.ts'

/** S3's limit, in bytes of UTF-8. */
const keyBytesMax = 1_024

/** Whether `key` is `a/b/c` without empty, `.` or `..` segments and without control characters or backslashes. */
export function isObjectKey(key: string): boolean {
  if (key === '' || Buffer.byteLength(key) > keyBytesMax) return false
  for (let i = 0; i < key.length; i++) {
    const code = key.charCodeAt(i)
    if (code < 0x20 || code === 0x7f || code === 0x5c) return false
  }
  return key.split('/').every((part) => part !== '' && part !== '.' && part !== '..')
}

/** Callers make keys of checked parts; a bad one here is our own mistake and must not reach a path. */
export function assertObjectKey(key: string): void {
  assert(isObjectKey(key), `not an object key: ${JSON.stringify(key)}`)
}

/** Order of S3 listings: bytes of UTF-8. */
export function compareKeys(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}

/** Cuts sorted objects into one page of a listing; `next` is the last key or prefix that was looked at. */
export function pageOf<T extends { readonly key: string }>(
  sorted: Iterable<T>,
  options: {
    readonly prefix: string
    readonly delimiter?: '/'
    readonly after?: string
    readonly next?: string | null
  },
  entriesMax = listEntriesMax,
): { readonly objects: T[]; readonly prefixes: string[]; readonly next: string | null } {
  const start = options.next ?? options.after ?? ''
  const objects: T[] = []
  const prefixes: string[] = []
  let last = ''
  for (const object of sorted) {
    if (!object.key.startsWith(options.prefix)) continue
    const cut = options.delimiter === undefined ? -1 : object.key.indexOf('/', options.prefix.length)
    const name = cut < 0 ? object.key : object.key.slice(0, cut + 1)
    if (name === last || (start !== '' && compareKeys(name, start) <= 0)) continue
    if (objects.length + prefixes.length === entriesMax) return { objects, prefixes, next: last }
    if (cut < 0) objects.push(object)
    else prefixes.push(name)
    last = name
  }
  return { objects, prefixes, next: null }
}

/** Entries of one page, as on S3. */
export const listEntriesMax = 1_000
