// Goal: what is sent is what arrives, and arbitrary bytes are an answer, never a crash. Method: properties over generated
// data and bytes, plus the named cases that a generator would take long to find.

import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { decodeEnvelope, type Envelope, encodeEnvelope } from './codec.ts'
import { decodeValue, encodeValue, valueDepthMax } from './value.ts'

const key = fc.string().filter((text) => text !== '__proto__' && text.isWellFormed())
const text = fc.string({ unit: 'binary' }).filter((each) => each.isWellFormed())
const { value } = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constant(null),
    fc.boolean(),
    fc.maxSafeInteger(),
    fc.double({ noNaN: true }).map((each) => (Object.is(each, -0) ? 0 : each)),
    text,
    fc.uint8Array(),
    fc.array(tie('value'), { maxLength: 5 }),
    fc.dictionary(key, tie('value'), { maxKeys: 5, noNullPrototype: true }),
  ),
}))

const u53 = fc.maxSafeNat()
const name = fc.string({ maxLength: 64 }).filter((each) => each.isWellFormed())
const envelope: fc.Arbitrary<Envelope> = fc.oneof(
  fc.record({
    kind: fc.constant('request' as const),
    correlation: u53,
    deadlineMs: fc.integer({ min: 1, max: 600_000 }),
    version: fc.integer({ min: 0, max: 65_535 }),
    conversation: name,
    body: value as fc.Arbitrary<null>,
  }),
  fc.record({ kind: fc.constant('reply' as const), correlation: u53, body: value as fc.Arbitrary<null> }),
  fc.record({
    kind: fc.constant('error' as const),
    correlation: u53,
    code: name,
    message: text,
    data: value as fc.Arbitrary<null>,
  }),
  fc.record({
    kind: fc.constant('oneway' as const),
    version: fc.integer({ min: 0, max: 65_535 }),
    conversation: name,
    body: value as fc.Arbitrary<null>,
  }),
  fc.record({
    kind: fc.constant('publish' as const),
    publisher: name,
    sequence: u53,
    body: value as fc.Arbitrary<null>,
  }),
  fc.record({ kind: fc.constant('beat' as const), publisher: name, sequence: u53 }),
)

describe('values', () => {
  test('arrive as they were sent', () => {
    fc.assert(
      fc.property(value, (sent) => {
        const decoded = decodeValue(encodeValue(sent))
        expect(decoded).toEqual({ ok: true, value: sent as never })
      }),
    )
  })

  test('of arbitrary bytes decode or fail, and what decodes encodes to a form that decodes to the same', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        const decoded = decodeValue(bytes)
        if (decoded.ok) expect(decodeValue(encodeValue(decoded.value))).toEqual(decoded)
      }),
      { numRuns: 2_000 },
    )
  })

  test('keep the edges of numbers', () => {
    const edges = [0, -1, 1, 127, 128, 2 ** 31, -(2 ** 31), 2 ** 32, 2 ** 52 - 1, 2 ** 52, -(2 ** 53) + 1, 2 ** 53 - 1]
    const special = [0.5, 1e300, Infinity, -Infinity, 2 ** 53, 5e-324]
    for (const sent of [...edges, ...special]) expect(decodeValue(encodeValue(sent))).toEqual({ ok: true, value: sent })
    expect(decodeValue(encodeValue(Number.NaN))).toEqual({ ok: true, value: Number.NaN })
  })

  test('that are not plain data are refused by the sender', () => {
    const cyclic: Record<string, unknown> = {}
    cyclic['self'] = cyclic
    for (const sent of [
      1n,
      () => 1,
      Symbol('x'),
      new Date(),
      new Map(),
      cyclic,
      [undefined],
      JSON.parse('{"__proto__":1}'),
    ])
      expect(() => encodeValue(sent)).toThrow()
    expect(decodeValue(encodeValue({ a: undefined, b: 1 }))).toEqual({ ok: true, value: { b: 1 } })
  })

  test('nested to exhaust the stack are refused by the receiver', () => {
    const bytes = new Uint8Array(100_000)
    for (let i = 0; i < bytes.length; i += 2) bytes.set([7, 1], i) // a list of one list of one list …
    expect(decodeValue(bytes)).toEqual({ ok: false, error: `nested deeper than ${valueDepthMax} levels` })
  })

  test('that lie about their length are refused before anything is allocated', () => {
    expect(decodeValue(Uint8Array.of(7, 0xff, 0xff, 0xff, 0xff, 0x0f))).toMatchObject({ ok: false })
    expect(decodeValue(Uint8Array.of(6, 0xff, 0xff, 0xff, 0xff, 0x0f))).toMatchObject({ ok: false })
    expect(decodeValue(Uint8Array.of(8, 2, 1, 97, 0, 1, 97, 0))).toEqual({ ok: false, error: 'field twice' })
  })
})

describe('envelopes', () => {
  test('arrive as they were sent', () => {
    fc.assert(
      fc.property(envelope, (sent) => {
        expect(decodeEnvelope(encodeEnvelope(sent))).toEqual({ ok: true, value: sent })
      }),
    )
  })

  test('of arbitrary bytes are an answer', () => {
    const version1 = fc.uint8Array({ maxLength: 200 }).map((rest) => Uint8Array.of(1, ...rest))
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 50 }), version1), (bytes) => {
        expect(typeof decodeEnvelope(bytes).ok).toBe('boolean')
      }),
      { numRuns: 3_000 },
    )
  })

  test('that were cut or grew are refused', () => {
    fc.assert(
      fc.property(envelope, fc.nat(), (sent, at) => {
        const bytes = encodeEnvelope(sent)
        expect(decodeEnvelope(bytes.subarray(0, at % bytes.length)).ok).toBe(false)
        expect(decodeEnvelope(Uint8Array.of(...bytes, 0)).ok).toBe(false)
      }),
    )
  })

  test('have a size limit on both ends, and name a version they do not know', () => {
    const sent = { kind: 'reply', correlation: 1, body: new Uint8Array(2_000) } as const
    expect(() => encodeEnvelope(sent, 1_000)).toThrow('exceeds the limit')
    expect(decodeEnvelope(encodeEnvelope(sent), 1_000)).toMatchObject({ ok: false, error: { code: 'too_large' } })
    expect(decodeEnvelope(Uint8Array.of(9, 1, 2))).toEqual({
      ok: false,
      error: { code: 'envelope_version', version: 9 },
    })
  })

  test('of version 1 stay as they are', () => {
    const bytes = encodeEnvelope({
      kind: 'request',
      correlation: 7,
      deadlineMs: 1_000,
      version: 1,
      conversation: 'node',
      body: { type: 'x', n: -2, b: Uint8Array.of(1, 2), f: 0.5, t: true, z: null, l: [1] },
    })
    expect(Buffer.from(bytes).toString('hex')).toBe(
      '01010700000000000000e80300000100046e6f64650807' +
        '04747970650501780 16e030301620602010201660400000000 0000e03f01740201 7a00016c07010302'.replaceAll(' ', ''),
    )
  })
})
