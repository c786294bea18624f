// What a world of the differential test is made of: collections with their fields, and requests.

export interface FieldPlan {
  readonly name: string
  readonly type: string
  readonly hidden: boolean
  readonly isMultiple: boolean
  /** Of relations: the name of the other collection. */
  readonly target: string | null
  readonly json: Readonly<Record<string, unknown>>
}

export interface CollectionPlan {
  readonly id: string
  readonly name: string
  readonly isAuth: boolean
  readonly isView: boolean
  /** Of the collection whose records have these ids: its own, or the one that a view reads. */
  readonly idName: string
  readonly fields: readonly FieldPlan[]
  readonly json: Readonly<Record<string, unknown>>
}

/** A file of a form, or a field of it. */
export interface FormPart {
  readonly name: string
  readonly value: string | { readonly filename: string; readonly type: string; readonly bytes: Uint8Array }
}

export interface RequestPlan {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE' | 'PUT'
  /** May hold `{{collection/record/field/index}}`: the name of a stored file, which each server chooses itself. */
  readonly path: string
  readonly body: Readonly<Record<string, unknown>> | null
  /** Instead of `body`: multipart/form-data. Texts may hold names of stored files as paths do. */
  readonly form?: readonly FormPart[]
  /** Index into the callers: 0 guest, 1 superuser, then users. */
  readonly caller: number
  readonly headers?: Readonly<Record<string, string>>
  /** Which headers of the answer are compared, beside its status and type. */
  readonly answerHeaders?: readonly string[]
  /** The bytes of the answer may differ: two encoders of pictures never agree. */
  readonly ignoresBody?: boolean
  /** Called once PocketBase has done it: the plans follow. */
  readonly onDone?: () => void
}

/** A realtime subscription that stands while a world runs. */
export interface SubscriptionPlan {
  readonly caller: number
  readonly topics: readonly string[]
}

export const usersCount = 3
export const recordsPerCollection = 14
export const password = '1234567890'

export const words = [
  'alpha',
  'Beta',
  'gamma ray',
  '',
  '0',
  '1',
  'true',
  'null',
  'a_b',
  '50%',
  "it's",
  'a"b',
  'ü',
  'test@example.com',
  'user1@example.com',
  'user%@example.com',
]
export const numbers = [0, 1, -1, 2.5, 1e6, 10, 3]
export const dates = ['2022-01-01 10:00:00.000Z', '2024-06-30 23:59:59.999Z', '', '2026-11-24 00:00:00.000Z']
/** Dates as they come in, some of them in no layout. */
export const dateTexts = [
  '2024-02-29',
  '2023-02-29',
  '2024-05-06T7:08:09.1234567891Z',
  '2024-05-06  07:08:09,5 +02:00',
  '2024-05-06T07:08',
  'Mon May  6 07:08:09 CEST 2024',
  'Mon, 06 May 2024 07:08:09 -0700',
  'Mon, 6 May 2024 07:08:09 GMT',
  '06 May 24 07:08 GMT+3',
  '06 May 2024',
  '7:08PM',
  'May 6 07:08:09',
  '1714979289',
]
export const options = ['red', 'green', 'blue']
export const operators = [
  '=',
  '!=',
  '~',
  '!~',
  '<',
  '<=',
  '>',
  '>=',
  '?=',
  '?!=',
  '?~',
  '?!~',
  '?<',
  '?>',
  '?>=',
  '?<=',
]

/** What no client should send. */
export const oddValues: readonly unknown[] = [
  null,
  [],
  {},
  'x',
  '',
  true,
  1e21,
  -0.5,
  [null],
  ['red', 'red', ''],
  { a: [] },
  'NaN',
  '["red"]',
  '{"lon":1}',
]
