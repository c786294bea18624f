// Content types from the first bytes of a file, as PocketBase's mimetype library tells them for what apps upload; the
// extension decides where bytes cannot.

import { open } from 'node:fs/promises'

/** Enough for every signature below. */
export const sniffBytes = 512

type Signature = readonly [type: string, offset: number, hex: string]

const signatures: readonly Signature[] = [
  ['image/png', 0, '89504e470d0a1a0a'],
  ['image/jpeg', 0, 'ffd8ff'],
  ['image/gif', 0, '474946383761'],
  ['image/gif', 0, '474946383961'],
  ['image/bmp', 0, '424d'],
  ['image/x-icon', 0, '00000100'],
  ['image/tiff', 0, '49492a00'],
  ['image/tiff', 0, '4d4d002a'],
  ['application/pdf', 0, '255044462d'],
  ['application/zip', 0, '504b0304'],
  ['application/zip', 0, '504b0506'],
  ['application/gzip', 0, '1f8b'],
  ['application/x-7z-compressed', 0, '377abcaf271c'],
  ['application/vnd.sqlite3', 0, '53514c69746520666f726d6174203300'],
  ['audio/mpeg', 0, '494433'],
  ['audio/mpeg', 0, 'fffb'],
  ['audio/flac', 0, '664c6143'],
  ['application/ogg', 0, '4f676753'],
  ['video/webm', 0, '1a45dfa3'],
  ['application/wasm', 0, '0061736d'],
  ['font/woff', 0, '774f4646'],
  ['font/woff2', 0, '774f4632'],
]

const byExtension: Readonly<Record<string, string>> = {
  svg: 'image/svg+xml',
  html: 'text/html; charset=utf-8',
  htm: 'text/html; charset=utf-8',
  css: 'text/css; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  mjs: 'text/javascript; charset=utf-8',
  json: 'application/json',
  csv: 'text/csv; charset=utf-8',
  xml: 'text/xml; charset=utf-8',
  md: 'text/plain; charset=utf-8',
  txt: 'text/plain; charset=utf-8',
  mp4: 'video/mp4',
  m4v: 'video/x-m4v',
  mp3: 'audio/mpeg',
  wav: 'audio/wav',
  ogg: 'application/ogg',
  webm: 'video/webm',
  webp: 'image/webp',
  avif: 'image/avif',
  docx: 'application/vnd.openxmlformats-officedocument.wordprocessingml.document',
  xlsx: 'application/vnd.openxmlformats-officedocument.spreadsheetml.sheet',
  pptx: 'application/vnd.openxmlformats-officedocument.presentationml.presentation',
}

/** The type of content that begins with `head`. */
export function sniffContentType(head: Uint8Array, name: string): string {
  if (head.length === 0) return 'text/plain'
  const buffer = Buffer.from(head.buffer, head.byteOffset, head.byteLength)
  const hex = buffer.toString('hex', 0, Math.min(32, buffer.length))
  const extension = name.slice(name.lastIndexOf('.') + 1).toLowerCase()
  if (hex.startsWith('52494646') && hex.slice(16, 24) === '57454250') return 'image/webp'
  if (hex.startsWith('52494646') && hex.slice(16, 24) === '57415645') return 'audio/wav'
  if (hex.slice(8, 16) === '66747970') return /^(61766966|61766973)/.test(hex.slice(16)) ? 'image/avif' : 'video/mp4'
  for (const [type, offset, prefix] of signatures) {
    if (!hex.startsWith(prefix, offset * 2)) continue
    const known = byExtension[extension]
    return type === 'application/zip' && known?.startsWith('application/vnd.openxml') ? known : type
  }
  if (!isText(buffer)) return 'application/octet-stream'
  const text = buffer.toString('utf8').trimStart().toLowerCase()
  if (/^(?:<\?xml[^>]*>\s*)?(?:<!--[\s\S]*?-->\s*|<!doctype svg[^>]*>\s*)*<svg[\s>]/.test(text)) return 'image/svg+xml'
  if (/^<!doctype html|^<html[\s>]|^<head[\s>]|^<body[\s>]|^<script[\s>]/.test(text)) return 'text/html; charset=utf-8'
  if (text.startsWith('<?xml')) return 'text/xml; charset=utf-8'
  if (extension === 'json' && /^[[{]/.test(text)) return 'application/json'
  const known = byExtension[extension]
  return known?.startsWith('text/') ? known : 'text/plain; charset=utf-8'
}

/** No control characters but the white ones, and no zero byte. */
function isText(buffer: Buffer): boolean {
  for (const byte of buffer) if (byte < 9 || (byte > 13 && byte < 32 && byte !== 27)) return false
  return true
}

/** Whether a text from elsewhere may become a `Content-Type`: nothing but what a media type is made of. */
export function isMediaType(text: string): boolean {
  return /^[\w.+-]+\/[\w.+-]+(?:;[ \w.=+"-]*)?$/.test(text)
}

/** Of a file on disk; reads only its beginning. */
export async function contentTypeOf(path: string): Promise<string> {
  const handle = await open(path)
  try {
    const head = Buffer.alloc(sniffBytes)
    const { bytesRead } = await handle.read(head, 0, sniffBytes, 0)
    return sniffContentType(head.subarray(0, bytesRead), path)
  } finally {
    await handle.close()
  }
}
