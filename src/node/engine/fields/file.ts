// file: names of stored files, and uploads until the record is saved. PocketBase: core/field_file.go.

import { isSameType } from '../files/content-type.ts'
import { UploadedFile } from '../files/uploaded-file.ts'
import { toText, toTexts } from './cast.ts'
import { type FileField, isMultiple } from './field.ts'
import { type FieldKind, invalid, type RecordValues, requiredError } from './kind.ts'
import type { FieldValue, FileItem } from './value.ts'

/** Bytes; where the field says 0. */
export const fileBytesDefault = 5 * 1024 * 1024
const nameLengthMax = 150
const namePattern = /^[^./\\][^/\\]+$/

/** Uploads and names in order, blanks and duplicates dropped. */
export function fileItems(raw: unknown): FileItem[] {
  const list = Array.isArray(raw) ? raw : [raw]
  const items: FileItem[] = []
  const seen = new Set<string>()
  for (const each of list) {
    const parts: readonly FileItem[] =
      each instanceof UploadedFile ? [each] : typeof each === 'string' ? toTexts(each) : [toText(each)]
    for (const part of parts) {
      const name = typeof part === 'string' ? part : part.name
      if (name === '' || seen.has(name)) continue
      seen.add(name)
      items.push(part)
    }
  }
  return items
}

export function itemName(item: FileItem): string {
  return typeof item === 'string' ? item : item.name
}

function normalize(field: FileField, raw: unknown): FieldValue {
  const items = fileItems(raw)
  return isMultiple(field) ? items : (items.at(-1) ?? '')
}

export const fileKind: FieldKind<FileField> = {
  columnType: (field) => (isMultiple(field) ? "JSON DEFAULT '[]' NOT NULL" : "TEXT DEFAULT '' NOT NULL"),
  cast: normalize,
  fromDriver: (field, value) => normalize(field, toTexts(value)),
  toDriver(field, value) {
    const names = fileItems(value).map(itemName)
    return isMultiple(field) ? JSON.stringify(names) : (names.at(-1) ?? '')
  },
  show: (field, value) => {
    const names = fileItems(value).map(itemName)
    return isMultiple(field) ? names : (names.at(-1) ?? '')
  },
  set(record, field, raw) {
    record.values[field.name] = normalize(field, raw)
  },
  modifier(field, key) {
    const { name } = field
    const combine =
      (merge: (now: FileItem[], given: FileItem[]) => FileItem[]) => (record: RecordValues, raw: unknown) => {
        record.values[name] = normalize(field, merge(fileItems(record.values[name]), fileItems(raw)))
      }
    if (key === `${name}+`) return combine((now, given) => [...now, ...given])
    if (key === `+${name}`) return combine((now, given) => [...given, ...now])
    if (key === `${name}-`)
      return combine((now, given) => {
        const removed = new Set(given.map(itemName))
        return now.filter((each) => !removed.has(itemName(each)))
      })
    return undefined
  },
  validate(field, record) {
    const items = fileItems(record.values[field.name])
    if (items.length === 0) return field.required ? requiredError : null
    const stored = new Set(fileItems(record.original[field.name] ?? '').map(itemName))
    const unknown = items.filter((each) => typeof each === 'string' && !stored.has(each))
    if (unknown.length > 0) {
      const invalidFiles = unknown.map((each) => itemName(each).slice(0, 250))
      return invalid('validation_invalid_file', `Invalid new files: [${invalidFiles.join(' ')}].`, { invalidFiles })
    }
    const max = Math.max(field.maxSelect, 1)
    if (items.length > max)
      return invalid('validation_too_many_files', `The maximum allowed files is ${max}`, { maxSelect: max })
    for (const item of items) {
      if (typeof item === 'string') continue
      const error = validateUpload(field, item)
      if (error !== null) return error
    }
    return null
  },
  uploads: (value) => fileItems(value).filter((each) => each instanceof UploadedFile),
}

function validateUpload(field: FileField, file: UploadedFile) {
  if (file.name.length > nameLengthMax)
    return invalid('validation_length_out_of_range', `The length must be between 1 and ${nameLengthMax}.`, {
      max: nameLengthMax,
      min: 1,
    })
  if (!namePattern.test(file.name)) return invalid('validation_match_invalid', 'Must be in a valid format.')
  const maxBytes = field.maxSize || fileBytesDefault
  if (file.sizeBytes > maxBytes)
    return invalid(
      'validation_file_size_limit',
      `Failed to upload ${file.originalName.slice(0, 300)} - the maximum allowed file size is ${maxBytes} bytes.`,
      { file: file.originalName.slice(0, 300), maxSize: maxBytes },
    )
  if (field.mimeTypes?.length && !field.mimeTypes.some((allowed) => isSameType(file.contentType, allowed)))
    return invalid(
      'validation_invalid_mime_type',
      `"${file.name}" mime type must be one of: ${field.mimeTypes.join(', ')}.`,
    )
  return null
}
