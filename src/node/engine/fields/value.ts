// What fields hold in memory.

import type { UploadedFile } from '../files/uploaded-file.ts'
import type { JsonText } from '../json/json-text.ts'

export interface GeoPoint {
  readonly lon: number
  readonly lat: number
}

/** What bcrypt reads of a text. */
const passwordBytesMax = 72

/** A password that is stored, or one that was just set and is hashed before it is. */
export class PasswordValue {
  readonly hash: string
  /** Only between setting and saving. */
  readonly plain: string
  constructor(hash: string, plain = '') {
    this.hash = hash
    this.plain = plain
  }
  /** bcrypt refuses what it would cut off. */
  get isTooLong(): boolean {
    return Buffer.byteLength(this.plain) > passwordBytesMax
  }
  /** Never shown, whoever asks. */
  toJSON(): string {
    return ''
  }
}

/** New files stand beside the names of stored ones until the record is saved. */
export type FileItem = string | UploadedFile

export type FieldValue =
  | string
  | number
  | boolean
  | readonly string[]
  | readonly FileItem[]
  | UploadedFile
  | JsonText
  | GeoPoint
  | PasswordValue
