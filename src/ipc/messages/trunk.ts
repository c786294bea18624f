// How one connection carries the event streams of many clients of a tenant from its worker to a gateway, so that what
// they all get crosses it once. docs/formats/trunk.md has the bytes and what either end promises.

import { AppError } from '../../lib/errors.ts'

/** GET with {@link trunkHeaderName} opens a trunk; POST tells which of its seats have gone. */
export const trunkPath = '/api/platform/trunk'
export const trunkMediaType = 'application/vnd.pocketfleet.trunk.v1'
/** The trunk's id, {@link trunkIdLength} characters that the gateway drew. Gateways drop it from what clients send. */
export const trunkHeaderName = 'x-pocketfleet-trunk'
/** `{trunk id}.{number}` of a request: where its stream may go; of the answer: that it goes there. */
export const seatHeaderName = 'x-pocketfleet-seat'
export const trunkIdLength = 24

/** Seats that one frame names. */
export const frameSeatsMax = 16_000
/** Bytes of content that one frame brings; what is longer comes in several. */
export const frameContentBytesMax = 64 * 1024

export const frameKind = {
  /** A seat is taken; the content is the head of each message that it gets. */
  open: 1,
  /** A message, or its beginning: each seat gets its head, then the content. */
  message: 2,
  /** What a message goes on with. */
  more: 3,
  /** The streams of these seats have ended. */
  end: 4,
} as const

export type FrameKind = (typeof frameKind)[keyof typeof frameKind]

export interface Frame {
  readonly kind: FrameKind
  /** Numbers below 2^32. */
  readonly seats: readonly number[]
  readonly content: Uint8Array
}

/** What came over a trunk is nothing that we understand. */
export class TrunkFrameError extends AppError {
  readonly code = 'bad_trunk_frame'
}

const kinds: ReadonlySet<number> = new Set(Object.values(frameKind))
/** Length of the rest, kind, count of seats. */
const headBytes = 4 + 1 + 4
/** Of the number of a seat. */
export const seatBytes = 4
const frameBytesMax = headBytes + seatBytes * frameSeatsMax + frameContentBytesMax

/** The bytes of one frame; the limits are the caller's matter. */
export function encodeFrame(kind: FrameKind, seats: readonly number[], content: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(headBytes + seatBytes * seats.length + content.length)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, bytes.length - 4, true)
  view.setUint8(4, kind)
  view.setUint32(5, seats.length, true)
  let at = headBytes
  for (const seat of seats) {
    view.setUint32(at, seat, true)
    at += seatBytes
  }
  bytes.set(content, at)
  return bytes
}

/** Takes frames out of bytes as they arrive. */
export class FrameReader {
  /** The beginning of a frame whose end has not arrived. */
  #held: Buffer = Buffer.alloc(0)

  /** The frames that are complete now; their content is a view of what was pushed. Throws TrunkFrameError. */
  push(chunk: Uint8Array): Frame[] {
    const part = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
    const bytes = this.#held.length === 0 ? part : Buffer.concat([this.#held, part])
    const frames: Frame[] = []
    let at = 0
    while (bytes.length - at >= headBytes) {
      const end = at + 4 + bytes.readUInt32LE(at)
      if (end - at < headBytes || end - at > frameBytesMax) throw new TrunkFrameError('a frame of no possible length')
      if (end > bytes.length) break
      frames.push(decode(bytes.subarray(at, end)))
      at = end
    }
    this.#held = bytes.subarray(at)
    return frames
  }

  /** Whether the bytes so far end with a whole frame. */
  get isWhole(): boolean {
    return this.#held.length === 0
  }
}

function decode(frame: Buffer): Frame {
  const kind = frame[4]!
  const contentAt = headBytes + seatBytes * frame.readUInt32LE(5)
  if (!kinds.has(kind)) throw new TrunkFrameError(`a frame of the unknown kind ${kind}`)
  if (contentAt > frame.length) throw new TrunkFrameError('a frame with fewer seats than it says')
  const seats: number[] = []
  for (let at = headBytes; at < contentAt; at += seatBytes) seats.push(frame.readUInt32LE(at))
  return { kind: kind as FrameKind, seats, content: frame.subarray(contentAt) }
}

/** Body of the POST that tells which seats have gone. */
export function encodeSeats(seats: readonly number[]): Uint8Array {
  const bytes = Buffer.alloc(seatBytes * seats.length)
  for (const [i, seat] of seats.entries()) bytes.writeUInt32LE(seat, seatBytes * i)
  return bytes
}

/** Null: not what {@link encodeSeats} makes. */
export function decodeSeats(body: Uint8Array): number[] | null {
  if (body.length % seatBytes > 0 || body.length > seatBytes * frameSeatsMax) return null
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength)
  return Array.from({ length: body.length / seatBytes }, (_, i) => view.getUint32(seatBytes * i, true))
}

export interface SeatName {
  readonly trunkId: string
  readonly number: number
}

export function seatText({ trunkId, number }: SeatName): string {
  return `${trunkId}.${number}`
}

/** Null: no name of a seat. */
export function parseSeat(text: string | null): SeatName | null {
  const parts = /^([A-Za-z0-9]{24})\.(\d{1,10})$/.exec(text ?? '')
  const number = Number(parts?.[2])
  return parts === null || number > 0xffff_ffff ? null : { trunkId: parts[1]!, number }
}
