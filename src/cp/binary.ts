// Compact, typed binary encoding for what is stored: commands, rows, log entries. A codec is a value; structures list
// their fields in the order of the bytes. There are no field names in the bytes, so every top-level format starts with a
// version and a golden file pins it (`versioned`).

import { AppError } from '../lib/errors.ts'

/** The bytes are not what the version promises. Nothing is guessed: whoever reads them stops. */
export class DecodeError extends AppError {
  readonly code = 'decode'
}

export interface Codec<T> {
  write(out: ByteWriter, value: T): void
  read(from: ByteReader): T
}

/** Longest string or byte string in a record, bytes; a snapshot of the world goes in chunks. */
const lengthMax = 16 * 1024 * 1024
/** Most elements of one list. */
const elementsMax = 1_000_000

export class ByteWriter {
  #bytes = new Uint8Array(128)
  #length = 0

  byte(value: number): void {
    this.#reserve(1)
    this.#bytes[this.#length++] = value
  }

  /** LEB128; a whole number from 0 to 2^53 - 1. */
  varint(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) throw new DecodeError(`${value} is not a whole number from 0`)
    let rest = value
    while (rest >= 128) {
      this.byte((rest % 128) | 128)
      rest = Math.floor(rest / 128)
    }
    this.byte(rest)
  }

  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length)
    this.#bytes.set(bytes, this.#length)
    this.#length += bytes.length
  }

  /** The bytes written so far, owned by the caller. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#length)
  }

  #reserve(more: number): void {
    if (this.#length + more <= this.#bytes.length) return
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + more))
    grown.set(this.#bytes.subarray(0, this.#length))
    this.#bytes = grown
  }
}

export class ByteReader {
  readonly #bytes: Uint8Array
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  get left(): number {
    return this.#bytes.length - this.#at
  }

  byte(): number {
    if (this.#at >= this.#bytes.length) throw new DecodeError('the record ends too early')
    return this.#bytes[this.#at++]!
  }

  varint(): number {
    let value = 0
    for (let scale = 1; scale <= 2 ** 49; scale *= 128) {
      const byte = this.byte()
      value += (byte & 127) * scale
      if (byte < 128) {
        if (!Number.isSafeInteger(value)) break
        return value
      }
    }
    throw new DecodeError('a number is too long')
  }

  /** A view, valid as long as the input is. */
  raw(length: number): Uint8Array {
    if (length > this.left) throw new DecodeError('the record ends too early')
    const part = this.#bytes.subarray(this.#at, this.#at + length)
    this.#at += length
    return part
  }
}

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true })

export const varint: Codec<number> = { write: (out, value) => out.varint(value), read: (from) => from.varint() }

export const bool: Codec<boolean> = {
  write: (out, value) => out.byte(value ? 1 : 0),
  read(from) {
    const byte = from.byte()
    if (byte > 1) throw new DecodeError(`a boolean is ${byte}`)
    return byte === 1
  },
}

export const bytes: Codec<Uint8Array> = {
  write(out, value) {
    if (value.length > lengthMax) throw new DecodeError(`a value of ${value.length} bytes is too long`)
    out.varint(value.length)
    out.raw(value)
  },
  read(from) {
    const length = from.varint()
    if (length > lengthMax) throw new DecodeError(`a value of ${length} bytes is too long`)
    return from.raw(length).slice()
  },
}

export const text: Codec<string> = {
  write: (out, value) => bytes.write(out, encoder.encode(value)),
  read(from) {
    try {
      return decoder.decode(from.raw(from.varint()))
    } catch (cause) {
      if (cause instanceof DecodeError) throw cause
      throw new DecodeError('a text is not UTF-8', { cause })
    }
  },
}

/** A string codec that carries a brand; what was encoded was checked before. */
export const branded = <T extends string>(): Codec<T> => ({
  write: text.write,
  read: (from) => text.read(from) as T,
})
export const brandedNumber = <T extends number>(): Codec<T> => ({
  write: varint.write,
  read: (from) => varint.read(from) as T,
})

