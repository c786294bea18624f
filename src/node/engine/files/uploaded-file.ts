// A file that came with a request and is not stored yet.

import { lowerAlphanumeric, randomText } from '../../../lib/id.ts'
import type { Rng } from '../../../lib/rng.ts'

export class UploadedFile {
  /** As the client named it; never a path. */
  readonly originalName: string
  /** What it will be stored as; unique by its random suffix. */
  readonly name: string
  readonly sizeBytes: number
  /** From its first bytes, else from its extension. */
  readonly contentType: string
  /** In memory, or streamed to this path; exactly one is set. */
  readonly content: { readonly bytes: Uint8Array } | { readonly path: string }

  constructor(facts: {
    readonly originalName: string
    readonly name: string
    readonly sizeBytes: number
    readonly contentType: string
    readonly content: { readonly bytes: Uint8Array } | { readonly path: string }
  }) {
    this.originalName = facts.originalName
    this.name = facts.name
    this.sizeBytes = facts.sizeBytes
    this.contentType = facts.contentType
    this.content = facts.content
  }

  /** What a filter or a rule sees of it before the save: never equal to a stored name. */
  toJSON(): Record<string, unknown> {
    return { name: this.name, originalName: this.originalName, size: this.sizeBytes }
  }
}

/** Bytes of an original name that are looked at, from its end. */
const originalBytesMax = 300
const baseLengthMax = 100
const baseLengthMin = 3
const extensionLengthMax = 20
const suffixLength = 10

/** For names that say nothing: what PocketBase's mimetype library calls these types. */
const extensionOf: Readonly<Record<string, string>> = {
  'text/plain': '.txt',
  'text/html': '.html',
  'text/xml': '.xml',
  'text/csv': '.csv',
  'application/json': '.json',
  'application/pdf': '.pdf',
  'application/zip': '.zip',
  'application/gzip': '.gz',
  'application/x-7z-compressed': '.7z',
  'application/vnd.sqlite3': '.sqlite',
  'application/x-rar-compressed': '.rar',
  'application/x-bzip2': '.bz2',
  'application/x-xz': '.xz',
  'application/x-tar': '.tar',
  'application/vnd.microsoft.portable-executable': '.exe',
  'application/ogg': '.ogg',
  'application/wasm': '.wasm',
  'audio/mpeg': '.mp3',
  'audio/wav': '.wav',
  'audio/flac': '.flac',
  'audio/aac': '.aac',
  'audio/midi': '.midi',
  'audio/ogg': '.oga',
  'audio/mp4': '.mp4',
  'audio/x-m4a': '.m4a',
  'font/woff': '.woff',
  'font/woff2': '.woff2',
  'font/otf': '.otf',
  'image/png': '.png',
  'image/jpeg': '.jpg',
  'image/gif': '.gif',
  'image/webp': '.webp',
  'image/avif': '.avif',
  'image/bmp': '.bmp',
  'image/tiff': '.tiff',
  'image/x-icon': '.ico',
  'image/heic': '.heic',
  'image/heic-sequence': '.heic',
  'image/heif': '.heif',
  'image/heif-sequence': '.heif',
  'image/jp2': '.jp2',
  'image/vnd.adobe.photoshop': '.psd',
  'image/vnd.mozilla.apng': '.png',
  'image/svg+xml': '.svg',
  'text/rtf': '.rtf',
  'text/tab-separated-values': '.tsv',
  'text/vtt': '.vtt',
  'text/vcard': '.vcf',
  'text/calendar': '.ics',
  'video/mp4': '.mp4',
  'video/3gpp': '.3gp',
  'video/3gpp2': '.3g2',
  'video/mpeg': '.mpeg',
  'video/ogg': '.ogv',
  'video/quicktime': '.mov',
  'video/webm': '.webm',
  'video/x-flv': '.flv',
  'video/x-m4v': '.m4v',
  'video/x-matroska': '.mkv',
  'video/x-ms-asf': '.asf',
  'video/x-msvideo': '.avi',
}

/** ASCII words joined by `_`; a capital after a small letter begins one. PocketBase: tools/inflector, Snakecase. */
function snakeCase(text: string): string {
  const words = text.split(/[^A-Za-z0-9]+/).filter((word) => word !== '')
  return words
    .map((word) => word.replace(/(?<=[^A-Z])(?=[A-Z])/g, '_'))
    .join('_')
    .toLowerCase()
}

function trimDots(text: string): string {
  return text.replace(/^\.+|\.+$/g, '')
}

/**
 * The stored name of an upload: its own in snake case, 10 random characters, its extension (a double one whole).
 * PocketBase: tools/filesystem/file.go, normalizeName.
 *
 * @param contentType gives the extension where the name has none.
 */
export function storedName(originalName: string, rng: Rng, contentType = ''): string {
  const bytes = Buffer.from(originalName)
  const name = bytes.length > originalBytesMax ? bytes.subarray(-originalBytesMax).toString() : originalName
  const lastDot = name.lastIndexOf('.')
  const firstDot = lastDot > 0 ? name.lastIndexOf('.', lastDot - 1) : -1
  const rawExtension = lastDot < 0 ? '' : name.slice(firstDot >= 0 ? firstDot : lastDot)
  let extension = `.${trimDots(rawExtension.replace(/[^\w.*\-+=#]+/g, ''))}`
  if (extension === '.') extension = extensionOf[contentType.split(';')[0]!] ?? ''
  if (extension.length > extensionLengthMax) extension = `.${trimDots(extension.slice(-extensionLengthMax))}`
  let base = snakeCase(trimDots(name.slice(0, name.length - rawExtension.length)))
  if (base.length < baseLengthMin) base += randomText(rng, suffixLength, lowerAlphanumeric)
  return `${base.slice(0, baseLengthMax)}_${randomText(rng, suffixLength, lowerAlphanumeric)}${extension}`
}
