// Goal: our files are byte for byte what the format says, and no bytes make the reader do anything but succeed or throw
// LtxFormatError. Method: golden vectors that the official library has verified, round trips, damage.

import { expect, test } from 'bun:test'
import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import type { Txid } from '../../lib/brand.ts'
import { toHex } from '../../lib/bytes.ts'
import { seededRng } from '../../lib/rng.ts'
import { decodeLtx } from './decoder.ts'
import { encodeLtx, encodeLtxPaced } from './encoder.ts'
import { LtxFormatError } from './errors.ts'
import { decodeLtxHeader, encodeLtxHeader, type LtxHeader, lockPgno } from './header.ts'
import { decodeLz4Block, decodeLz4Frame, Lz4BlockEncoder, lz4BlockBound, xxh32 } from './lz4.ts'

const golden = {
  twoPages: `4c54583100000002000002000000000200000000000000010000000000000001
    0000018bcfe56800000000000000000000000000000000000000000000000000
    0000000000000000000000000000000000000000000000000000000000000000
    00000000000000010001 0000000c 1f010100ffe850010101010100000002000
    10000000c1f020100ffe8500202020202000000000000016416027a1600000000
    000000000700000000000000009742b4e7de7b75e0`,
  seal: `4c54583100000002000010000000000500000000000000070000000000000007
    0000018bcfe56800000000000000000000000000000000200000000000000000
    0000000000000000000000030000000900000000000000000000000000000000
    000000000000000000000000000000000000010000000000000000b1244f124e
    cec142`,
}
const bytesOf = (hex: string) => new Uint8Array(Buffer.from(hex.replace(/\s/g, ''), 'hex'))

function header(fields: Partial<LtxHeader>): LtxHeader {
  return {
    pageSize: 512,
    commit: 2,
    minTxid: 1 as Txid,
    maxTxid: 1 as Txid,
    timestampMs: 1_700_000_000_000,
    walOffset: 32,
    walSize: 0,
    walSalt1: 0,
    walSalt2: 0,
    writer: { epoch: 0, incarnation: 0 },
    ...fields,
  }
}

test('golden: two compressed pages decode, and their blocks are what our encoder makes', () => {
  const bytes = bytesOf(golden.twoPages)
  expect(bytes.length).toBe(181)
  const pages: Uint8Array[] = []
  const { checksum } = decodeLtx(bytes, () => (_, page) => pages.push(page.slice()))
  expect(checksum).toBe(0x9742b4e7de7b75e0n)
  expect(pages).toEqual([new Uint8Array(512).fill(1), new Uint8Array(512).fill(2)])
  // The vector has WAL offset 0, which our encoder refuses; everything behind the header but the checksum is the same.
  const ours = encodeLtx(header({}), new Map(pages.map((page, i) => [i + 1, page])), 0)
  expect(toHex(ours.bytes.subarray(100, -8))).toBe(toHex(bytes.subarray(100, -8)))
})

test('golden: a seal', () => {
  const txid = 7 as Txid
  const seal = encodeLtx(
    header({ pageSize: 4_096, commit: 5, minTxid: txid, maxTxid: txid, writer: { epoch: 3, incarnation: 9 } }),
    new Map(),
    5,
  )
  expect(toHex(seal.bytes)).toBe(toHex(bytesOf(golden.seal)))
  expect(seal.checksum).toBe(0xb1244f124ecec142n)
})

test('xxHash32 of known inputs', () => {
  expect(xxh32(new Uint8Array(0))).toBe(0x02cc5d05)
  expect(xxh32(new TextEncoder().encode('abc'))).toBe(0x32d153ff)
  expect(xxh32(new TextEncoder().encode('Nobody inspects the spammish repetition'))).toBe(0xe2293b2f)
})

test('golden: pages in LZ4 frames, the encoding of older releases', () => {
  // Built as the older encoder does: one frame a page, content checksum on. Length and checksum were verified officially.
  const target = bytesOf(golden.twoPages)
  const frames: Uint8Array[] = []
  const index: number[] = []
  let offset = 100
  for (const value of [1, 2]) {
    const page = new Uint8Array(512).fill(value)
    const block = target.subarray(value === 1 ? 110 : 132, value === 1 ? 122 : 144)
    const frame = new Uint8Array(6 + 7 + 4 + block.length + 8)
    const view = new DataView(frame.buffer)
    view.setUint32(0, value)
    frame.set([0x04, 0x22, 0x4d, 0x18, 0x64, 0x40, (xxh32(new Uint8Array([0x64, 0x40])) >>> 8) & 255], 6)
    view.setUint32(13, block.length, true)
    frame.set(block, 17)
    view.setUint32(frame.length - 4, xxh32(page), true)
    frames.push(frame)
    index.push(value, ...(offset >= 128 ? [(offset & 127) | 128, offset >> 7] : [offset]), frame.length)
    offset += frame.length
  }
  index.push(0)
  const tail = new Uint8Array(6 + index.length + 8 + 16)
  tail.set(index, 6)
  tail[6 + index.length + 7] = index.length
  new DataView(tail.buffer).setBigUint64(tail.length - 8, 0xd2cf86e3898c5de9n)
  const bytes = Buffer.concat([target.subarray(0, 100), ...frames, tail])
  expect(bytes.length).toBe(212)
  const pages: number[] = []
  decodeLtx(bytes, () => (_, page) => pages.push(page[511]!))
  expect(pages).toEqual([1, 2])
})

