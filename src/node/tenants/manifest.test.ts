// Goal: what was written is read back; what is old, torn or hostile loses parts, never throws, and never becomes a lie.
// Method: golden bytes of both versions, and random damage.

import { expect, test } from 'bun:test'
import fc from 'fast-check'
import type { TenantSpec } from '../../ipc/messages/tenant.ts'
import type { Epoch, TenantId, Txid } from '../../lib/brand.ts'
import { fromUtf8, utf8 } from '../../lib/bytes.ts'
import { MemoryObjectStore } from '../../lib/object-store/memory.ts'
import type { HistoryManifest } from '../../replicate/history-manifest.ts'
import {
  decodeFacts,
  markHandedOver,
  noFacts,
  readFacts,
  type TenantFacts,
  writeIdentity,
  writeManifest,
} from './manifest.ts'

const tenant: TenantSpec = {
  id: 'abcdefghijklmno' as TenantId,
  slug: 'demo' as TenantSpec['slug'],
  domains: [],
  status: 'active',
  plan: 'small',
  ackMode: 'async',
  lossBoundMs: 5_000,
  onStoreOutage: 'spool',
  limits: { storageBytesMax: null, apiRequestsPerDayMax: null, realtimeConnectionsMax: null, queryMsMax: 5_000 },
  createdAtMs: 1_700_000_000_000,
}

const history: HistoryManifest = {
  epoch: 3,
  tail: { txid: 20 as Txid, timestampMs: 1_700_000_100_000, checksum: '9742b4e7de7b75e0' },
  pageSize: 4_096,
  commit: 9,
  files: [
    { level: 9, minTxid: 1 as Txid, maxTxid: 18 as Txid, sizeBytes: 999, timestampMs: 5, checksum: 'e0d96b85ad71a413' },
    { level: 0, minTxid: 19 as Txid, maxTxid: 19 as Txid, sizeBytes: 131, timestampMs: null, checksum: null },
    {
      level: 0,
      minTxid: 20 as Txid,
      maxTxid: 20 as Txid,
      sizeBytes: 131,
      timestampMs: 7,
      checksum: '9742b4e7de7b75e0',
    },
  ],
  candidates: { sinceMs: 1_700_000_090_000, ranges: [{ level: 0, minTxid: 1 as Txid, maxTxid: 16 as Txid }] },
  retained: { txid: 16 as Txid, atMs: 1_700_000_090_000, isSettled: true },
  restoreMsMax: 120,
}

const facts: TenantFacts = {
  databases: { 'data.db': history },
  hooks: { anyEnabled: false, txid: 2 as Txid },
  nextCronAtMs: 1_700_000_200_000,
  filesListedAtMs: 1_700_000_150_000,
  lineage: { tenantId: 'onmlkjihgfedcba' as TenantId, atMs: 1_690_000_000_000 },
  standbys: { recordEpoch: 3 as Epoch, settled: { txid: 20 as Txid, epoch: 3 as Epoch } },
}

const golden =
  '{"version":2,"updatedAtMs":1700000300000,"tenant":{"id":"abcdefghijklmno","slug":"demo","domains":[],"status":"active","plan":"small","ackMode":"async","lossBoundMs":5000,"onStoreOutage":"spool","limits":{"storageBytesMax":null,"apiRequestsPerDayMax":null,"realtimeConnectionsMax":null,"queryMsMax":5000},"createdAtMs":1700000000000},"hooks":{"anyEnabled":false,"txid":2},"nextCronAtMs":1700000200000,"filesListedAtMs":1700000150000,"lineage":{"tenantId":"onmlkjihgfedcba","atMs":1690000000000},"standbys":{"recordEpoch":3,"settled":{"txid":20,"epoch":3}},"databases":{"data.db":{"epoch":3,"tail":{"txid":20,"timestampMs":1700000100000,"checksum":"9742b4e7de7b75e0"},"pageSize":4096,"commit":9,"retained":{"txid":16,"atMs":1700000090000,"isSettled":true},"restoreMsMax":120,"files":[[9,1,18,999,5,"e0d96b85ad71a413"],[0,19,19,131,null,null],[0,20,20,131,7,"9742b4e7de7b75e0"]],"candidates":{"sinceMs":1700000090000,"ranges":[[0,1,16]]}}}}'

