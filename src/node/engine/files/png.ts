// PNG as Bun.Image writes it, 8 bits a channel and not interlaced, to pixels and back.

import { deflateSync, inflateSync } from 'node:zlib'
import { AppError } from '../../../lib/errors.ts'

const signature = Buffer.from('89504e470d0a1a0a', 'hex')
/** By colour type: grey, RGB, palette, grey and alpha, RGBA. */
const channelsOf: Readonly<Record<number, number>> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 }

/** Another kind of PNG. */
export class PngError extends AppError {
  readonly code = 'png'
}

export interface PngImage {
  readonly width: number
  readonly height: number
  /** Bytes of one pixel; with a palette, one index. */
  readonly channels: number
  /** Row by row, without anything between. */
  readonly pixels: Buffer
  readonly header: Buffer
  /** What belongs to the pixels: palette and transparency. */
  readonly kept: readonly { readonly type: string; readonly body: Buffer }[]
}

/** Throws PngError. */
export function decodePng(png: Uint8Array): PngImage {
  const source = Buffer.from(png.buffer, png.byteOffset, png.byteLength)
  const data: Buffer[] = []
  const kept: { readonly type: string; readonly body: Buffer }[] = []
  let header: Buffer | null = null
  for (let at = 8; at + 12 <= source.length; ) {
    const length = source.readUInt32BE(at)
    const type = source.toString('latin1', at + 4, at + 8)
    const body = source.subarray(at + 8, at + 8 + length)
    if (type === 'IHDR') header = body
    else if (type === 'IDAT') data.push(body)
    else if (type === 'PLTE' || type === 'tRNS') kept.push({ type, body })
    at += 12 + length
  }
  const channels = channelsOf[header?.[9] ?? -1]
  if (header === null || channels === undefined || header[8] !== 8 || header[12] !== 0)
    throw new PngError('this kind of PNG cannot be read')
  const [width, height] = [header.readUInt32BE(0), header.readUInt32BE(4)]
  const pixels = unfilter(inflateSync(Buffer.concat(data)), width * channels, height, channels)
  return { width, height, channels, pixels, header, kept }
}

export interface Rectangle {
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
}

/** Cuts a rectangle out. Throws PngError. */
export function cropPng(png: Uint8Array, crop: Rectangle): Uint8Array {
  const { width, channels, pixels, header, kept } = decodePng(png)
  const rowBytes = crop.width * channels
  const rows = Buffer.alloc((rowBytes + 1) * crop.height) // filter 0 before each row
  for (let y = 0; y < crop.height; y++) {
    const from = ((crop.y + y) * width + crop.x) * channels
    pixels.copy(rows, y * (rowBytes + 1) + 1, from, from + rowBytes)
  }
  const newHeader = Buffer.from(header)
  newHeader.writeUInt32BE(crop.width, 0)
  newHeader.writeUInt32BE(crop.height, 4)
  return Buffer.concat([
    signature,
    chunk('IHDR', newHeader),
    ...kept.map((each) => chunk(each.type, each.body)),
    chunk('IDAT', deflateSync(rows)),
    chunk('IEND', Buffer.alloc(0)),
  ])
}

/** Four bytes a pixel, whatever the PNG has. */
export function toRgba({ channels, pixels, header, kept }: PngImage): Buffer {
  const count = pixels.length / channels
  const rgba = Buffer.alloc(count * 4, 255)
  const palette = kept.find(({ type }) => type === 'PLTE')?.body
  const alphas = kept.find(({ type }) => type === 'tRNS')?.body
  for (let i = 0; i < count; i++) {
    const from = i * channels
    const to = i * 4
    if (header[9] === 3) {
      const index = pixels[from]!
      palette?.copy(rgba, to, index * 3, index * 3 + 3)
      rgba[to + 3] = alphas?.[index] ?? 255
    } else if (channels <= 2) {
      rgba.fill(pixels[from]!, to, to + 3)
      if (channels === 2) rgba[to + 3] = pixels[from + 1]!
    } else pixels.copy(rgba, to, from, from + channels)
  }
  return rgba
}

/** PNG specification, section 9: each row is stored as differences, by one of five filters. */
function unfilter(raw: Buffer, rowBytes: number, height: number, step: number): Buffer {
  const out = Buffer.alloc(rowBytes * height)
  for (let y = 0; y < height; y++) {
    const filter = raw[y * (rowBytes + 1)]!
    const from = y * (rowBytes + 1) + 1
    const to = y * rowBytes
    for (let i = 0; i < rowBytes; i++) {
      const left = i >= step ? out[to + i - step]! : 0
      const up = y > 0 ? out[to + i - rowBytes]! : 0
      const upLeft = i >= step && y > 0 ? out[to + i - rowBytes - step]! : 0
      out[to + i] = raw[from + i]! + predicted(filter, left, up, upLeft)
    }
  }
  return out
}

function predicted(filter: number, left: number, up: number, upLeft: number): number {
  switch (filter) {
    case 0:
      return 0
    case 1:
      return left
    case 2:
      return up
    case 3:
      return (left + up) >> 1
    default: {
      const guess = left + up - upLeft
      const [byLeft, byUp, byCorner] = [Math.abs(guess - left), Math.abs(guess - up), Math.abs(guess - upLeft)]
      return byLeft <= byUp && byLeft <= byCorner ? left : byUp <= byCorner ? up : upLeft
    }
  }
}

function chunk(type: string, body: Buffer): Buffer {
  const typed = Buffer.concat([Buffer.from(type, 'latin1'), body])
  const framed = Buffer.alloc(typed.length + 8)
  framed.writeUInt32BE(body.length, 0)
  typed.copy(framed, 4)
  framed.writeUInt32BE(Bun.hash.crc32(typed), typed.length + 4)
  return framed
}
