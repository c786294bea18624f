// Reads a stopped or damaged member's database: everything that can be read, and for the rest why not. Changes nothing.

import { join } from 'node:path'
import { fromUtf8, utf8 } from '../lib/bytes.ts'
import { errorMessage } from '../lib/errors.ts'
import { baseRecords, entryPrefix, entryRecords, hardStateRecords } from './raft/storage/records.ts'
import { openRocksDb } from './rocks/db.ts'
import { commands } from './state/command.ts'
import { decodeRow } from './state/state.ts'

export interface InspectedRecord {
  /** Readable form of the key. */
  readonly key: string
  /** Decoded value; secrets are left out. */
  readonly value: unknown
  /** Why the value could not be read; null when it could. */
  readonly error: string | null
}

/** Every record under `prefix` (`r/` the log, `s/` the state, empty all), in key order. */
export async function* inspectRecords(dir: string, prefix = ''): AsyncGenerator<InspectedRecord> {
  await using db = await openRocksDb(join(dir, 'rocksdb'), { readOnly: true })
  for await (const { key, value } of db.range({ gte: utf8(prefix), lt: new Uint8Array([...utf8(prefix), 0xff]) })) {
    const name = readableKey(key)
    try {
      yield { key: name, value: decode(name, value), error: null }
    } catch (error) {
      yield { key: name, value: null, error: errorMessage(error) }
    }
  }
}

function readableKey(key: Uint8Array): string {
  const text = fromUtf8(key.subarray(0, entryPrefix.length))
  if (text !== fromUtf8(entryPrefix)) return fromUtf8(key)
  const index = new DataView(key.buffer, key.byteOffset + entryPrefix.length, 8).getBigUint64(0)
  return `${text}${index}`
}

function decode(key: string, value: Uint8Array): unknown {
  if (key === 'r/h') return hardStateRecords.decode(value)
  if (key === 'r/b') return baseRecords.decode(value)
  if (key.startsWith('r/l/')) {
    const { index, term, payload } = entryRecords.decode(value)
    return { index, term, ...(payload.type === 'command' ? readableCommand(payload.data) : payload) }
  }
  const row = decodeRow(key, value)
  return row === null ? { bytes: value.length } : withoutSecrets(row)
}

/** Without secrets; of a recorded decision, what was decided is one inside. */
function readableCommand(data: Uint8Array): object {
  const command = commands.decode(data)
  return command.type === 'audited'
    ? { ...command, command: readableCommand(command.command) }
    : withoutSecrets(command)
}

/** Hashes are of no use for reading, and of some to a thief. */
function withoutSecrets<T extends object>(value: T): object {
  const secret = new Set(['tokenHash', 'passwordHash'])
  return JSON.parse(JSON.stringify(value, (key, each) => (secret.has(key) ? undefined : each)))
}
