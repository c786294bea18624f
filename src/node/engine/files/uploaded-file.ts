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

  /** Its stored name: what a filter or a rule sees of it before the save. */
  toJSON(): string {
    return this.name
  }
}

const nameLengthMax = 100
const suffixLength = 10

/** Lower-cased words joined by `_`, as PocketBase's inflector snake-cases names. */
function snakeCase(text: string): string {
  let result = ''
  let previousLower = false
  for (const char of text) {
    if (!/[\p{L}\p{N}]/u.test(char)) {
      if (result !== '' && !result.endsWith('_')) result += '_'
      previousLower = false
      continue
    }
    const isUpper = char !== char.toLowerCase()
    if (isUpper && previousLower) result += '_'
    previousLower = !isUpper
    result += char.toLowerCase()
  }
  return result.replace(/_+$/, '')
}

/**
 * The stored name of an upload: its own in snake case, 10 random characters, its extension.
 * PocketBase: tools/filesystem/file.go, normalizeName.
 */
export function storedName(originalName: string, rng: Rng): string {
  const dot = originalName.lastIndexOf('.')
  const doubleExtension = /\.(tar\.[a-z0-9]+)$/i.exec(originalName)?.[1]
  const rawExtension = doubleExtension ?? (dot >= 0 ? originalName.slice(dot + 1) : '')
  const extension = rawExtension.replace(/[^\w.]/g, '').slice(0, 20)
  const base = rawExtension === '' ? originalName : originalName.slice(0, -(rawExtension.length + 1))
  let clean = snakeCase(base).slice(0, nameLengthMax)
  if (clean.length < 3) clean += randomText(rng, 10, lowerAlphanumeric)
  const suffix = randomText(rng, suffixLength)
  return `${clean}_${suffix}${extension === '' ? '' : `.${extension}`}`
}
