// The 14 field types: their options as plain data. What each does stands in a file of its own, joined in `kinds.ts`.
// PocketBase: core/field_*.go.

interface FieldBase {
  readonly id: string
  readonly name: string
  /** Neither renamed nor removed. */
  readonly system: boolean
  /** Left out of answers to all but superusers. */
  readonly hidden: boolean
  readonly presentable: boolean
  readonly help: string
}

export interface TextField extends FieldBase {
  readonly type: 'text'
  readonly min: number
  /** 0: 5,000 characters. */
  readonly max: number
  readonly pattern: string
  readonly autogeneratePattern: string
  readonly required: boolean
  readonly primaryKey: boolean
}
export interface NumberField extends FieldBase {
  readonly type: 'number'
  readonly min: number | null
  readonly max: number | null
  readonly onlyInt: boolean
  readonly required: boolean
}
export interface BoolField extends FieldBase {
  readonly type: 'bool'
  readonly required: boolean
}
export interface EmailField extends FieldBase {
  readonly type: 'email'
  readonly exceptDomains: readonly string[] | null
  readonly onlyDomains: readonly string[] | null
  readonly required: boolean
}
export interface UrlField extends FieldBase {
  readonly type: 'url'
  readonly exceptDomains: readonly string[] | null
  readonly onlyDomains: readonly string[] | null
  readonly required: boolean
}
export interface EditorField extends FieldBase {
  readonly type: 'editor'
  /** Bytes; 0: 5 MiB. */
  readonly maxSize: number
  readonly convertURLs: boolean
  readonly required: boolean
}
export interface DateField extends FieldBase {
  readonly type: 'date'
  readonly min: string
  readonly max: string
  readonly required: boolean
}
export interface AutodateField extends FieldBase {
  readonly type: 'autodate'
  readonly onCreate: boolean
  readonly onUpdate: boolean
}
export interface SelectField extends FieldBase {
  readonly type: 'select'
  readonly values: readonly string[]
  readonly maxSelect: number
  readonly required: boolean
}
export interface JsonField extends FieldBase {
  readonly type: 'json'
  /** Bytes; 0: 1 MiB. */
  readonly maxSize: number
  readonly required: boolean
}
export interface FileField extends FieldBase {
  readonly type: 'file'
  /** Bytes of one file; 0: 5 MiB. */
  readonly maxSize: number
  readonly maxSelect: number
  readonly mimeTypes: readonly string[] | null
  readonly thumbs: readonly string[] | null
  readonly protected: boolean
  readonly required: boolean
}
export interface RelationField extends FieldBase {
  readonly type: 'relation'
  readonly collectionId: string
  readonly cascadeDelete: boolean
  readonly minSelect: number
  readonly maxSelect: number
  readonly required: boolean
}
export interface PasswordField extends FieldBase {
  readonly type: 'password'
  readonly pattern: string
  readonly min: number
  readonly max: number
  /** bcrypt cost; 0: 10. */
  readonly cost: number
  readonly required: boolean
}
export interface GeoPointField extends FieldBase {
  readonly type: 'geoPoint'
  readonly required: boolean
}

export type Field =
  | TextField
  | NumberField
  | BoolField
  | EmailField
  | UrlField
  | EditorField
  | DateField
  | AutodateField
  | SelectField
  | JsonField
  | FileField
  | RelationField
  | PasswordField
  | GeoPointField

export type FieldType = Field['type']

type OptionsOf<F extends Field> = { readonly [K in Exclude<keyof F, 'id' | 'name' | 'type'>]: F[K] }

const base = { system: false, hidden: false, presentable: false, help: '' }

/** Every option of every type with its zero value: what a missing key in stored JSON means. */
export const fieldDefaults: { readonly [T in FieldType]: OptionsOf<Extract<Field, { type: T }>> } = {
  text: { ...base, min: 0, max: 0, pattern: '', autogeneratePattern: '', required: false, primaryKey: false },
  number: { ...base, min: null, max: null, onlyInt: false, required: false },
  bool: { ...base, required: false },
  email: { ...base, exceptDomains: null, onlyDomains: null, required: false },
  url: { ...base, exceptDomains: null, onlyDomains: null, required: false },
  editor: { ...base, maxSize: 0, convertURLs: false, required: false },
  date: { ...base, min: '', max: '', required: false },
  autodate: { ...base, onCreate: false, onUpdate: false },
  select: { ...base, values: [], maxSelect: 0, required: false },
  json: { ...base, maxSize: 0, required: false },
  file: { ...base, maxSize: 0, maxSelect: 0, mimeTypes: null, thumbs: null, protected: false, required: false },
  relation: { ...base, collectionId: '', cascadeDelete: false, minSelect: 0, maxSelect: 0, required: false },
  password: { ...base, pattern: '', min: 0, max: 0, cost: 0, required: false },
  geoPoint: { ...base, required: false },
}

export function isFieldType(text: unknown): text is FieldType {
  return typeof text === 'string' && Object.hasOwn(fieldDefaults, text)
}

/** Whether the column holds a JSON list of several values. */
export function isMultiple(field: Field): boolean {
  return (field.type === 'select' || field.type === 'relation' || field.type === 'file') && field.maxSelect > 1
}

/** The options as stored and sent: keys sorted, autodate without `help`. */
export function fieldToJson(field: Field): Record<string, unknown> {
  const json: Record<string, unknown> = {}
  for (const key of Object.keys(field).sort()) {
    if (field.type === 'autodate' && key === 'help') continue
    json[key] = (field as unknown as Record<string, unknown>)[key]
  }
  return json
}
