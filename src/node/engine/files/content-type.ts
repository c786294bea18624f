// Content types from the first bytes of a file, as PocketBase's mimetype library tells them for what apps upload; the
// extension decides where bytes cannot.

import { open } from 'node:fs/promises'

/** Enough for every signature below. */
export const sniffBytes = 512

type Signature = readonly [type: string, offset: number, hex: string]

/** The first that fits counts. */
const signatures: readonly Signature[] = [
  ['image/vnd.mozilla.apng', 37, '6163544c'],
  ['image/png', 0, '89504e470d0a1a0a'],
  ['image/jpeg', 0, 'ffd8ff'],
  ['image/gif', 0, '474946383761'],
  ['image/gif', 0, '474946383961'],
  ['image/bmp', 0, '424d'],
  ['image/x-icon', 0, '00000100'],
  ['image/tiff', 0, '49492a00'],
  ['image/tiff', 0, '4d4d002a'],
  ['image/vnd.adobe.photoshop', 0, '38425053'],
  ['image/jp2', 20, '6a703220'],
  ['application/pdf', 0, '255044462d'],
  ['application/zip', 0, '504b0304'],
  ['application/zip', 0, '504b0506'],
  ['application/x-ole-storage', 0, 'd0cf11e0a1b11ae1'],
  ['application/gzip', 0, '1f8b'],
  ['application/x-7z-compressed', 0, '377abcaf271c'],
  ['application/x-rar-compressed', 0, '526172211a0700'],
  ['application/x-rar-compressed', 0, '526172211a0701'],
  ['application/x-bzip2', 0, '425a68'],
  ['application/x-xz', 0, 'fd377a585a00'],
  ['application/x-tar', 257, '7573746172'],
  ['application/vnd.sqlite3', 0, '53514c69746520666f726d6174203300'],
  ['application/vnd.microsoft.portable-executable', 0, '4d5a'],
  ['audio/mpeg', 0, '494433'],
  ['audio/mpeg', 0, 'fffb'],
  ['audio/mpeg', 0, 'fffa'],
  ['audio/mpeg', 0, 'fff3'],
  ['audio/mpeg', 0, 'fff2'],
  ['audio/aac', 0, 'fff1'],
  ['audio/aac', 0, 'fff9'],
  ['audio/flac', 0, '664c6143'],
  ['audio/midi', 0, '4d546864'],
  ['audio/ogg', 28, '01766f72626973'],
  ['audio/ogg', 28, '4f70757348656164'],
  ['audio/ogg', 28, '7f464c4143'],
  ['audio/ogg', 28, '5370656578202020'],
  ['video/ogg', 28, '807468656f7261'],
  ['application/ogg', 0, '4f676753'],
  ['video/x-flv', 0, '464c5601'],
  ['video/x-ms-asf', 0, '3026b2758e66cf11a6d900aa0062ce6c'],
  ['video/mpeg', 0, '000001ba'],
  ['video/mpeg', 0, '000001b3'],
  ['application/wasm', 0, '0061736d'],
  ['font/woff', 0, '774f4646'],
  ['font/woff2', 0, '774f4632'],
  ['font/otf', 0, '4f54544f00'],
]

/** Forms that begin alike and are told apart further inside than is looked: by the extension. */
const containers: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'application/zip': {
    docx: 'application/vnd.openxmlformats-officedocument.wordprocessingml.document',
    xlsx: 'application/vnd.openxmlformats-officedocument.spreadsheetml.sheet',
    pptx: 'application/vnd.openxmlformats-officedocument.presentationml.presentation',
    odt: 'application/vnd.oasis.opendocument.text',
    ods: 'application/vnd.oasis.opendocument.spreadsheet',
    odp: 'application/vnd.oasis.opendocument.presentation',
    epub: 'application/epub+zip',
    jar: 'application/java-archive',
  },
  'application/x-ole-storage': {
    doc: 'application/msword',
    xls: 'application/vnd.ms-excel',
    ppt: 'application/vnd.ms-powerpoint',
    msg: 'application/vnd.ms-outlook',
  },
}

