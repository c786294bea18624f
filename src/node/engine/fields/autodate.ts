// autodate: set by the save itself, never by a request. PocketBase: core/field_autodate.go.

import { toDateTime } from './datetime.ts'
import type { AutodateField } from './field.ts'
import { type FieldKind, plainKind } from './kind.ts'

export const autodateKind: FieldKind<AutodateField> = {
  ...plainKind<AutodateField, string>(toDateTime),
  columnType: () => "TEXT DEFAULT '' NOT NULL",
  set() {
    // A request cannot choose it.
  },
  validate: () => null,
}
