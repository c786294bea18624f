// Thumbs of images in PocketBase's five modes. Bun.Image decodes, turns by EXIF, resizes and encodes; it cannot crop, so
// a thumb that fills its box is resized to cover it, and the rows that stay are cut out of the raw PNG.

import { deflateSync, inflateSync } from 'node:zlib'
import { AppError } from '../../../lib/errors.ts'

export const thumbTypes: ReadonlySet<string> = new Set([
  'image/png',
  'image/jpg',
  'image/jpeg',
  'image/gif',
  'image/webp',
])
/** Every file has this one, whatever its field says. */
export const thumbSizeDefault = '100x100'

/** Pixels of an original: 4 bytes each while it is decoded. */
const pixelsMax = 50_000_000
/** Pixels along one side of a thumb. */
const sideMax = 8_000

export type ThumbMode = 'center' | 'top' | 'bottom' | 'fit' | 'scale'

export interface ThumbSize {
  readonly width: number
  readonly height: number
  readonly mode: ThumbMode
}

export class ThumbError extends AppError {
  readonly code = 'thumb'
}

/** `WxH`, `WxHt`, `WxHb`, `WxHf`, `Wx0`, `0xH`; null for anything else. */
export function parseThumbSize(text: string): ThumbSize | null {
  const match = /^(\d{1,6})x(\d{1,6})([tbf]?)$/.exec(text)
  if (match === null) return null
  const [width, height] = [Number(match[1]), Number(match[2])]
  if (width === 0 && height === 0) return null
  if (width > sideMax || height > sideMax) return null
  if (width === 0 || height === 0) return { width, height, mode: 'scale' }
  return {
    width,
    height,
    mode: ({ t: 'top', b: 'bottom', f: 'fit' } as const)[match[3] as 't' | 'b' | 'f'] ?? 'center',
  }
}

/** Makes a thumb. JPEG stays JPEG; everything else becomes PNG. Throws ThumbError for what is no picture. */
export async function makeThumb(
  original: Uint8Array,
  contentType: string,
  size: ThumbSize,
): Promise<{ readonly bytes: Uint8Array; readonly contentType: string }> {
  try {
    const turned = await upright(original)
    const target = targetSize(turned, size)
    let png = await new Bun.Image(turned.bytes, { maxPixels: pixelsMax })
      .resize(target.width, target.height, { fit: 'fill' })
      .png()
      .bytes()
    if (target.crop !== null) png = cropPng(png, target.crop)
    if (contentType !== 'image/jpeg' && contentType !== 'image/jpg') return { bytes: png, contentType: 'image/png' }
    return { bytes: await new Bun.Image(png).jpeg({ quality: 95 }).bytes(), contentType: 'image/jpeg' }
  } catch (error) {
    if (error instanceof ThumbError) throw error
    throw new ThumbError('the picture could not be read', { cause: error })
  }
}

interface Upright {
  readonly bytes: Uint8Array
  readonly width: number
  readonly height: number
}

/** The picture's size as it is seen: a phone's portrait may be stored lying on its side. */
async function upright(original: Uint8Array): Promise<Upright> {
  const { width, height } = await new Bun.Image(original, { maxPixels: pixelsMax }).metadata()
  if (width * height > pixelsMax) throw new ThumbError(`${width}x${height} pixels are too many`)
  const orientation = exifOrientation(original)
  return orientation >= 5 ? { bytes: original, width: height, height: width } : { bytes: original, width, height }
}

/** EXIF tag 0x0112 of a JPEG, 1 to 8; 1 when there is none. */
export function exifOrientation(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (view.byteLength < 4 || view.getUint16(0) !== 0xffd8) return 1
  for (let at = 2; at + 4 <= view.byteLength; ) {
    const marker = view.getUint16(at)
    const length = view.getUint16(at + 2)
    if (marker >> 8 !== 0xff || marker === 0xffda || length < 2) return 1
    if (marker === 0xffe1 && at + 18 <= view.byteLength && view.getUint32(at + 4) === 0x45786966)
      return tiffOrientation(view, at + 10, Math.min(view.byteLength, at + 2 + length))
    at += 2 + length
  }
  return 1
}

function tiffOrientation(view: DataView, start: number, end: number): number {
  const little = view.getUint16(start) === 0x4949
  const directory = start + view.getUint32(start + 4, little)
  if (directory + 2 > end) return 1
  const count = view.getUint16(directory, little)
  for (let i = 0; i < count; i++) {
    const entry = directory + 2 + i * 12
    if (entry + 12 > end) return 1
    if (view.getUint16(entry, little) !== 0x0112) continue
    const value = view.getUint16(entry + 8, little)
    return value >= 1 && value <= 8 ? value : 1
  }
  return 1
}

interface Crop {
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
}

function targetSize(
  image: { readonly width: number; readonly height: number },
  size: ThumbSize,
): { readonly width: number; readonly height: number; readonly crop: Crop | null } {
  const { width, height } = image
  const atLeastOne = (value: number) => Math.max(1, Math.round(value))
  if (size.mode === 'scale') {
    const scale = size.width === 0 ? size.height / height : size.width / width
    return {
      width: size.width || atLeastOne(width * scale),
      height: size.height || atLeastOne(height * scale),
      crop: null,
    }
  }
  if (size.mode === 'fit') {
    const scale = Math.min(1, size.width / width, size.height / height)
    return { width: atLeastOne(width * scale), height: atLeastOne(height * scale), crop: null }
  }
  const scale = Math.max(size.width / width, size.height / height)
  const covered = {
    width: Math.max(size.width, atLeastOne(width * scale)),
    height: Math.max(size.height, atLeastOne(height * scale)),
  }
  if (covered.width > sideMax * 4 || covered.height > sideMax * 4) throw new ThumbError('the picture is too long')
  const x = Math.floor((covered.width - size.width) / 2)
  const spare = covered.height - size.height
  const y = size.mode === 'top' ? 0 : size.mode === 'bottom' ? spare : Math.floor(spare / 2)
  const isExact = covered.width === size.width && covered.height === size.height
  return { ...covered, crop: isExact ? null : { x, y, width: size.width, height: size.height } }
}

const pngSignature = Buffer.from('89504e470d0a1a0a', 'hex')
const channelsOf: Readonly<Record<number, number>> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 }

/** Cuts a rectangle out of a non-interlaced 8-bit PNG, which is what Bun.Image writes. */
export function cropPng(png: Uint8Array, crop: Crop): Uint8Array {
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
    throw new ThumbError('this kind of PNG cannot be cropped')
  const width = header.readUInt32BE(0)
  const pixels = unfilter(inflateSync(Buffer.concat(data)), width * channels, header.readUInt32BE(4), channels)
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
    pngSignature,
    chunk('IHDR', newHeader),
    ...kept.map((each) => chunk(each.type, each.body)),
    chunk('IDAT', deflateSync(rows)),
    chunk('IEND', Buffer.alloc(0)),
  ])
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
