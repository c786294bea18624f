// The fields and indexes that every base and auth collection has, and what is enforced about them.
// PocketBase: core/collection_model.go, initDefaultFields.

import { type Field, type FieldType, fieldDefaults } from '../fields/field.ts'
import { defaultIdPattern } from '../fields/text.ts'
import type { CollectionData, CollectionType } from './collection.ts'
import { findSingleColumnUniqueIndex } from './index-sql.ts'

/** CRC-32 (IEEE) in decimal, the suffix of generated ids. */
function checksum(text: string): string {
  return String(Bun.hash.crc32(text))
}

export function defaultFieldId(type: string, name: string): string {
  return type + checksum(name)
}

export function defaultCollectionId(type: CollectionType, name: string): string {
  return `pbc_${checksum(type + name)}`
}

/** A field with all options, from the few that differ from their zero values. */
export function makeField<T extends FieldType>(
  type: T,
  name: string,
  options: Partial<Omit<Extract<Field, { type: T }>, 'type' | 'name'>> = {},
): Extract<Field, { type: T }> {
  return { id: defaultFieldId(type, name), name, type, ...fieldDefaults[type], ...options } as unknown as Extract<
    Field,
    { type: T }
  >
}

/** Adds a field as PocketBase's lists do: one with a known id, or without an id a known name, takes the other's place. */
export function addField(fields: Field[], field: Field, hasId: boolean): void {
  const at = fields.findIndex((each) => (hasId ? each.id === field.id : each.name === field.name && field.name !== ''))
  if (at >= 0) fields[at] = { ...field, id: fields[at]!.id }
  else {
    let { id } = field
    for (let suffix = 2; fields.some((each) => each.id === id); suffix++) id = field.id + suffix
    fields.push({ ...field, id })
  }
}

function idField(present: Field | undefined): Field {
  if (present?.type !== 'text')
    return makeField('text', 'id', {
      system: true,
      primaryKey: true,
      required: true,
      min: 15,
      max: 15,
      pattern: defaultIdPattern,
      autogeneratePattern: '[a-z0-9]{15}',
    })
  const pattern = present.pattern || defaultIdPattern
  return { ...present, system: true, required: true, primaryKey: true, hidden: false, pattern }
}

/** The fields of an auth collection after the id: what each is when missing, and what is enforced when present. */
const authFields: readonly { readonly missing: Field; readonly enforced: Partial<Field> }[] = [
  {
    missing: makeField('password', 'password', { system: true, hidden: true, required: true, min: 8 }),
    enforced: { system: true, hidden: true, required: true } as Partial<Field>,
  },
  {
    missing: makeField('text', 'tokenKey', {
      system: true,
      hidden: true,
      min: 30,
      max: 60,
      required: true,
      autogeneratePattern: '[a-zA-Z0-9]{50}',
    }),
    enforced: { system: true, hidden: true, required: true } as Partial<Field>,
  },
  { missing: makeField('email', 'email', { system: true, required: true }), enforced: { system: true, hidden: false } },
  { missing: makeField('bool', 'emailVisibility', { system: true }), enforced: { system: true } },
  { missing: makeField('bool', 'verified', { system: true }), enforced: { system: true } },
]

const indexNameLengthMax = 64

function indexName(field: string, data: Pick<CollectionData, 'id' | 'name'>): string {
  return `idx_${field}_${data.id || data.name}`.slice(0, indexNameLengthMax)
}

/** The collection with its system fields and indexes present and as they must be. Views are left alone. */
export function withDefaultFields(data: CollectionData): CollectionData {
  if (data.type === 'view') return data
  const fields = [...data.fields]
  const idAt = fields.findIndex((field) => field.name === 'id')
  if (fields[idAt]?.type === 'text') fields[idAt] = idField(fields[idAt])
  else {
    // What is called `id` and is none stays, so that validation names it.
    const given = fields.splice(0)
    for (const field of [idField(undefined), ...given]) addField(fields, field, true)
  }
  const indexes = [...data.indexes]
  if (data.type === 'auth') {
    for (const { missing, enforced } of authFields) {
      const at = fields.findIndex((field) => field.name === missing.name)
      if (fields[at]?.type === missing.type) fields[at] = { ...fields[at], ...enforced } as Field
      else addField(fields, missing, false)
    }
    if (!findSingleColumnUniqueIndex(indexes, 'tokenKey'))
      indexes.push(`CREATE UNIQUE INDEX \`${indexName('tokenKey', data)}\` ON \`${data.name}\` (\`tokenKey\`)`)
    if (!findSingleColumnUniqueIndex(indexes, 'email'))
      indexes.push(
        `CREATE UNIQUE INDEX \`${indexName('email', data)}\` ON \`${data.name}\` (\`email\`) WHERE \`email\` != ''`,
      )
  }
  return { ...data, fields, indexes }
}
