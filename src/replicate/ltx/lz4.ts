// LZ4 as LTX uses it: blocks (read and written) and the older one-page frames (read only).
//
// A block is a row of sequences: token (literal length << 4 | match length − 4), more length bytes where a nibble is 15,
// literals, two-byte little-endian offset, more match length bytes. The last sequence has literals only.

import { LtxFormatError } from './errors.ts'

const hashBits = 13
const matchBytesMin = 4
/** The last bytes of a block are always literals, and no match starts closer than this to its end. */
const tailLiterals = 5
const matchStartMargin = 12
const offsetMax = 65_535
/** After this many misses in a row (as a power of two) the search takes bigger steps: data that does not compress. */
const skipBits = 6
/** Positions are 32-bit integers; before they run out the table is emptied. */
const baseMax = 0x7fff_0000

/** Room that the worst block of `length` bytes needs. */
export function lz4BlockBound(length: number): number {
  return length + Math.ceil(length / 255) + 16
}

/** Compresses blocks; keeps its tables between calls. Not shared between threads. */
export class Lz4BlockEncoder {
  /** Where each hash was seen last, counted over all blocks so far: what lies below the current one is of another. */
  readonly #table = new Int32Array(1 << hashBits)
  #base = 1

  /** Writes the block of `source` to the start of `target`, of at least {@link lz4BlockBound} bytes; returns its length. */
  encode(source: Uint8Array, target: Uint8Array): number {
    const table = this.#table
    const view = new DataView(source.buffer, source.byteOffset, source.byteLength)
    const matchStartEnd = source.length - matchStartMargin
    const matchEnd = source.length - tailLiterals
    let anchor = 0
    let out = 0
    if (this.#base + source.length > baseMax) {
      table.fill(0)
      this.#base = 1
    }
    const base = this.#base
    this.#base += source.length
    if (source.length > matchStartMargin) {
      let at = 0
      let misses = 1 << skipBits
      while (at <= matchStartEnd) {
        const word = view.getInt32(at, true)
        const slot = Math.imul(word, -1640531535) >>> (32 - hashBits)
        const candidate = table[slot]! - base
        table[slot] = at + base
        if (candidate < 0 || at - candidate > offsetMax || view.getInt32(candidate, true) !== word) {
          at += misses++ >> skipBits
          continue
        }
        misses = 1 << skipBits
        let length = matchBytesMin
        while (
          at + length + 4 <= matchEnd &&
          view.getInt32(candidate + length, true) === view.getInt32(at + length, true)
        )
          length += 4
        while (at + length < matchEnd && source[candidate + length] === source[at + length]) length++
        out = writeSequence(source, anchor, at, target, out, at - candidate, length)
        at += length
        anchor = at
        if (at - 2 > 0 && at <= matchStartEnd)
          table[Math.imul(view.getInt32(at - 2, true), -1640531535) >>> (32 - hashBits)] = at - 2 + base
      }
    }
    return writeSequence(source, anchor, source.length, target, out, 0, 0)
  }
}

/** Literals `[from, to)`, then a match unless `matchLength` is 0. Returns the new end of `target`. */
function writeSequence(
  source: Uint8Array,
  from: number,
  to: number,
  target: Uint8Array,
  start: number,
  offset: number,
  matchLength: number,
): number {
  let out = start
  const literals = to - from
  const extra = matchLength === 0 ? 0 : matchLength - matchBytesMin
  target[out++] = (Math.min(literals, 15) << 4) | Math.min(extra, 15)
  if (literals >= 15) out = writeLength(target, out, literals - 15)
  if (literals < 32) for (let at = from; at < to; at++) target[out++] = source[at]!
  else {
    target.set(source.subarray(from, to), out)
    out += literals
  }
  if (matchLength === 0) return out
  target[out++] = offset & 255
  target[out++] = offset >>> 8
  return extra >= 15 ? writeLength(target, out, extra - 15) : out
}

function writeLength(target: Uint8Array, start: number, length: number): number {
  let out = start
  let rest = length
  for (; rest >= 255; rest -= 255) target[out++] = 255
  target[out++] = rest
  return out
}

/** Copies in words may run over by three bytes, so near the ends of either buffer they are made byte by byte. */
const wordMargin = 16
/** Longer copies are left to the runtime, whose calls cost more than a short loop. */
const loopBytesMax = 256