/** By the brand at the beginning of an ISO media file; all others are MP4. */
const brands: Readonly<Record<string, string>> = {
  avif: 'image/avif',
  avis: 'image/avif',
  heic: 'image/heic',
  heix: 'image/heic',
  hevc: 'image/heic-sequence',
  hevx: 'image/heic-sequence',
  mif1: 'image/heif',
  heim: 'image/heif',
  heis: 'image/heif',
  avic: 'image/heif',
  msf1: 'image/heif-sequence',
  hevm: 'image/heif-sequence',
  hevs: 'image/heif-sequence',
  avcs: 'image/heif-sequence',
  'M4A ': 'audio/x-m4a',
  'M4B ': 'audio/mp4',
  'M4P ': 'audio/mp4',
  'F4A ': 'audio/mp4',
  'F4B ': 'audio/mp4',
  'M4V ': 'video/x-m4v',
  M4VH: 'video/x-m4v',
  M4VP: 'video/x-m4v',
  'qt  ': 'video/quicktime',
  'mqt ': 'video/quicktime',
}

/** By the word after `RIFF` and its length. */
const riffForms: Readonly<Record<string, string>> = {
  WEBP: 'image/webp',
  WAVE: 'audio/wav',
  'AVI ': 'video/x-msvideo',
}

/** Tags that a page may begin with. */
const htmlStart =
  /^(?:<!doctype html|<(?:html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p)|<!--)(?:[\s>]|$)/

/** The type of content that begins with `head`. */
export function sniffContentType(head: Uint8Array, name: string): string {
  if (head.length === 0) return 'text/plain'
  const buffer = Buffer.from(head.buffer, head.byteOffset, Math.min(head.byteLength, sniffBytes))
  const extension = name.slice(name.lastIndexOf('.') + 1).toLowerCase()
  const type = binaryType(buffer)
  if (type !== null) {
    const inside = containers[type]
    return inside !== undefined && Object.hasOwn(inside, extension) ? inside[extension]! : type
  }
  return isText(buffer) ? textType(buffer, extension) : 'application/octet-stream'
}

function binaryType(buffer: Buffer): string | null {
  const wordAt = (at: number) => buffer.toString('latin1', at, at + 4)
  if (wordAt(0) === 'RIFF') return riffForms[wordAt(8)] ?? null
  if (wordAt(4) === 'ftyp') return mediaType(wordAt(8))
  if (buffer.toString('hex', 0, 4) === '1a45dfa3') return buffer.includes('webm') ? 'video/webm' : 'video/x-matroska'
  for (const [type, offset, hex] of signatures)
    if (buffer.toString('hex', offset, offset + hex.length / 2) === hex) return type
  return null
}

function mediaType(brand: string): string {
  if (/^3g(?:p[1-7]|s7|e[67]|g6)$/.test(brand)) return 'video/3gpp'
  if (/^3g2[456abc]$/.test(brand)) return 'video/3gpp2'
  return brands[brand] ?? 'video/mp4'
}

