// Goal: a merge restores as its inputs do. Method: random small histories against a model of whole databases.

import { expect, test } from 'bun:test'
import type { Txid } from '../../lib/brand.ts'
import { concat } from '../../lib/bytes.ts'
import { seededRng } from '../../lib/rng.ts'
import { decodeLtx } from './decoder.ts'
import { encodeLtx } from './encoder.ts'
import { LtxFormatError } from './errors.ts'
import type { LtxHeader } from './header.ts'
import { checkLtx, type LtxInput, mergeLtx } from './merge.ts'

const pageSize = 512

function fileOf(txid: number, commit: number, pages: Map<number, Uint8Array>, previousCommit: number): Uint8Array {
  const header: LtxHeader = {
    pageSize,
    commit,
    minTxid: txid as Txid,
    maxTxid: txid as Txid,
    timestampMs: 1_700_000_000_000 + txid,
    walOffset: 4_152,
    walSize: 1,
    walSalt1: 2,
    walSalt2: 3,
    writer: { epoch: txid, incarnation: 1 },
  }
  return encodeLtx(header, pages, previousCommit).bytes
}

/** What a restore does: newest content, cut to the last size. */
function applied(files: readonly Uint8Array[]): Uint8Array[] {
  const pages = new Map<number, Uint8Array>()
  let commit = 0
  for (const file of files) {
    const { header } = decodeLtx(file, () => (pgno, page) => pages.set(pgno, page.slice()))
    commit = header.commit
    for (const pgno of pages.keys()) if (pgno > commit) pages.delete(pgno)
  }
  return Array.from({ length: commit }, (_, index) => pages.get(index + 1)!)
}

function inputOf(bytes: Uint8Array): LtxInput {
  return { name: 'input', sizeBytes: bytes.length, read: async (from, to) => bytes.slice(from, to) }
}

async function merged(files: readonly Uint8Array[]) {
  const parts: Uint8Array[] = []
  const { header, checksum, sizeBytes } = await mergeLtx(files.map(inputOf), (bytes) => parts.push(bytes.slice()))
  const bytes = concat(parts)
  expect(bytes.length).toBe(sizeBytes)
  expect((await checkLtx(inputOf(bytes))).checksum).toBe(checksum)
  return { header, bytes }
}

test('random histories, cut and merged anywhere, give the same database', async () => {
  for (let seed = 0; seed < 60; seed++) {
    const rng = seededRng(seed)
    const files: Uint8Array[] = []
    let commit = 0
    for (let txid = 1; txid <= 12; txid++) {
      const next = rng.below(4) === 0 ? Math.max(1, commit - rng.below(6)) : commit + 1 + rng.below(4)
      const pages = new Map<number, Uint8Array>()
      for (let pgno = commit + 1; pgno <= next; pgno++) pages.set(pgno, rng.bytes(pageSize))
      for (let i = 0; i < 3; i++) pages.set(1 + rng.below(next), rng.bytes(pageSize))
      files.push(fileOf(txid, next, pages, commit))
      commit = next
    }
    const from = rng.below(11)
    const to = from + 2 + rng.below(11 - from)
    const { header, bytes } = await merged(files.slice(from, to))
    expect([header.minTxid, header.maxTxid]).toEqual([(from + 1) as Txid, to as Txid])
    expect(header.timestampMs).toBe(1_700_000_000_000 + to)
    expect(applied([...files.slice(0, from), bytes, ...files.slice(to)])).toEqual(applied(files))
  }
})

test('files that do not follow one another, or are damaged, are refused', async () => {
  const page = new Map([[1, new Uint8Array(pageSize)]])
  const first = fileOf(1, 1, page, 0)
  const second = fileOf(2, 1, page, 1)
  for (const files of [[first, fileOf(3, 1, page, 1)], [second, first], [first, first], [new Uint8Array(200)], []])
    await expect(merged(files)).rejects.toThrow(LtxFormatError)
  const whole = await merged([first, second])
  for (let at = 0; at < second.length; at++) {
    const damaged = second.slice()
    damaged[at]! ^= 1
    try {
      // Some bits of a compressed block have no meaning.
      const { bytes } = await merged([first, damaged])
      expect(applied([bytes])).toEqual(applied([whole.bytes]))
    } catch (error) {
      expect(error).toBeInstanceOf(LtxFormatError)
    }
  }
})

test('a page that no file holds is no image', async () => {
  const image = fileOf(1, 2, new Map([1, 2].map((pgno) => [pgno, new Uint8Array(pageSize)])), 0)
  const grown = fileOf(2, 4, new Map([[4, new Uint8Array(pageSize)]]), 3)
  await expect(merged([image, grown])).rejects.toThrow('in no file')
})
