// What SQLite refused, in the words that PocketBase's driver has for it: superusers and tools read them.

import { SQLiteError } from 'bun:sqlite'

/** SQLite's text for each primary result code that a statement of a tenant can end with. */
const resultTexts: Readonly<Record<number, string>> = {
  1: 'SQL logic error',
  5: 'database is locked',
  6: 'database table is locked',
  7: 'out of memory',
  8: 'attempt to write a readonly database',
  9: 'interrupted',
  10: 'disk I/O error',
  11: 'database disk image is malformed',
  13: 'database or disk is full',
  18: 'string or blob too big',
  19: 'constraint failed',
  20: 'datatype mismatch',
  23: 'authorization denied',
  25: 'column index out of range',
}

/** `SQL logic error: no such table: x (1)`; the plain message of anything that SQLite did not say. */
export function driverMessage(error: unknown): string {
  if (!(error instanceof SQLiteError)) return error instanceof Error ? error.message : String(error)
  return driverWords(error.errno, error.message)
}

/** The same of a query that is tried out as a view: PocketBase makes one, and views belong to the main schema. */
export function viewQueryMessage(error: unknown): string {
  return driverMessage(error).replace(/(no such table: )(?=\w+ )/, '$1main.')
}

/** @param code SQLite's extended result code. */
export function driverWords(code: number, message: string): string {
  const text = resultTexts[code & 0xff] ?? resultTexts[1]!
  return message === text ? `${text} (${code})` : `${text}: ${message} (${code})`
}
