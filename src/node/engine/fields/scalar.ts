// number, bool, date, geoPoint. PocketBase: core/field_number.go, field_bool.go, field_date.go, field_geo_point.go.

import { JsonText } from '../json/json-text.ts'
import { toBool, toNumber } from './cast.ts'
import { toDateTime } from './datetime.ts'
import type { BoolField, DateField, GeoPointField, NumberField } from './field.ts'
import { type FieldKind, invalid, plainKind, requiredError } from './kind.ts'
import type { GeoPoint } from './value.ts'

/** Of what PocketBase's integers hold, 64 bits with a sign. */
const integerBound = 2 ** 63

export const numberKind: FieldKind<NumberField> = {
  ...plainKind<NumberField, number>(toNumber),
  columnType: () => 'NUMERIC DEFAULT 0 NOT NULL',
  modifier(field, key) {
    const sign = key === `${field.name}+` ? 1 : key === `${field.name}-` ? -1 : 0
    if (sign === 0) return undefined
    return (record, raw) => {
      record.values[field.name] = (record.values[field.name] as number) + sign * toNumber(raw)
    }
  },
  validate(field, record) {
    const value = record.values[field.name] as number
    if (!Number.isFinite(value))
      return invalid('validation_not_a_number', 'The submitted number is not properly formatted')
    if (value === 0) return field.required ? requiredError : null
    if (field.onlyInt && !(Number.isInteger(value) && value >= -integerBound && value < integerBound))
      return invalid('validation_only_int_constraint', 'Decimal numbers are not allowed')
    if (field.min !== null && value < field.min)
      return invalid('validation_min_number_constraint', `Must be greater or equal than ${field.min}`, {
        min: field.min,
      })
    if (field.max !== null && value > field.max)
      return invalid('validation_max_number_constraint', `Must be less or equal than ${field.max}`, { max: field.max })
    return null
  },
}

export const boolKind: FieldKind<BoolField> = {
  ...plainKind<BoolField, boolean>(toBool),
  columnType: () => 'BOOLEAN DEFAULT FALSE NOT NULL',
  toDriver: (_, value) => (value === true ? 1 : 0),
  validate: (field, record) => (field.required && record.values[field.name] !== true ? requiredError : null),
}

export const dateKind: FieldKind<DateField> = {
  ...plainKind<DateField, string>(toDateTime),
  columnType: () => "TEXT DEFAULT '' NOT NULL",
  validate(field, record) {
    const value = record.values[field.name] as string
    if (value === '') return field.required ? requiredError : null
    // Stored dates sort as text.
    if (field.min !== '' && value < field.min)
      return invalid('validation_min_greater_equal_than_required', `Must be no less than ${goTime(field.min)}.`, {
        threshold: rfc3339(field.min),
      })
    if (field.max !== '' && value > field.max)
      return invalid('validation_max_less_equal_than_required', `Must be no greater than ${goTime(field.max)}.`, {
        threshold: rfc3339(field.max),
      })
    return null
  },
}

/** A stored date as Go's time.Time stands in JSON. */
function rfc3339(stored: string): string {
  return `${stored.slice(0, 10)}T${stored.slice(11, 23).replace(/\.?0+$/, '')}Z`
}

/** A stored date as Go's time.Time prints itself in messages. */
function goTime(stored: string): string {
  const seconds = stored.slice(0, 19)
  const fraction = stored.slice(19, 23).replace(/\.?0+$/, '')
  return `${seconds}${fraction} +0000 UTC`
}

function toGeoPoint(raw: unknown): GeoPoint {
  let value: unknown = raw
  if (raw instanceof JsonText) value = raw.parse()
  else if (typeof raw === 'string') value = new JsonText(raw).parse()
  if (typeof value !== 'object' || value === null) return { lon: 0, lat: 0 }
  const { lon = 0, lat = 0 } = value as Record<string, unknown>
  // A member that is no number makes the whole point unreadable, as Go's decoder has it.
  if (typeof lon !== 'number' || typeof lat !== 'number') return { lon: 0, lat: 0 }
  return { lon, lat }
}

export const geoPointKind: FieldKind<GeoPointField> = {
  columnType: () => `JSON DEFAULT '{"lon":0,"lat":0}' NOT NULL`,
  cast: (_, raw) => toGeoPoint(raw),
  fromDriver: (_, value) => toGeoPoint(value),
  toDriver(_, value) {
    const { lon, lat } = value as GeoPoint
    return `{"lon":${lon},"lat":${lat}}`
  },
  show(_, value) {
    const { lon, lat } = value as GeoPoint
    return { lon, lat }
  },
  set(record, field, raw) {
    record.values[field.name] = toGeoPoint(raw)
  },
  validate(field, record) {
    const { lon, lat } = record.values[field.name] as GeoPoint
    if (lon === 0 && lat === 0) return field.required ? requiredError : null
    if (!(lat >= -90 && lat <= 90))
      return invalid('validation_invalid_latitude', 'Latitude must be between -90 and 90 degrees.')
    if (!(lon >= -180 && lon <= 180))
      return invalid('validation_invalid_longitude', 'Longitude must be between -180 and 180 degrees.')
    return null
  },
}