export const nullable = <T>(inner: Codec<T>): Codec<T | null> => ({
  write(out, value) {
    bool.write(out, value !== null)
    if (value !== null) inner.write(out, value)
  },
  read: (from) => (bool.read(from) ? inner.read(from) : null),
})

export const list = <T>(inner: Codec<T>): Codec<readonly T[]> => ({
  write(out, values) {
    out.varint(values.length)
    for (const value of values) inner.write(out, value)
  },
  read(from) {
    const length = from.varint()
    if (length > elementsMax || length > from.left) throw new DecodeError(`a list of ${length} elements is too long`)
    return Array.from({ length }, () => inner.read(from))
  },
})

/** String keys in their order of insertion. */
export const mapOf = <T>(inner: Codec<T>): Codec<Readonly<Record<string, T>>> => {
  const pairs = list(struct<{ readonly key: string; readonly value: T }>({ key: text, value: inner }))
  return {
    write: (out, value) =>
      pairs.write(
        out,
        Object.entries(value).map(([key, each]) => ({ key, value: each })),
      ),
    read: (from) => Object.fromEntries(pairs.read(from).map(({ key, value }) => [key, value])),
  }
}

/** One of fixed words, as its position: words are only ever appended. */
export const oneOf = <const Words extends readonly string[]>(words: Words): Codec<Words[number]> => ({
  write(out, value) {
    const at = words.indexOf(value)
    if (at < 0) throw new DecodeError(`${value} is none of ${words.join(', ')}`)
    out.byte(at)
  },
  read(from) {
    const at = from.byte()
    const word = words[at]
    if (word === undefined) throw new DecodeError(`word ${at} of ${words.join(', ')} is unknown`)
    return word
  },
})

export function struct<T extends object>(fields: { readonly [K in keyof T]-?: Codec<T[K]> }): Codec<T> {
  const entries = Object.entries(fields) as [keyof T, Codec<T[keyof T]>][]
  return {
    write(out, value) {
      for (const [name, codec] of entries) codec.write(out, value[name])
    },
    read(from) {
      const value: Partial<T> = {}
      for (const [name, codec] of entries) value[name] = codec.read(from)
      return value as T
    },
  }
}

/** A union told apart by `type`; each case has a number that is never reused. */
export function union<T extends { readonly type: string }>(
  cases: {
    readonly [K in T['type']]: readonly [tag: number, codec: Codec<Omit<Extract<T, { readonly type: K }>, 'type'>>]
  },
): Codec<T> {
  type Case = readonly [number, Codec<object>]
  const byType = new Map(Object.entries<Case>(cases))
  const byTag = new Map([...byType].map(([type, [tag, codec]]) => [tag, { type, codec }]))
  return {
    write(out, value) {
      const [tag, codec] = byType.get(value.type)!
      out.varint(tag)
      codec.write(out, value)
    },
    read(from) {
      const tag = from.varint()
      const found = byTag.get(tag)
      if (found === undefined) throw new DecodeError(`type ${tag} is unknown to this version`)
      return { type: found.type, ...found.codec.read(from) } as T
    },
  }
}

/** The outermost layer of a stored format: a version byte, then the value and nothing after it. */
export function versioned<T>(
  version: number,
  inner: Codec<T>,
  /** Earlier versions that can still be read; nothing writes them. */
  older: Readonly<Record<number, Codec<T>>> = {},
): { encode(value: T): Uint8Array; decode(bytes: Uint8Array): T } {
  return {
    encode(value) {
      const out = new ByteWriter()
      out.byte(version)
      inner.write(out, value)
      return out.finish()
    },
    decode(input) {
      const from = new ByteReader(input)
      const found = from.byte()
      const codec = found === version ? inner : older[found]
      if (codec === undefined) throw new DecodeError(`version ${found} is unknown, expected ${version}`)
      const value = codec.read(from)
      if (from.left > 0) throw new DecodeError(`${from.left} bytes follow the record`)
      return value
    },
  }
}
