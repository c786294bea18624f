// Thumbs of images in PocketBase's five modes. Bun.Image decodes, turns by EXIF, resizes and encodes; it cannot crop, so
// a thumb that fills its box is resized to cover it, and the rows that stay are cut out of the raw PNG.

import { AppError } from '../../../lib/errors.ts'
import { encodeGif } from './gif.ts'
import { cropPng, decodePng, type Rectangle, toRgba } from './png.ts'

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
/** Pixels of a picture that is cropped or made a GIF in this thread, where a million takes some 15 or 30 ms. */
const pixelsHereMax = 8_000_000
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

/** Makes a thumb. JPEG stays JPEG and GIF GIF, its first picture; everything else becomes PNG. Throws ThumbError for what is no picture. */
export async function makeThumb(
  original: Uint8Array,
  contentType: string,
  size: ThumbSize,
): Promise<{ readonly bytes: Uint8Array; readonly contentType: string }> {
  try {
    const turned = await upright(original)
    const target = targetSize(turned, size)
    const isWorkHere = target.crop !== null || contentType === 'image/gif'
    if (isWorkHere && target.width * target.height > pixelsHereMax)
      throw new ThumbError(`${target.width}x${target.height} pixels are too many to be cropped`)
    let png = await new Bun.Image(turned.bytes, { maxPixels: pixelsMax })
      .resize(target.width, target.height, { fit: 'fill' })
      .png()
      .bytes()
    if (target.crop !== null) png = cropPng(png, target.crop)
    if (contentType === 'image/gif') {
      const image = decodePng(png)
      return { bytes: encodeGif({ ...image, rgba: toRgba(image) }), contentType }
    }
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

function targetSize(
  image: { readonly width: number; readonly height: number },
  size: ThumbSize,
): { readonly width: number; readonly height: number; readonly crop: Rectangle | null } {
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
