import { expect, test } from 'bun:test'
import fc from 'fast-check'
import { utf8 } from '../bytes.ts'
import { Crc64, crc64, joinCrc64 } from './crc64.ts'

/** Bit by bit, straight from the definition. */
function naive(bytes: Uint8Array): bigint {
  let crc = 0xffff_ffff_ffff_ffffn
  for (const byte of bytes) {
    crc ^= BigInt(byte)
    for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ 0xd800_0000_0000_0000n : crc >> 1n
  }
  return crc ^ 0xffff_ffff_ffff_ffffn
}

test('the check value of the catalogue', () => {
  expect(crc64(utf8('123456789'))).toBe(0xb90956c775a41001n)
})

test('the checksum of LiteFS for page 1 of 512 zero bytes', () => {
  const input = new Uint8Array(516)
  input[3] = 1
  expect(crc64(input) | (1n << 63n)).toBe(0xefb1f44fecd99000n)
})

test('equals the definition, however the bytes are cut', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(300), (bytes, cut) => {
      const whole = naive(bytes)
      const pieces = new Crc64().update(bytes.subarray(0, cut)).update(bytes.subarray(cut)).value
      expect(crc64(bytes)).toBe(whole)
      expect(pieces).toBe(whole)
    }),
  )
})

test('sums of two pieces join to the sum of both', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2_000 }), fc.nat(2_000), (bytes, at) => {
      const cut = Math.min(at, bytes.length)
      const joined = joinCrc64(crc64(bytes.subarray(0, cut)), crc64(bytes.subarray(cut)), bytes.length - cut)
      expect(joined).toBe(crc64(bytes))
    }),
  )
})