/** Decompresses a block that must fill `target` exactly; throws LtxFormatError otherwise. */
export function decodeLz4Block(source: Uint8Array, target: Uint8Array): void {
  const from = new DataView(source.buffer, source.byteOffset, source.byteLength)
  const to = new DataView(target.buffer, target.byteOffset, target.byteLength)
  const end = source.length
  const size = target.length
  const wordsEnd = end - wordMargin
  const wordsSize = size - wordMargin
  let at = 0
  let out = 0
  for (;;) {
    if (at >= end) throw new LtxFormatError('an LZ4 block ends inside a sequence')
    const token = source[at++]!
    let literals = token >>> 4
    if (literals === 15) {
      let more = 255
      while (more === 255 && at < end) literals += more = source[at++]!
      if (more === 255) throw new LtxFormatError('an LZ4 block ends inside a length')
    }
    const literalsEnd = at + literals
    const literalsOut = out + literals
    if (literalsEnd > end || literalsOut > size)
      throw new LtxFormatError('an LZ4 block holds more literals than there is room for')
    if (literals > loopBytesMax) target.set(source.subarray(at, literalsEnd), out)
    else if (literalsEnd <= wordsEnd && literalsOut <= wordsSize)
      for (; at < literalsEnd; at += 4, out += 4) to.setInt32(out, from.getInt32(at, true), true)
    else while (at < literalsEnd) target[out++] = source[at++]!
    at = literalsEnd
    out = literalsOut
    if (at === end) break
    if (at + 2 > end) throw new LtxFormatError('an LZ4 block ends inside an offset')
    const offset = source[at]! | (source[at + 1]! << 8)
    at += 2
    let length = (token & 15) + matchBytesMin
    if ((token & 15) === 15) {
      let more = 255
      while (more === 255 && at < end) length += more = source[at++]!
      if (more === 255) throw new LtxFormatError('an LZ4 block ends inside a length')
    }
    let match = out - offset
    const matchOut = out + length
    if (offset === 0 || match < 0 || matchOut > size) throw new LtxFormatError('an LZ4 match points outside its block')
    if (length > loopBytesMax && offset >= length) target.copyWithin(out, match, match + length)
    else if (length > loopBytesMax && offset === 1) target.fill(target[match]!, out, matchOut)
    else if (offset >= 4 && matchOut <= wordsSize)
      for (; out < matchOut; out += 4, match += 4) to.setInt32(out, to.getInt32(match, true), true)
    else while (out < matchOut) target[out++] = target[match++]!
    out = matchOut
  }
  if (out !== size) throw new LtxFormatError(`an LZ4 block holds ${out} bytes, not ${size}`)
}

const frameMagic = 0x184d2204
const rawBlockBit = 0x8000_0000

/**
 * Decompresses one LZ4 frame at the start of `source` that must fill `target` exactly.
 *
 * @returns the length of the frame; more bytes may follow it.
 */
export function decodeLz4Frame(source: Uint8Array, target: Uint8Array): number {
  const view = new DataView(source.buffer, source.byteOffset, source.byteLength)
  const need = (at: number, length: number) => {
    if (at + length > source.length) throw new LtxFormatError('an LZ4 frame ends early')
  }
  need(0, 7)
  if (view.getUint32(0, true) !== frameMagic) throw new LtxFormatError('no LZ4 frame')
  const flags = source[4]!
  const hasContentSize = (flags & 0x08) !== 0
  if (flags >>> 6 !== 1 || (flags & 0x20) === 0 || (flags & 0x11) !== 0 || (flags & 0x04) === 0)
    throw new LtxFormatError('an LZ4 frame with unsupported flags')
  const descriptorEnd = 6 + (hasContentSize ? 8 : 0)
  need(descriptorEnd, 1)
  if (source[descriptorEnd] !== ((xxh32(source.subarray(4, descriptorEnd)) >>> 8) & 255))
    throw new LtxFormatError('an LZ4 frame with a damaged header')
  let at = descriptorEnd + 1
  let out = 0
  for (;;) {
    need(at, 4)
    const size = view.getUint32(at, true)
    at += 4
    if (size === 0) break
    const length = size & ~rawBlockBit
    need(at, length)
    const block = source.subarray(at, at + length)
    if (size >= rawBlockBit) {
      if (out + length > target.length) throw new LtxFormatError('an LZ4 frame is longer than its page')
      target.set(block, out)
      out += length
    } else {
      // Blocks are 64 KiB and a page at most as long: one block holds a page.
      decodeLz4Block(block, target.subarray(out))
      out = target.length
    }
    at += length
  }
  if (out !== target.length) throw new LtxFormatError(`an LZ4 frame holds ${out} bytes, not ${target.length}`)
  need(at, 4)
  if (view.getUint32(at, true) !== xxh32(target)) throw new LtxFormatError('an LZ4 frame with a wrong checksum')
  return at + 4
}

const prime1 = 0x9e3779b1
const prime2 = 0x85ebca77
const prime3 = 0xc2b2ae3d
const prime4 = 0x27d4eb2f
const prime5 = 0x165667b1

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits))
}

/** xxHash32 with seed 0. */
export function xxh32(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let at = 0
  let hash: number
  if (bytes.length >= 16) {
    const lanes = [(prime1 + prime2) | 0, prime2 | 0, 0, -prime1 | 0]
    for (; at + 16 <= bytes.length; at += 16)
      for (let lane = 0; lane < 4; lane++) {
        const mixed = (lanes[lane]! + Math.imul(view.getInt32(at + lane * 4, true), prime2)) | 0
        lanes[lane] = Math.imul(rotate(mixed, 13), prime1)
      }
    hash = rotate(lanes[0]!, 1) + rotate(lanes[1]!, 7) + rotate(lanes[2]!, 12) + rotate(lanes[3]!, 18)
  } else hash = prime5
  hash = (hash + bytes.length) | 0
  for (; at + 4 <= bytes.length; at += 4)
    hash = Math.imul(rotate((hash + Math.imul(view.getInt32(at, true), prime3)) | 0, 17), prime4)
  for (; at < bytes.length; at++) hash = Math.imul(rotate((hash + Math.imul(bytes[at]!, prime5)) | 0, 11), prime1)
  hash = Math.imul(hash ^ (hash >>> 15), prime2)
  hash = Math.imul(hash ^ (hash >>> 13), prime3)
  return (hash ^ (hash >>> 16)) >>> 0
}
