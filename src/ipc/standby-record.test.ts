// Goal: the record of standbys keeps its bytes, is read back, and hostile or torn bytes are no record, never a shorter one.

import { expect, test } from 'bun:test'
import fc from 'fast-check'
import type { Epoch, NodeId } from '../lib/brand.ts'
import { fromUtf8, utf8 } from '../lib/bytes.ts'
import {
  decodeStandbyFacts,
  decodeStandbyRecord,
  encodeStandbyRecord,
  epochOfRecord,
  type StandbyRecord,
  standbyRecordKey,
} from './standby-record.ts'

const record: StandbyRecord = {
  epoch: 18 as Epoch,
  sets: [
    { epoch: 4 as Epoch, nodeIds: ['node-2', 'node-3', 'node-4'] as NodeId[] },
    { epoch: 18 as Epoch, nodeIds: [] },
  ],
}
const golden =
  '{"version":1,"epoch":18,"sets":[{"epoch":4,"nodeIds":["node-2","node-3","node-4"]},{"epoch":18,"nodeIds":[]}]}'

test('golden bytes and key, and back', () => {
  expect(fromUtf8(encodeStandbyRecord(record))).toBe(golden)
  expect(decodeStandbyRecord(utf8(golden))).toEqual(record)
  const key = standbyRecordKey('pf/t/abcdefghijklmno', record.epoch)
  expect(key).toBe('pf/t/abcdefghijklmno/standbys/00000012.json')
  expect(epochOfRecord('pf/t/abcdefghijklmno', key)).toBe(record.epoch)
  for (const name of ['00000000.json', '12.json', '00000012.json.tmp', '0000001G.json'])
    expect(epochOfRecord('t/x', `t/x/standbys/${name}`)).toBeNull()
})

test('what is not whole is no record', () => {
  const broken: ((raw: { version: number; epoch: number; sets: Record<string, unknown>[] }) => void)[] = [
    (raw) => (raw.version = 2),
    (raw) => (raw.epoch = 17), // below its last set
    (raw) => raw.sets.reverse(),
    (raw) => (raw.sets[0]!['nodeIds'] = ['../etc']),
    (raw) => (raw.sets[0]!['nodeIds'] = Array(8).fill('node-1')),
    (raw) => (raw.sets[0]!['epoch'] = 0),
    (raw) => (raw.sets = Array.from({ length: 17 }, (_, at) => ({ epoch: at + 1, nodeIds: [] }))),
  ]
  for (const damage of broken) {
    const raw = JSON.parse(golden)
    damage(raw)
    expect(decodeStandbyRecord(utf8(JSON.stringify(raw)))).toBeNull()
  }
  fc.assert(
    fc.property(fc.nat(golden.length - 2), (at) => {
      expect(decodeStandbyRecord(utf8(golden.slice(0, at)))).toBeNull()
    }),
  )
  fc.assert(
    fc.property(fc.uint8Array(), fc.jsonValue(), (bytes, value) => {
      decodeStandbyRecord(bytes)
      decodeStandbyRecord(utf8(JSON.stringify(value)))
      decodeStandbyFacts(value)
    }),
  )
})

test('what a manifest says of standbys; an older one says nothing', () => {
  expect(decodeStandbyFacts(undefined)).toBeNull()
  expect(decodeStandbyFacts({})).toBeNull()
  expect(decodeStandbyFacts({ recordEpoch: null })).toEqual({ recordEpoch: null, settled: null } as never)
  const facts = { recordEpoch: 5, settled: { txid: 9, epoch: 6 } }
  expect(decodeStandbyFacts(facts)).toEqual(facts as never)
  expect(decodeStandbyFacts({ ...facts, settled: { txid: 0, epoch: 6 } })).toEqual({ ...facts, settled: null } as never)
})