test('golden bytes of version 2, and back', async () => {
  const store = new MemoryObjectStore()
  await writeManifest({ store, objectPrefix: 'p' }, { tenant, facts, updatedAtMs: 1_700_000_300_000 })
  expect(fromUtf8(await store.get('p/t/abcdefghijklmno/manifest.json'))).toBe(golden)
  expect(decodeFacts(utf8(golden))).toEqual(facts)
})

test('version 1 holds the identity alone; a new identity keeps the rest', async () => {
  expect(decodeFacts(utf8(JSON.stringify({ version: 1, updatedAtMs: 1, tenant })))).toEqual(noFacts)
  const place = { store: new MemoryObjectStore(), objectPrefix: '' }
  expect(await readFacts(place, tenant.id)).toBeNull()
  await writeManifest(place, { tenant, facts, updatedAtMs: 1 })
  await writeIdentity(place, { tenant: { ...tenant, plan: 'large' }, updatedAtMs: 2 })
  expect(await readFacts(place, tenant.id)).toEqual(facts)
  expect(fromUtf8(await place.store.get(`t/${tenant.id}/manifest.json`))).toContain('"plan":"large"')
})

test('a manifest of before there were records of standbys says nothing of them', () => {
  const { standbys: _, ...old } = JSON.parse(golden)
  expect(decodeFacts(utf8(JSON.stringify(old)))).toEqual({ ...facts, standbys: null })
})

test('a hand-over is marked, and nothing else changes; without a manifest there is nothing to mark', async () => {
  const place = { store: new MemoryObjectStore(), objectPrefix: '' }
  await markHandedOver(place, tenant.id, 2)
  expect(place.store.keys).toEqual([])
  await writeManifest(place, { tenant, facts, updatedAtMs: 1 })
  await markHandedOver(place, tenant.id, 2)
  const marked = JSON.parse(fromUtf8(await place.store.get(`t/${tenant.id}/manifest.json`)))
  expect(marked).toMatchObject({ tenant: { ...tenant, isHandedOver: true }, updatedAtMs: 2 })
  expect(await readFacts(place, tenant.id)).toEqual(facts)
})

test('files that do not lead to the tail without a gap are no files', () => {
  const broken: ((raw: { files: unknown[][]; tail: Record<string, unknown> }) => void)[] = [
    (raw) => raw.files.splice(1, 1),
    (raw) => raw.files.shift(),
    (raw) => raw.files.pop(),
    (raw) => raw.files.reverse(),
    (raw) => raw.files[0]!.splice(1, 1, 2),
    (raw) => raw.files[2]!.splice(5, 1, '../../etc'),
    (raw) => raw.files[2]!.splice(0, 1, 10),
    (raw) => (raw.tail['txid'] = 21),
  ]
  for (const damage of broken) {
    const raw = JSON.parse(golden)
    damage(raw.databases['data.db'])
    expect(decodeFacts(utf8(JSON.stringify(raw)))?.databases).toEqual({})
  }
})

test('damage of any kind is survived', () => {
  fc.assert(
    fc.property(fc.nat(golden.length - 1), fc.string({ maxLength: 3 }), fc.boolean(), (at, text, isCut) => {
      const damaged = golden.slice(0, at) + (isCut ? '' : text + golden.slice(at + text.length))
      const found = decodeFacts(utf8(damaged))
      const files = found?.databases['data.db']?.files
      if (files !== undefined) expect(files[0]!.minTxid).toBe(1 as Txid)
    }),
  )
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      decodeFacts(bytes)
    }),
  )
})
