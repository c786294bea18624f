// Goal: the index of every file that our encoder makes is read back, and no other bytes pass for one. Method: random
// files; every cut; flipped bits; the checksum joined from pieces against that of the file.

import { expect, test } from 'bun:test'
import fc from 'fast-check'
import type { Txid } from '../../lib/brand.ts'
import { Crc64 } from '../../lib/crc/crc64.ts'
import { seededRng } from '../../lib/rng.ts'
import { decodeLtx } from './decoder.ts'
import { encodeLtx } from './encoder.ts'
import { LtxFormatError } from './errors.ts'
import type { LtxHeader } from './header.ts'
import { decodePageIndex, fileChecksum, ltxEndLength } from './page-index.ts'

const pageSize = 512

function fileOf(pgnos: readonly number[], commit: number, minTxid = 5) {
  const rng = seededRng(pgnos.length)
  const header: LtxHeader = {
    pageSize,
    commit,
    minTxid: minTxid as Txid,
    maxTxid: 5 as Txid,
    timestampMs: 1_700_000_000_000,
    walOffset: 32,
    walSize: 0,
    walSalt1: 0,
    walSalt2: 0,
    writer: { epoch: 1, incarnation: 1 },
  }
  const pages = new Map(pgnos.map((pgno) => [pgno, pgno % 3 === 0 ? rng.bytes(pageSize) : new Uint8Array(pageSize)]))
  return { header, pages, ...encodeLtx(header, pages, commit) }
}

function read(bytes: Uint8Array, header: LtxHeader) {
  const end = bytes.subarray(bytes.length - ltxEndLength(bytes.subarray(100), bytes.length))
  return decodePageIndex(end, header, bytes.length)
}

const somePgnos = fc.uniqueArray(fc.integer({ min: 1, max: 300 }), { maxLength: 60 })

test('names every page of a file where it is, and gives the checksum', () => {
  fc.assert(
    fc.property(somePgnos, (pgnos) => {
      const { bytes, header, checksum } = fileOf(pgnos, 300)
      const index = read(bytes, header)
      const sorted = [...pgnos].sort((a, b) => a - b)
      expect([...index.pgnos]).toEqual(sorted)
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
      for (const [i, pgno] of sorted.entries()) expect(view.getUint32(index.offsets[i]!)).toBe(pgno)
      expect(index.checksum).toBe(checksum)
    }),
  )
})

test('the checksum of a file is joined from that of its frames', () => {
  const { bytes, header, pages, checksum } = fileOf([1, 2, 3, 4, 5, 6, 7, 8, 9], 9, 1)
  const index = read(bytes, header)
  const pieces = [...index.pgnos].map((pgno, i) => {
    const crc = new Crc64().update(bytes.subarray(index.offsets[i]!, index.offsets[i]! + 10)).update(pages.get(pgno)!)
    return { crc: crc.value, length: 10 + pageSize }
  })
  expect(fileChecksum(bytes, pieces, index.end)).toBe(checksum)
  expect(fileChecksum(bytes, pieces.slice(1), index.end)).not.toBe(checksum)
})

test('a flipped bit of the end, a cut or another header is refused or leaves the frames where they are', () => {
  const { bytes, header } = fileOf([2, 3, 9, 250], 250)
  const expected = read(bytes, header)
  const start = bytes.length - ltxEndLength(bytes, bytes.length)
  for (let bit = start * 8; bit < (bytes.length - 8) * 8; bit++) {
    const damaged = bytes.slice()
    damaged[bit >>> 3] = damaged[bit >>> 3]! ^ (1 << (bit & 7))
    try {
      // The page numbers may still ascend; then they are not those that the frames have, which their reader compares.
      expect([...read(damaged, header).offsets]).toEqual([...expected.offsets])
    } catch (error) {
      if (!(error instanceof LtxFormatError)) throw error
    }
  }
  for (let cut = 101; cut < bytes.length; cut++)
    expect(() => read(bytes.subarray(0, cut), header)).toThrow(LtxFormatError)
  expect(() => read(bytes, { ...header, commit: 249 })).toThrow(LtxFormatError)
  expect(() => read(bytes, { ...header, minTxid: 1 as Txid })).toThrow(LtxFormatError)
})

test('arbitrary bytes never do anything but fail properly', () => {
  const { header } = fileOf([1], 1_000)
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 31, maxLength: 400 }), fc.nat(300), (end, length) => {
      new DataView(end.buffer).setBigUint64(end.length - 24, BigInt(length))
      try {
        const taken = ltxEndLength(end, end.length + 500)
        decodePageIndex(end.subarray(Math.max(0, end.length - taken)), header, end.length + 500)
      } catch (error) {
        if (!(error instanceof LtxFormatError)) throw error
      }
    }),
  )
})

test('what the index says is what the whole reader reads', () => {
  const { bytes, header } = fileOf([4, 5, 6], 10)
  const seen: number[] = []
  decodeLtx(bytes, () => (pgno) => seen.push(pgno))
  expect([...read(bytes, header).pgnos]).toEqual(seen)
})
