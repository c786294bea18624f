// Goal: what a worker puts on a trunk is what a gateway takes from it, however the bytes are cut; nothing else is taken.

import { expect, test } from 'bun:test'
import { seededRng, uniform } from '../../lib/rng.ts'
import {
  decodeSeats,
  encodeFrame,
  encodeSeats,
  type Frame,
  FrameReader,
  frameContentBytesMax,
  frameKind,
  frameSeatsMax,
  parseSeat,
  seatText,
  TrunkFrameError,
} from './trunk.ts'

const bytes = (text: string) => new TextEncoder().encode(text)
const hex = (data: Uint8Array) => Buffer.from(data).toString('hex')

test('golden bytes of version 1', () => {
  expect(hex(encodeFrame(frameKind.open, [1], bytes('id:a\n')))).toBe('0e000000010100000001000000' + '69643a610a')
  expect(hex(encodeFrame(frameKind.message, [1, 258], bytes('x')))).toBe('0e00000002020000000100000002010000' + '78')
  expect(hex(encodeFrame(frameKind.more, [0xffff_ffff], bytes('y')))).toBe('0a0000000301000000ffffffff' + '79')
  expect(hex(encodeFrame(frameKind.end, [], bytes('')))).toBe('050000000400000000')
  expect(hex(encodeSeats([1, 258]))).toBe('0100000002010000')
})

test('frames are the same wherever their bytes are cut', () => {
  const seed = Number(process.env['SEED'] ?? 7)
  const rng = seededRng(seed)
  const below = (n: number) => Math.floor(uniform(rng) * n)
  for (let round = 0; round < 50; round++) {
    const sent: Frame[] = Array.from({ length: 1 + below(8) }, () => ({
      kind: Object.values(frameKind)[below(4)]!,
      seats: Array.from({ length: below(5) }, () => below(2 ** 32)),
      content: bytes('z'.repeat(below(40))),
    }))
    const whole = Buffer.concat(sent.map(({ kind, seats, content }) => encodeFrame(kind, seats, content)))
    const reader = new FrameReader()
    const got: Frame[] = []
    for (let at = 0; at < whole.length; ) {
      const end = Math.min(whole.length, at + 1 + below(20))
      for (const frame of reader.push(whole.subarray(at, end)))
        got.push({ ...frame, content: new Uint8Array(frame.content) })
      at = end
    }
    expect({ seed, round, got }).toEqual({ seed, round, got: sent })
    expect(reader.isWhole).toBe(true)
  }
})

test('the largest frame is taken, a larger one and what is no frame are refused', () => {
  const seats = Array.from({ length: frameSeatsMax }, (_, i) => i)
  const largest = encodeFrame(frameKind.message, seats, new Uint8Array(frameContentBytesMax))
  expect(new FrameReader().push(largest)).toHaveLength(1)
  const refused = [
    encodeFrame(frameKind.message, seats, new Uint8Array(frameContentBytesMax + 1)),
    Buffer.from('040000000200000000', 'hex'), // shorter than a head
    Buffer.from('050000000900000000', 'hex'), // no kind
    Buffer.from('050000000202000000', 'hex'), // seats that are not there
    Buffer.from('HTTP/1.1 200 OK\r\n\r\n'),
  ]
  for (const each of refused) expect(() => new FrameReader().push(each)).toThrow(TrunkFrameError)
})

test('a frame that is cut off is not whole', () => {
  const reader = new FrameReader()
  expect(reader.push(encodeFrame(frameKind.more, [1], bytes('abc')).subarray(0, 11))).toEqual([])
  expect(reader.isWhole).toBe(false)
})

test('names of seats and lists of them', () => {
  const name = { trunkId: 'a'.repeat(24), number: 0xffff_ffff }
  expect(parseSeat(seatText(name))).toEqual(name)
  for (const text of [null, '', 'a.1', `${'a'.repeat(24)}.`, `${'a'.repeat(24)}.4294967296`, `${'a'.repeat(23)}/.1`])
    expect(parseSeat(text)).toBeNull()
  expect(decodeSeats(encodeSeats([7, 0xffff_ffff]))).toEqual([7, 0xffff_ffff])
  expect(decodeSeats(new Uint8Array(6))).toBeNull()
  expect(decodeSeats(new Uint8Array(4 * (frameSeatsMax + 1)))).toBeNull()
})
