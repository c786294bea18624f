// A compact, self-describing encoding of plain data, for message bodies. JSON has no bytes and no strict decoder; a
// schema language would be one more thing to keep in step.
//
//   value   = tag …                                    varint = LEB128, at most 8 bytes, below 2^53
//   0 null  1 false  2 true
//   3 int   zigzag varint (safe integers)              4 float  8 bytes, little endian
//   5 text  varint length, UTF-8                       6 bytes  varint length, raw
//   7 list  varint count, values                       8 object varint count, (varint length, UTF-8 key, value)…

import { err, ok, type Result } from '../lib/result.ts'
import { EncodeError } from './errors.ts'

export type Value =
  | null
  | boolean
  | number
  | string
  | Uint8Array
  | readonly Value[]
  | { readonly [key: string]: Value | undefined }

/** Deeper data is not a message of ours; the bound keeps a hostile peer from exhausting the stack. */
export const valueDepthMax = 32

const tag = { null: 0, false: 1, true: 2, int: 3, float: 4, text: 5, bytes: 6, list: 7, object: 8 } as const

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** A growing buffer; one message at a time. */
export class ByteWriter {
  #bytes: Uint8Array
  #view: DataView
  #length = 0

  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(capacity)
    this.#view = new DataView(this.#bytes.buffer)
  }

  get length(): number {
    return this.#length
  }

  byte(value: number): void {
    this.#reserve(1)
    this.#bytes[this.#length++] = value
  }

  uint16(value: number): void {
    this.#reserve(2)
    this.#view.setUint16(this.#length, value, true)
    this.#length += 2
  }

  uint32(value: number): void {
    this.#reserve(4)
    this.#view.setUint32(this.#length, value, true)
    this.#length += 4
  }

  /** A non-negative safe integer in 8 bytes, little endian. */
  uint53(value: number): void {
    this.uint32(value % 2 ** 32)
    this.uint32(Math.floor(value / 2 ** 32))
  }

  float64(value: number): void {
    this.#reserve(8)
    this.#view.setFloat64(this.#length, value, true)
    this.#length += 8
  }

  varint(value: number): void {
    this.#reserve(8)
    let rest = value
    while (rest >= 0x80) {
      this.#bytes[this.#length++] = (rest % 0x80) | 0x80
      rest = Math.floor(rest / 0x80)
    }
    this.#bytes[this.#length++] = rest
  }

  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length)
    this.#bytes.set(bytes, this.#length)
    this.#length += bytes.length
  }

  text(text: string): void {
    // Short texts dominate and three bytes a UTF-16 unit is the worst case, so encode in place and write the length after.
    const worst = text.length * 3
    if (worst < 0x80) {
      this.#reserve(1 + worst)
      const { written } = encoder.encodeInto(text, this.#bytes.subarray(this.#length + 1))
      this.#bytes[this.#length] = written
      this.#length += 1 + written
    } else {
      const bytes = encoder.encode(text)
      this.varint(bytes.length)
      this.raw(bytes)
    }
  }

  /** The bytes written so far, copied out. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#length)
  }

  #reserve(more: number): void {
    const needed = this.#length + more
    if (needed <= this.#bytes.length) return
    const grown = new Uint8Array(Math.max(needed, this.#bytes.length * 2))
    grown.set(this.#bytes.subarray(0, this.#length))
    this.#bytes = grown
    this.#view = new DataView(grown.buffer)
  }
}

/**
 * Appends `value`. Throws EncodeError for what is not plain data (functions, symbols, bigint, cycles, class instances
 * other than Uint8Array). Object fields that are `undefined` are left out; -0 becomes 0.
 */
export function writeValue(writer: ByteWriter, value: unknown, depth = 0): void {
  if (depth > valueDepthMax) throw new EncodeError(`data nested deeper than ${valueDepthMax} levels`)
  if (value === null) writer.byte(tag.null)
  else if (typeof value === 'boolean') writer.byte(value ? tag.true : tag.false)
  else if (typeof value === 'number') writeNumber(writer, value)
  else if (typeof value === 'string') {
    writer.byte(tag.text)
    writer.text(value)
  } else if (value instanceof Uint8Array) {
    writer.byte(tag.bytes)
    writer.varint(value.length)
    writer.raw(value)
  } else if (Array.isArray(value)) {
    writer.byte(tag.list)
    writer.varint(value.length)
    for (const item of value) writeValue(writer, item, depth + 1)
  } else if (typeof value === 'object') writeObject(writer, value, depth)
  else throw new EncodeError(`cannot send a ${typeof value}`)
}

function writeNumber(writer: ByteWriter, value: number): void {
  // Zigzag doubles the value, so only half of the safe range goes as a varint; the rest is exact as a float as well.
  if (Number.isInteger(value) && Math.abs(value) < 2 ** 52) {
    writer.byte(tag.int)
    writer.varint(value < 0 ? -value * 2 - 1 : value * 2)
  } else {
    writer.byte(tag.float)
    writer.float64(value)
  }
}

function writeObject(writer: ByteWriter, value: object, depth: number): void {
  const prototype = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null)
    throw new EncodeError(`cannot send an instance of ${value.constructor?.name ?? 'a class'}`)
  const entries = Object.entries(value).filter((entry) => entry[1] !== undefined)
  writer.byte(tag.object)
  writer.varint(entries.length)
  for (const [key, item] of entries) {
    if (key === '__proto__') throw new EncodeError('cannot send a field named __proto__')
    writer.text(key)
    writeValue(writer, item, depth + 1)
  }
}