test('blocks round trip: random, repetitive and mixed, at every page size', () => {
  const rng = seededRng(7)
  const lz4 = new Lz4BlockEncoder()
  for (const length of [1, 5, 12, 13, 14, 100, 512, 4_096, 65_536])
    for (let kind = 0; kind < 6; kind++) {
      const source = rng.bytes(length)
      if (kind < 5)
        for (let i = 0; i < length; i++) source[i] = kind === 0 ? 7 : source[Math.max(0, i - rng.below(1 + kind * 9))]!
      const target = new Uint8Array(lz4BlockBound(length))
      const size = lz4.encode(source, target)
      const back = new Uint8Array(length)
      decodeLz4Block(target.subarray(0, size), back)
      expect(Buffer.compare(back, source)).toBe(0)
    }
})

test('files round trip', () => {
  fc.assert(
    fc.property(fc.constantFrom(512, 4_096, 65_536), fc.nat(6), fc.nat(), (pageSize, count, seed) => {
      const rng = seededRng(seed)
      const pages = new Map<number, Uint8Array>()
      for (let i = 0; i < count; i++) pages.set(1 + rng.below(300), rng.bytes(pageSize).fill(3, 0, rng.below(pageSize)))
      const head = header({
        pageSize,
        commit: 300,
        minTxid: 12 as Txid,
        maxTxid: 15 as Txid,
        walOffset: 4_152,
        walSize: 8_240,
        walSalt1: 0xffffffff,
        walSalt2: 5,
        writer: { epoch: 0xfffffffe, incarnation: 3 },
      })
      const { bytes, checksum } = encodeLtx(head, pages, 300)
      const back = new Map<number, Uint8Array>()
      const decoded = decodeLtx(bytes, () => (pgno, page) => back.set(pgno, page.slice()))
      expect(decoded).toEqual({ header: head, checksum })
      expect(back).toEqual(new Map([...pages].sort(([a], [b]) => a - b)))
    }),
    { numRuns: 30 },
  )
})

test('a large file is encoded with pauses, to the same bytes', async () => {
  const pages = new Map(Array.from({ length: 40 }, (_, at) => [at + 1, seededRng(at).bytes(65_536)]))
  const head = header({ pageSize: 65_536, commit: 40, maxTxid: 1 as Txid })
  let turns = 0
  let isDone = false
  const others = (async () => {
    for (; !isDone; turns++) await setImmediate()
  })()
  const paced = await encodeLtxPaced(head, pages, 0)
  isDone = true
  await others
  expect(paced).toEqual(encodeLtx(head, pages, 0))
  expect(turns).toBeGreaterThan(1)
})

// The last token of a block has four bits without a meaning: such a flip changes nothing that is read.
test('no flipped bit changes what is read, and every cut is found', () => {
  const pages = new Map([1, 2, 3].map((pgno) => [pgno, seededRng(pgno).bytes(512)]))
  const { bytes } = encodeLtx(header({ commit: 3 }), pages, 0)
  let refused = 0
  for (let at = 0; at < bytes.length; at++) {
    const damaged = bytes.slice()
    damaged[at]! ^= 1 << (at & 7)
    const read = new Map<number, Uint8Array>()
    try {
      decodeLtx(damaged, () => (pgno, page) => read.set(pgno, page.slice()))
    } catch (error) {
      expect(error).toBeInstanceOf(LtxFormatError)
      refused++
      continue
    }
    expect(read).toEqual(pages)
  }
  expect(refused).toBeGreaterThan(bytes.length - 10)
  for (let length = 0; length < bytes.length; length += 13)
    expect(() => decodeLtx(bytes.subarray(0, length), () => () => {})).toThrow(LtxFormatError)
})

test('arbitrary bytes never do anything but fail properly', () => {
  const head = encodeLtxHeader(header({}))
  const throwsProperly = (body: () => unknown) => {
    try {
      body()
    } catch (error) {
      expect(error).toBeInstanceOf(LtxFormatError)
    }
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      throwsProperly(() => decodeLtxHeader(bytes))
      throwsProperly(() => decodeLtx(Buffer.concat([head, bytes]), () => () => {}))
      throwsProperly(() => decodeLz4Block(bytes, new Uint8Array(512)))
      throwsProperly(() => decodeLz4Frame(bytes, new Uint8Array(512)))
    }),
    { numRuns: 2_000 },
  )
})

test('the encoder refuses what a reader would stumble over', () => {
  const page = new Uint8Array(512)
  expect(() =>
    encodeLtx(
      header({ commit: 3 }),
      new Map([
        [1, page],
        [3, page],
      ]),
      0,
    ),
  ).toThrow('page 2 is missing')
  const later = { minTxid: 5 as Txid, maxTxid: 5 as Txid }
  expect(() => encodeLtx(header({ commit: 9, ...later }), new Map([[9, page]]), 7)).toThrow('page 8 is missing')
  expect(() => encodeLtx(header({ commit: 2, ...later }), new Map([[3, page]]), 2)).toThrow('outside')
  const lock = lockPgno(512)
  expect(() => encodeLtx(header({ commit: lock, ...later }), new Map([[lock, page]]), lock)).toThrow('lock page')
})