function textType(buffer: Buffer, extension: string): string {
  const whole = buffer.toString('utf8').trimStart() // a byte order mark counts as blank
  const isCut = buffer.length >= sniffBytes
  const text = whole.toLowerCase()
  if (isSvg(text)) return 'image/svg+xml'
  if (htmlStart.test(text)) return 'text/html; charset=utf-8'
  if (text.startsWith('<?xml')) return 'text/xml; charset=utf-8'
  if (text.startsWith('{\\rtf')) return 'text/rtf'
  if (text.startsWith('begin:vcard')) return 'text/vcard'
  if (text.startsWith('begin:vcalendar')) return 'text/calendar'
  if (/^[[{]/.test(text) && (isCut ? extension === 'json' : isJson(whole))) return 'application/json'
  if (text.startsWith('webvtt')) return 'text/vtt'
  if (extension === 'csv' || isTable(whole, ',', isCut)) return 'text/csv; charset=utf-8'
  return isTable(whole, '\t', isCut) ? 'text/tab-separated-values; charset=utf-8' : 'text/plain; charset=utf-8'
}

/**
 * Whether the first element is an `<svg>`. Step by step: a pattern tries each way to divide comments that follow each other,
 * which are more than any thread has time for.
 */
function isSvg(text: string): boolean {
  const behind = (end: string, from: number) => {
    const at = text.indexOf(end, from)
    return at < 0 ? text.length : at + end.length
  }
  for (let at = text.startsWith('<?xml') ? behind('>', 0) : 0; ; ) {
    while (/\s/.test(text.charAt(at))) at++
    if (text.startsWith('<!--', at)) at = behind('-->', at + '<!--'.length)
    else if (text.startsWith('<!doctype svg', at)) at = behind('>', at)
    else return /^<svg[\s/>]/.test(text.slice(at, at + '<svg>'.length))
  }
}

/** Whether two lines or more have the same number of fields, and more than one; the last line may be cut off. */
function isTable(text: string, delimiter: string, isCut: boolean): boolean {
  const lines = text.replace(/"(?:[^"]|"")*"/g, '').split(/\r?\n/)
  const whole = isCut ? lines.slice(0, -1) : lines
  const counts = whole.filter((line) => line !== '').map((line) => line.split(delimiter).length)
  return counts.length > 1 && counts[0]! > 1 && counts.every((count) => count === counts[0])
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/** Other names that the same types go by, as PocketBase's mimetype library knows them. */
const aliases: Readonly<Record<string, readonly string[]>> = {
  'application/gzip': [
    'application/x-gzip',
    'application/x-gunzip',
    'application/gzipped',
    'application/gzip-compressed',
    'application/x-gzip-compressed',
    'gzip/document',
  ],
  'application/zip': ['application/x-zip', 'application/x-zip-compressed'],
  'application/pdf': ['application/x-pdf'],
  'application/ogg': ['application/x-ogg'],
  'application/msword': ['application/vnd.ms-word'],
  'application/vnd.ms-excel': ['application/msexcel'],
  'application/vnd.ms-powerpoint': ['application/mspowerpoint'],
  'application/vnd.sqlite3': ['application/x-sqlite3'],
  'application/x-rar-compressed': ['application/x-rar'],
  'audio/mpeg': ['audio/x-mpeg', 'audio/mp3'],
  'audio/wav': ['audio/x-wav', 'audio/vnd.wave', 'audio/wave'],
  'audio/mp4': ['audio/x-mp4a'],
  'audio/midi': ['audio/mid', 'audio/sp-midi', 'audio/x-mid', 'audio/x-midi'],
  'image/bmp': ['image/x-bmp', 'image/x-ms-bmp'],
  'image/vnd.adobe.photoshop': ['image/x-psd', 'application/photoshop'],
  'text/rtf': ['application/rtf'],
  'text/xml': ['application/xml'],
  'video/webm': ['audio/webm'],
  'video/x-msvideo': ['video/avi', 'video/msvideo'],
  'video/x-ms-asf': ['video/asf', 'video/x-ms-wmv'],
}

/** Whether a sniffed type is one that somebody allows; parameters and case do not matter. */
export function isSameType(sniffed: string, allowed: string): boolean {
  const bare = (type: string) => type.split(';')[0]!.trim().toLowerCase()
  const [type, wanted] = [bare(sniffed), bare(allowed)]
  return type === wanted || (aliases[type]?.includes(wanted) ?? false)
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

/** Of a file on disk; reads only its beginning. @param name of what it holds: the file itself may be named anything. */
export async function contentTypeOf(path: string, name: string): Promise<string> {
  const handle = await open(path)
  try {
    const head = Buffer.alloc(sniffBytes)
    const { bytesRead } = await handle.read(head, 0, sniffBytes, 0)
    return sniffContentType(head.subarray(0, bytesRead), name)
  } finally {
    await handle.close()
  }
}