/** Reads forward over foreign bytes; every method throws {@link Malformed}, which never leaves this folder's codecs. */
export class ByteReader {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  get remaining(): number {
    return this.#bytes.length - this.#at
  }

  byte(): number {
    this.#need(1)
    return this.#bytes[this.#at++]!
  }

  uint16(): number {
    this.#need(2)
    const value = this.#view.getUint16(this.#at, true)
    this.#at += 2
    return value
  }

  uint32(): number {
    this.#need(4)
    const value = this.#view.getUint32(this.#at, true)
    this.#at += 4
    return value
  }

  uint53(): number {
    const low = this.uint32()
    const high = this.uint32()
    if (high >= 2 ** 21) throw new Malformed('integer beyond 2^53')
    return high * 2 ** 32 + low
  }

  float64(): number {
    this.#need(8)
    const value = this.#view.getFloat64(this.#at, true)
    this.#at += 8
    return value
  }

  varint(): number {
    let value = 0
    for (let shift = 1, length = 0; length < 8; length++, shift *= 0x80) {
      const byte = this.byte()
      value += (byte & 0x7f) * shift
      if (byte < 0x80) {
        if (value > Number.MAX_SAFE_INTEGER) throw new Malformed('integer beyond 2^53')
        if (byte === 0 && length > 0) throw new Malformed('integer is not in its shortest form')
        return value
      }
    }
    throw new Malformed('integer is too long')
  }

  /** A view into the input, not a copy. */
  raw(length: number): Uint8Array {
    this.#need(length)
    const bytes = this.#bytes.subarray(this.#at, this.#at + length)
    this.#at += length
    return bytes
  }

  text(): string {
    const bytes = this.raw(this.varint())
    try {
      return decoder.decode(bytes)
    } catch {
      throw new Malformed('text is not UTF-8')
    }
  }

  #need(length: number): void {
    if (length > this.remaining) throw new Malformed('ends too early')
  }
}

/** Foreign bytes that are not what they should be. */
export class Malformed extends Error {
  override readonly name = 'Malformed'
}

/** Reads one value; byte strings are views into the input. Throws {@link Malformed}. */
export function readValue(reader: ByteReader, depth = 0): Value {
  if (depth > valueDepthMax) throw new Malformed(`nested deeper than ${valueDepthMax} levels`)
  switch (reader.byte()) {
    case tag.null:
      return null
    case tag.false:
      return false
    case tag.true:
      return true
    case tag.int: {
      const zigzag = reader.varint()
      return zigzag % 2 === 0 ? zigzag / 2 : -(zigzag + 1) / 2
    }
    case tag.float:
      return reader.float64()
    case tag.text:
      return reader.text()
    case tag.bytes:
      return reader.raw(reader.varint())
    case tag.list:
      return readList(reader, depth)
    case tag.object:
      return readObject(reader, depth)
    default:
      throw new Malformed('unknown tag')
  }
}

function readList(reader: ByteReader, depth: number): Value[] {
  const count = reader.varint()
  // Each value takes at least one byte, so a lying count cannot make us allocate more than the message is long.
  if (count > reader.remaining) throw new Malformed('list is longer than the message')
  const items: Value[] = []
  for (let i = 0; i < count; i++) items.push(readValue(reader, depth + 1))
  return items
}

function readObject(reader: ByteReader, depth: number): { [key: string]: Value } {
  const count = reader.varint()
  if (count * 2 > reader.remaining) throw new Malformed('object is longer than the message')
  const object: { [key: string]: Value } = {}
  for (let i = 0; i < count; i++) {
    const key = reader.text()
    if (key === '__proto__') throw new Malformed('field named __proto__')
    if (Object.hasOwn(object, key)) throw new Malformed('field twice')
    object[key] = readValue(reader, depth + 1)
  }
  return object
}

/** One value as bytes, for what is not an envelope (tests, stored blobs). */
export function encodeValue(value: unknown): Uint8Array {
  const writer = new ByteWriter()
  writeValue(writer, value)
  return writer.finish()
}

/** The value of exactly these bytes, or why they are none. Never throws. */
export function decodeValue(bytes: Uint8Array): Result<Value, string> {
  try {
    const reader = new ByteReader(bytes)
    const value = readValue(reader)
    return reader.remaining === 0 ? ok(value) : err('bytes after the end')
  } catch (error) {
    if (error instanceof Malformed) return err(error.message)
    throw error
  }
}
