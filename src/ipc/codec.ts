// The envelope of every message on a socket. One frame, little endian:
//
//   0  1  envelope version (1)
//   1  1  kind: 1 request, 2 reply, 3 error, 4 one-way, 5 publish, 6 beat
//   2  .. by kind:
//         request  correlation u53, deadline ms u32, version u16, conversation text, body value
//         reply    correlation u53, body value
//         error    correlation u53, code text, message text, data value
//         one-way  version u16, conversation text, body value
//         publish  publisher text, sequence u53, body value
//         beat     publisher text, last sequence u53
//
// (u53: 8 bytes holding a safe integer; text: varint length and UTF-8; value: see value.ts.) See docs/formats/ipc.md.

import { unreachable } from '../lib/assert.ts'
import { err, ok, type Result } from '../lib/result.ts'
import { EncodeError } from './errors.ts'
import { ByteReader, ByteWriter, Malformed, readValue, type Value, writeValue } from './value.ts'

export const envelopeVersion = 1

/** Default limit of one message, bytes; larger things travel through the object store. */
export const payloadBytesMaxDefault = 1024 * 1024

/** Longest conversation name, error code and publisher id, in characters. */
const nameLengthMax = 64
/** Longest deadline: no answer is worth a longer wait, and it bounds what a peer can make a server keep. */
export const deadlineMsMax = 600_000

export type Envelope =
  | {
      readonly kind: 'request'
      /** Chosen by the caller, unique among its requests under way. */
      readonly correlation: number
      /** Left when it was sent, ms. */
      readonly deadlineMs: number
      readonly version: number
      readonly conversation: string
      readonly body: Value
    }
  | { readonly kind: 'reply'; readonly correlation: number; readonly body: Value }
  | {
      readonly kind: 'error'
      readonly correlation: number
      readonly code: string
      readonly message: string
      readonly data: Value
    }
  | { readonly kind: 'oneway'; readonly version: number; readonly conversation: string; readonly body: Value }
  | { readonly kind: 'publish'; readonly publisher: string; readonly sequence: number; readonly body: Value }
  | { readonly kind: 'beat'; readonly publisher: string; readonly sequence: number }

/** What may be sent: like {@link Envelope}, but the body is not yet known to be plain. */
export type OutgoingEnvelope = Envelope extends infer E
  ? E extends { readonly body: Value }
    ? Omit<E, 'body'> & { readonly body: unknown }
    : E extends { readonly data: Value }
      ? Omit<E, 'data'> & { readonly data: unknown }
      : E
  : never

export type DecodeFailure =
  | { readonly code: 'malformed'; readonly reason: string }
  | { readonly code: 'too_large'; readonly sizeBytes: number }
  | { readonly code: 'envelope_version'; readonly version: number }

const kinds = ['request', 'reply', 'error', 'oneway', 'publish', 'beat'] as const

/** Throws EncodeError when the body is not plain data or the message exceeds `payloadBytesMax`. */
export function encodeEnvelope(envelope: OutgoingEnvelope, payloadBytesMax = payloadBytesMaxDefault): Uint8Array {
  const writer = new ByteWriter()
  writer.byte(envelopeVersion)
  writer.byte(kinds.indexOf(envelope.kind) + 1)
  switch (envelope.kind) {
    case 'request':
      writer.uint53(envelope.correlation)
      writer.uint32(Math.min(deadlineMsMax, Math.max(1, Math.ceil(envelope.deadlineMs))))
      writer.uint16(envelope.version)
      writer.text(envelope.conversation)
      writeValue(writer, envelope.body)
      break
    case 'reply':
      writer.uint53(envelope.correlation)
      writeValue(writer, envelope.body)
      break
    case 'error':
      writer.uint53(envelope.correlation)
      writer.text(envelope.code)
      writer.text(envelope.message)
      writeValue(writer, envelope.data)
      break
    case 'oneway':
      writer.uint16(envelope.version)
      writer.text(envelope.conversation)
      writeValue(writer, envelope.body)
      break
    case 'publish':
      writer.text(envelope.publisher)
      writer.uint53(envelope.sequence)
      writeValue(writer, envelope.body)
      break
    case 'beat':
      writer.text(envelope.publisher)
      writer.uint53(envelope.sequence)
      break
    default:
      unreachable(envelope)
  }
  if (writer.length > payloadBytesMax)
    throw new EncodeError(`message of ${writer.length} bytes exceeds the limit of ${payloadBytesMax}`)
  return writer.finish()
}

/** Decodes one frame, whatever it is; byte strings in the body are views into it. Never throws. */
export function decodeEnvelope(
  bytes: Uint8Array,
  payloadBytesMax = payloadBytesMaxDefault,
): Result<Envelope, DecodeFailure> {
  if (bytes.length > payloadBytesMax) return err({ code: 'too_large', sizeBytes: bytes.length })
  if (bytes.length > 0 && bytes[0] !== envelopeVersion) return err({ code: 'envelope_version', version: bytes[0]! })
  try {
    const reader = new ByteReader(bytes)
    const envelope = readEnvelope(reader)
    if (reader.remaining > 0) return err({ code: 'malformed', reason: 'bytes after the end' })
    return ok(envelope)
  } catch (error) {
    if (error instanceof Malformed) return err({ code: 'malformed', reason: error.message })
    throw error
  }
}

function readEnvelope(reader: ByteReader): Envelope {
  reader.byte() // the version, already checked
  const kind = kinds[reader.byte() - 1]
  switch (kind) {
    case 'request': {
      const correlation = reader.uint53()
      const deadlineMs = reader.uint32()
      if (deadlineMs < 1 || deadlineMs > deadlineMsMax) throw new Malformed('deadline out of range')
      const version = reader.uint16()
      return { kind, correlation, deadlineMs, version, conversation: readName(reader), body: readValue(reader) }
    }
    case 'reply':
      return { kind, correlation: reader.uint53(), body: readValue(reader) }
    case 'error':
      return {
        kind,
        correlation: reader.uint53(),
        code: readName(reader),
        message: reader.text(),
        data: readValue(reader),
      }
    case 'oneway':
      return { kind, version: reader.uint16(), conversation: readName(reader), body: readValue(reader) }
    case 'publish':
      return { kind, publisher: readName(reader), sequence: reader.uint53(), body: readValue(reader) }
    case 'beat':
      return { kind, publisher: readName(reader), sequence: reader.uint53() }
    default:
      throw new Malformed('unknown kind')
  }
}

function readName(reader: ByteReader): string {
  const name = reader.text()
  if (name.length > nameLengthMax) throw new Malformed('name is too long')
  return name
}
