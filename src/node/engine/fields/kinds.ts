// What each field type does, in one table: column, casts, modifiers, driver values, JSON and value checks.

import { autodateKind } from './autodate.ts'
import { relationKind, selectKind } from './choice.ts'
import type { Field, FieldType } from './field.ts'
import { fileKind } from './file.ts'
import { jsonKind } from './json.ts'
import type { FieldKind } from './kind.ts'
import { passwordKind } from './password.ts'
import { boolKind, dateKind, geoPointKind, numberKind } from './scalar.ts'
import { editorKind, emailKind, textKind, urlKind } from './text.ts'

const kinds: { readonly [T in FieldType]: FieldKind<Extract<Field, { type: T }>> } = {
  text: textKind,
  number: numberKind,
  bool: boolKind,
  email: emailKind,
  url: urlKind,
  editor: editorKind,
  date: dateKind,
  autodate: autodateKind,
  select: selectKind,
  json: jsonKind,
  file: fileKind,
  relation: relationKind,
  password: passwordKind,
  geoPoint: geoPointKind,
}

/** The behaviour of a field. The cast is sound: a kind only ever gets fields of its own type. */
export function kindOf(field: Field): FieldKind<Field> {
  return kinds[field.type] as unknown as FieldKind<Field>
}
