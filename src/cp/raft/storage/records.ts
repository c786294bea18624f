// How the log lies in RocksDB (docs/formats/raft-log.md). Every record carries a CRC-32 of its bytes:
//
//   r/h  term and vote      r/b  base: what stands before the log      r/l/<index, 8 bytes big-endian>  entry
//   value: crc32 (4 bytes, little-endian) | version (1) | fields

import { utf8 } from '../../../lib/bytes.ts'
import {
  branded,
  brandedNumber,
  bytes,
  type Codec,
  DecodeError,
  list,
  nullable,
  struct,
  union,
  versioned,
} from '../../binary.ts'
import type { Entry, EntryPayload, HardState, Index, MemberId, Membership, SnapshotMeta, Term } from '../core/types.ts'

const index = brandedNumber<Index>()
const term = brandedNumber<Term>()
const member = branded<MemberId>()

export const membershipCodec: Codec<Membership> = struct<Membership>({
  voters: list(member),
  outgoing: list(member),
  learners: list(member),
})

type Of<T extends EntryPayload['type']> = Omit<Extract<EntryPayload, { readonly type: T }>, 'type'>

export const entryCodec: Codec<Entry> = struct<Entry>({
  index,
  term,
  payload: union<EntryPayload>({
    command: [1, struct<Of<'command'>>({ data: bytes })],
    noop: [2, struct<Of<'noop'>>({})],
    membership: [3, struct<Of<'membership'>>({ membership: membershipCodec })],
  }),
})

const entries = versioned(1, entryCodec)
const hardStates = versioned(1, struct<HardState>({ term, votedFor: nullable(member) }))
const bases = versioned(1, struct<SnapshotMeta>({ index, term, membership: membershipCodec }))

interface Records<T> {
  encode(value: T): Uint8Array
  /** Throws DecodeError, also when the checksum is wrong. */
  decode(bytes: Uint8Array): T
}

function checked<T>(inner: Records<T>): Records<T> {
  return {
    encode(value) {
      const body = inner.encode(value)
      const record = new Uint8Array(4 + body.length)
      new DataView(record.buffer).setUint32(0, Bun.hash.crc32(body), true)
      record.set(body, 4)
      return record
    },
    decode(record) {
      if (record.length < 5) throw new DecodeError('the record is too short')
      const body = record.subarray(4)
      const expected = new DataView(record.buffer, record.byteOffset).getUint32(0, true)
      if (Bun.hash.crc32(body) !== expected) throw new DecodeError('the checksum does not match')
      return inner.decode(body)
    },
  }
}

export const entryRecords = checked(entries)
export const hardStateRecords = checked(hardStates)
export const baseRecords = checked(bases)

export const hardStateKey = utf8('r/h')
export const baseKey = utf8('r/b')
export const entryPrefix = utf8('r/l/')

export function entryKey(at: number): Uint8Array {
  const key = new Uint8Array(entryPrefix.length + 8)
  key.set(entryPrefix)
  new DataView(key.buffer).setBigUint64(entryPrefix.length, BigInt(at))
  return key
}
